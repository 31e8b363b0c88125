"""Gates that are each broken in one way, with the clauses that have to notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reference_gate import Live, ReferenceGate
from reference_ledger import Known, Ledger, Waiting

from archetype_contracts import GateLimits
from archetype_core import command as c
from archetype_core.clock import Clock
from archetype_core.errors import WorldExists, WorldNotFound
from archetype_core.store import Segment

MakeGate = Callable[[Path, GateLimits, Clock], c.CommandGate]


@dataclass(frozen=True)
class Mutant:
    make: MakeGate
    clauses: tuple[str, ...]
    """Every one of these notices."""
    machine: bool
    """The state machine notices as well."""
    sound: str
    """A clause that the gate still keeps."""

    @property
    def name(self) -> str:
        return getattr(self.make, "__name__", "?")


MUTANTS: list[Mutant] = []


def breaks(
    *clauses: str, machine: bool = True, sound: str = "G-401"
) -> Callable[[type[ReferenceGate]], type[ReferenceGate]]:
    """Enter a broken gate and say which clauses notice."""

    def enter(cls: type[ReferenceGate]) -> type[ReferenceGate]:
        MUTANTS.append(Mutant(cls, clauses, machine, sound))
        return cls

    return enter


# Policy


@breaks("G-001", machine=False)
class PlayersMayRun(ReferenceGate):
    """One cell of the matrix is wrong."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return super().may(actor, command) or ("player" in actor.roles and command.kind == "run_episode")


@breaks("G-001", machine=False)
class ViewersMayNotReadHistory(ReferenceGate):
    """Another cell is wrong, the other way round."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        is_history = isinstance(command, c.ListHooks) and actor.roles == {"viewer"}
        return super().may(actor, command) and not is_history


@breaks("G-004", machine=False)
class AdminsMayEverything(ReferenceGate):
    """Allowed by default for who may most."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return "admin" in actor.roles or super().may(actor, command)


@breaks("G-003", "G-007")
class UnknownRolesPlay(ReferenceGate):
    """Allowed by default for who is unknown."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return super().may(replace_roles(actor), command)


def replace_roles(actor: c.ActorCtx) -> c.ActorCtx:
    """Call every role that is unknown a player."""
    known = {"viewer", "player", "operator", "admin"}
    return c.ActorCtx(actor.id, [role if role in known else "player" for role in actor.roles])


@breaks("G-002", machine=False)
class FirstRoleOnly(ReferenceGate):
    """Of several roles one counts."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return super().may(c.ActorCtx(actor.id, sorted(actor.roles)[-1:]), command)


@breaks("G-006", "G-113", "G-305")
class UnauditedRejections(ReferenceGate):
    """Refusals leave no trace."""

    def reject(self, *refused: Any) -> None:
        """Forget it."""


# Quotas


class Charging(ReferenceGate):
    """A hold on refusals."""

    def reject(
        self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None, refusal: Exception
    ) -> None:
        super().reject(actor, commands, world_id, refusal)
        live = self.live.get(str(world_id))
        if live is not None:
            counter = self.counter_of(actor, live)
            self.ledger.commands[counter] = self.ledger.commands.get(counter, 0) + 1


@breaks("G-008", "G-107", "G-108")
class RejectionsCost(Charging):
    """What is refused is counted all the same."""


@breaks("G-103", machine=True)
class QuotaByRole(ReferenceGate):
    """Actors of one role share their quota."""

    def counter_of(self, actor: c.ActorCtx, live: Live) -> tuple[str, str, int]:
        return "+".join(sorted(actor.roles)), live.known.world_id, live.world.tick


@breaks("G-102", machine=False)
class OneTickForAllWorlds(ReferenceGate):
    """The tick of one world gives commands for another."""

    def counter_of(self, actor: c.ActorCtx, live: Live) -> tuple[str, str, int]:
        return actor.id, live.known.world_id, sum(one.world.tick for one in self.live.values())


@breaks("G-104", "G-111", machine=False)
class EndlessDay(ReferenceGate):
    """The day never turns."""

    def day_of(self, actor: c.ActorCtx) -> tuple[str, str]:
        return actor.id, "always today"


@breaks("G-109", machine=True)
class ForgetfulCounters(ReferenceGate):
    """A gate that is opened again starts from nothing."""

    def __init__(self, place: Path, limits: GateLimits, clock: Clock) -> None:
        super().__init__(place, limits, clock)
        self.ledger.commands.clear()
        self.ledger.tokens.clear()


@breaks("G-106", machine=False)
class WeightlessCommands(ReferenceGate):
    """Many entities cost as much as one."""

    def charge(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], live: Live | None) -> None:
        spawn = c.Spawn(())
        super().charge(actor, [spawn if isinstance(one, c.SpawnMany) else one for one in commands], live)


@breaks("G-110", machine=True)
class FreeReads(ReferenceGate):
    """Reads are not counted."""

    def charge(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], live: Live | None) -> None:
        if not isinstance(commands[0], c.GetWorldInfo):
            super().charge(actor, commands, live)


@breaks("G-108", machine=True)
class HalfBatches(ReferenceGate):
    """Of a batch that does not fit, as much is taken as fits."""

    async def submit_batch(
        self, actor: c.ActorCtx, commands: Sequence[Any], world_id: str, **when: Any
    ) -> tuple[c.Ticket, ...]:
        tickets: list[c.Ticket] = []
        for command in commands:
            tickets += await super().submit_batch(actor, [command], world_id, **when)
        return tuple(tickets)


# Queue


@breaks("G-201", machine=True)
class LastInFirstOut(ReferenceGate):
    """Among equals the last one applies first."""

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        return sorted(queue, key=lambda one: (one.tick, one.priority, -one.seq))


@breaks("G-201", "G-208", machine=False)
class NoPriorities(ReferenceGate):
    """Priorities are ignored."""

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        return sorted(queue, key=lambda one: (one.tick, one.seq))


@breaks("G-202", machine=True)
class EverythingIsDue(ReferenceGate):
    """Nothing waits for a later tick."""

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        for one in queue:
            one.tick = 0
        return super().in_order(queue)


@breaks("G-208", machine=True)
class AppliedTwice(ReferenceGate):
    """A queue does not forget what was applied, until it is opened again."""

    def forget(self, live: Live, applied: list[Waiting]) -> None:
        again = [one for one in applied if one in live.known.queue and one.command.kind in ("custom", "update")]
        super().forget(live, applied)
        live.known.queue += [replace(one, is_staged=True, tick=0) for one in again]


@breaks("G-251", "G-252", machine=True)
class DroppedByAFailingStep(ReferenceGate):
    """What a failing tick took is gone after a reopening, or at once."""

    def failed(self, live: Live) -> None:
        live.world._state.pending.operations.clear()
        live.known.queue[:] = [one for one in live.known.queue if not one.is_staged]
        live.known.staged.clear()


@breaks("G-207", machine=True)
class FailingCommandsFailTheTick(ReferenceGate):
    """One bad command takes the others down."""

    def apply_due(self, live: Live) -> None:
        for waiting in self.in_order(live.known.queue):
            if not waiting.is_staged and waiting.tick <= live.world.tick:
                self.put(live, waiting)


@breaks("G-205", machine=True)
class QueuesForAnybody(ReferenceGate):
    """A command to a world that is not there is taken, and never applied."""

    async def submit_batch(
        self, actor: c.ActorCtx, commands: Sequence[Any], world_id: str, **when: Any
    ) -> tuple[c.Ticket, ...]:
        try:
            return await super().submit_batch(actor, commands, world_id, **when)
        except WorldNotFound:
            return tuple(c.Ticket("nowhere", range(0)) for _ in commands)


@breaks("G-211", machine=True)
class ReissuedIds(ReferenceGate):
    """Ids that nothing came of yet are given out again."""

    def restage(self, live: Live) -> None:
        live.known.queue.clear()
        live.known.staged.clear()


@breaks("G-214", machine=True)
class StagedIsNotKept(ReferenceGate):
    """What was executed is gone with the process."""

    def restage(self, live: Live) -> None:
        live.known.staged.clear()
        super().restage(live)


# Audit


@breaks("G-302", machine=True)
class AppliedTooEarly(ReferenceGate):
    """Mutations are on record as applied before they are."""

    def stage(self, actor: c.ActorCtx, command: c.EntityCommand[Any], live: Live) -> Any:
        answer = super().stage(actor, command, live)
        self.ledger.settle(len(self.ledger.rows), "applied", "", live.world.tick, self.clock.now())
        return answer


class BlindLedger(Ledger):
    """Looks at what was done, not by whom."""

    def verify(self) -> list[str]:
        """Count."""
        return [] if len(self.rows) >= len(self.chain) else ["rows are missing"]


@breaks("G-312", "G-313", "G-314", machine=False)
class UnnoticedEdits(ReferenceGate):
    """The chain is not looked at, only its length."""

    @staticmethod
    def empty() -> Ledger:
        return BlindLedger()


@breaks("G-307", machine=False)
class OverlappingPages(ReferenceGate):
    """A page begins with the last row of the one before."""

    async def execute(self, actor: c.ActorCtx, command: Any, world_id: str | None = None, **more: Any) -> Any:
        if isinstance(command, c.GetHistory) and command.filter.after is not None:
            step = -1 if command.filter.oldest_first else 1
            command = replace(command, filter=replace(command.filter, after=command.filter.after + step))
        return await super().execute(actor, command, world_id, **more)


# Worlds


@breaks("G-403", machine=False)
class NamesakesAllowed(ReferenceGate):
    """A name is taken as often as one likes."""

    def check_name(self, name: str | None) -> None:
        """Let it pass."""


@breaks("G-404", machine=False)
class RemainsOfACreation(ReferenceGate):
    """A name is taken before its world is made."""

    async def create(self, command: c.CreateWorld) -> c.WorldInfo:
        try:
            return await super().create(command)
        except WorldExists:
            raise
        except Exception:
            segment = Segment("remains", "run", 0, None, command.name, 1)
            self.ledger.worlds["remains"] = Known("remains", command.name, segment)
            raise


@breaks("G-405", machine=True)
class LoudRemovals(ReferenceGate):
    """Removing what is not there fails."""

    async def let_go(self, world_id: str) -> bool:
        if world_id not in self.live:
            raise WorldNotFound(world_id, self.live)
        return await super().let_go(world_id)


@breaks("G-502", machine=False)
class HalfAHandler(ReferenceGate):
    """What a handler did before it raised stays."""

    def put(self, live: Live, waiting: Waiting) -> None:
        handler = live.handlers.get(getattr(waiting.command, "name", ""))
        if handler is None or not isinstance(waiting.command, c.Custom):
            super().put(live, waiting)
            return
        handler(live.world, waiting.command.data)
        waiting.is_staged = True


@breaks("G-490", machine=False)
class OpenForEver(ReferenceGate):
    """A closed gate answers."""

    def check_open(self) -> None:
        """Whatever."""
