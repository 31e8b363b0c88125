"""Gates that are each broken in one way, with the clauses that must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reference_query as query
from reference_gate import ReferenceGate
from reference_ledger import KnownWorld, Ledger, Waiting
from reference_worlds import LiveWorld

from archetype_contracts import GateLimits
from archetype_core import command as c
from archetype_core.clock import Clock
from archetype_core.engine import current_attempt, outside_attempts
from archetype_core.errors import PendingMutations, WorldExists, WorldNotFound
from archetype_core.store import Segment

MakeGate = Callable[[Path, GateLimits, Clock], c.CommandGate]


@dataclass(frozen=True)
class Mutant:
    make: MakeGate
    clauses: tuple[str, ...]
    """The clauses that must notice."""
    machine: bool
    """Whether the state machine must notice too."""
    sound: str
    """A clause that the gate still keeps."""

    @property
    def name(self) -> str:
        return getattr(self.make, "__name__", "?")


MUTANTS: list[Mutant] = []


def breaks(
    *clauses: str, machine: bool = True, sound: str = "G-401"
) -> Callable[[type[ReferenceGate]], type[ReferenceGate]]:
    """Decorate a broken gate with the clauses that must notice."""

    def enter(cls: type[ReferenceGate]) -> type[ReferenceGate]:
        MUTANTS.append(Mutant(cls, clauses, machine, sound))
        return cls

    return enter


# Policy


@breaks("G-001", machine=False)
class PlayersMayRunEpisodes(ReferenceGate):
    """Players may run an episode."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return super().may(actor, command) or ("player" in actor.roles and command.kind == "run_episode")


@breaks("G-001", machine=False)
class ViewersMayNotListHooks(ReferenceGate):
    """Viewers may not list hooks."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        is_denied = isinstance(command, c.ListHooks) and actor.roles == {"viewer"}
        return super().may(actor, command) and not is_denied


@breaks("G-004", machine=False)
class AdminsMayUseUnknownCommands(ReferenceGate):
    """Admins are allowed every command by default."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return "admin" in actor.roles or super().may(actor, command)


@breaks("G-003", "G-007")
class UnknownRolesArePlayers(ReferenceGate):
    """Unknown roles are players."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return super().may(replace_roles(actor), command)


def replace_roles(actor: c.ActorCtx) -> c.ActorCtx:
    """Replace every unknown role with ``player``."""
    known = {"viewer", "player", "operator", "admin"}
    return c.ActorCtx(actor.id, [role if role in known else "player" for role in actor.roles])


@breaks("G-002", machine=False)
class OneRoleOnly(ReferenceGate):
    """Only one of several roles counts."""

    def may(self, actor: c.ActorCtx, command: c.Command[Any]) -> bool:
        return super().may(c.ActorCtx(actor.id, sorted(actor.roles)[-1:]), command)


@breaks("G-006", "G-113", "G-305")
class UnauditedRejections(ReferenceGate):
    """Refusals leave no audit row."""

    def reject(self, *refused: Any) -> None:
        """Record nothing."""


# Quotas


class ChargesRejections(ReferenceGate):
    """Counts refused commands."""

    def reject(
        self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None, refusal: Exception
    ) -> None:
        super().reject(actor, commands, world_id, refusal)
        live = self.live.get(str(world_id))
        if live is not None:
            counter = self.counter_of(actor, live)
            self.ledger.commands[counter] = self.ledger.commands.get(counter, 0) + 1


@breaks("G-008", "G-107", "G-108")
class RejectionsCost(ChargesRejections):
    """Refused commands use quota."""


@breaks("G-103", machine=True)
class QuotaByRole(ReferenceGate):
    """Actors with the same roles share a quota."""

    def counter_of(self, actor: c.ActorCtx, live: LiveWorld) -> tuple[str, str, int]:
        return "+".join(sorted(actor.roles)), live.known.world_id, live.world.tick


@breaks("G-102", machine=False)
class OneTickForAllWorlds(ReferenceGate):
    """A tick of one world renews the commands of another."""

    def counter_of(self, actor: c.ActorCtx, live: LiveWorld) -> tuple[str, str, int]:
        return actor.id, live.known.world_id, sum(one.world.tick for one in self.live.values())


@breaks("G-104", "G-111", machine=False)
class EndlessDay(ReferenceGate):
    """The day never ends."""

    def day_of(self, actor: c.ActorCtx) -> tuple[str, str]:
        return actor.id, "always today"


@breaks("G-109", machine=True)
class ResetsQuotasOnOpening(ReferenceGate):
    """Reopening resets the used quotas."""

    def __init__(self, place: Path, limits: GateLimits, clock: Clock) -> None:
        super().__init__(place, limits, clock)
        self.ledger.commands.clear()
        self.ledger.credits.clear()


@breaks("G-106", machine=False)
class IgnoresWeights(ReferenceGate):
    """Spawning many entities costs as much as spawning one."""

    def charge(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], live: LiveWorld | None) -> None:
        spawn = c.Spawn(())
        super().charge(actor, [spawn if isinstance(one, c.SpawnMany) else one for one in commands], live)


@breaks("G-110", machine=True)
class FreeReads(ReferenceGate):
    """Reads do not count as commands."""

    def charge(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], live: LiveWorld | None) -> None:
        if not isinstance(commands[0], c.GetWorldInfo):
            super().charge(actor, commands, live)


@breaks("G-108", machine=True)
class PartialBatches(ReferenceGate):
    """A batch over the quota is accepted in part."""

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
    """Within one priority the last command applies first."""

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        return sorted(queue, key=lambda one: (one.tick, one.priority, -one.seq))


@breaks("G-201", "G-208", machine=False)
class NoPriorities(ReferenceGate):
    """Ignores priorities."""

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        return sorted(queue, key=lambda one: (one.tick, one.seq))


@breaks("G-202", machine=True)
class EverythingIsDue(ReferenceGate):
    """Commands do not wait for their tick."""

    def in_order(self, queue: list[Waiting]) -> list[Waiting]:
        for one in queue:
            one.tick = 0
        return super().in_order(queue)


@breaks("G-208", machine=True)
class AppliedTwice(ReferenceGate):
    """Applied commands stay in the queue and apply again after reopening."""

    def forget(self, live: LiveWorld, applied: list[Waiting]) -> None:
        again = [one for one in applied if one in live.known.queue and one.command.kind in ("custom", "update")]
        super().forget(live, applied)
        live.known.queue += [replace(one, is_staged=True, tick=0) for one in again]


@breaks("G-251", "G-252", machine=True)
class FailedStepsDropCommands(ReferenceGate):
    """A failed tick drops the commands that it applied."""

    async def tick(self, live: LiveWorld, config: Any, inputs: Any) -> c.StepResult:
        try:
            return await super().tick(live, config, inputs)
        except Exception:
            live.known.queue[:] = [one for one in live.known.queue if not one.is_staged]
            live.known.staged.clear()
            (store,) = self.stores.values()
            dropped, live.world = live.world, await self.load(live.known, store)
            live.world.claim(live.known.next_entity_id)
            for slot in dropped.system.slots:
                live.world.add_processor(slot.processor)
            raise


@breaks("G-207", machine=True)
class FailingCommandsFailTheTick(ReferenceGate):
    """A failing command fails the tick."""

    def apply_due(self, live: LiveWorld) -> None:
        for waiting in self.in_order(live.known.queue):
            if not waiting.is_staged and waiting.tick <= live.world.tick:
                self.put(live, waiting)


@breaks("G-205", machine=True)
class QueuesForUnknownWorlds(ReferenceGate):
    """Accepts commands to worlds that do not exist."""

    async def submit_batch(
        self, actor: c.ActorCtx, commands: Sequence[Any], world_id: str, **when: Any
    ) -> tuple[c.Ticket, ...]:
        try:
            return await super().submit_batch(actor, commands, world_id, **when)
        except WorldNotFound:
            return tuple(c.Ticket("nowhere", range(0)) for _ in commands)


@breaks("G-211", machine=True)
class ReissuedIds(ReferenceGate):
    """Issues ids of queued spawns again after reopening."""

    def restage(self, live: LiveWorld) -> None:
        live.known.queue.clear()
        live.known.staged.clear()


@breaks("G-214", machine=True)
class LosesStagedMutations(ReferenceGate):
    """Loses executed mutations on reopening."""

    def restage(self, live: LiveWorld) -> None:
        live.known.staged.clear()
        super().restage(live)


# Attempts


@breaks("G-261", "G-262", "G-263", machine=True)
class ExecutesAtOnce(ReferenceGate):
    """What a processor executes is staged even if its attempt fails."""

    def attempt_to_stage(self) -> None:
        return None

    def put(self, live: LiveWorld, waiting: Waiting, *, is_skippable: bool = False) -> None:
        with outside_attempts():
            super().put(live, waiting, is_skippable=is_skippable)

    def reserve(self, live: LiveWorld, count: int) -> range:
        with outside_attempts():
            return super().reserve(live, count)


@breaks("G-261", "G-262", "G-263", machine=True)
class QueuesAtOnce(ReferenceGate):
    """What a processor submits is queued even if its attempt fails."""

    def attempt_to_queue(self) -> None:
        return None

    def reserve(self, live: LiveWorld, count: int) -> range:
        with outside_attempts():
            return super().reserve(live, count)


@breaks("G-263", machine=True)
class DroppedCommandsCost(ReferenceGate):
    """The commands of a failed attempt use quota."""

    def refund(self, *dropped: Any) -> None:
        """Give nothing back."""


@breaks("G-263", machine=False)
class UncountedDrops(ReferenceGate):
    """The row of a failed step does not say what it dropped."""

    def told(self, dropped: int) -> str:
        return ""


@breaks("G-262", "G-264", machine=True)
class LosesWhatIsHeld(ReferenceGate):
    """What was submitted inside a tick is lost with its commit."""

    async def submit_batch(
        self, actor: c.ActorCtx, commands: Sequence[Any], world_id: str, **when: Any
    ) -> tuple[c.Ticket, ...]:
        if current_attempt() is None:
            return await super().submit_batch(actor, commands, world_id, **when)
        return tuple(c.Ticket("nowhere", range(0)) for _ in commands)


@breaks("G-265", machine=False)
class RefusesForksOfBusyWorlds(ReferenceGate):
    """What a processor executed counts as staged by a caller."""

    async def fork(self, command: c.ForkWorld, source: LiveWorld) -> c.WorldInfo:
        if source.known.staged and command.pending == "refuse":
            raise PendingMutations(source.world.name, len(source.known.staged))
        return await super().fork(command, source)


@breaks("G-264", "G-265", machine=True)
class StagesAgain(ReferenceGate):
    """What a processor executed is staged once more when the world is opened."""

    def restage(self, live: LiveWorld) -> None:
        for one in live.known.staged:
            if one.command_id in live.world.committed_commands:
                query.apply(live.world, one.command, live.world.reserve(query.spawned(one.command)))
        super().restage(live)


# Audit


@breaks("G-302", machine=True)
class AppliedTooEarly(ReferenceGate):
    """Records mutations as applied before their tick."""

    def stage(self, actor: c.ActorCtx, command: c.EntityCommand[Any], live: LiveWorld) -> Any:
        answer = super().stage(actor, command, live)
        self.ledger.settle(len(self.ledger.rows), "applied", "", live.world.tick, self.clock.now())
        return answer


class CountingLedger(Ledger):
    """Verifies only the number of rows."""

    def verify(self) -> list[str]:
        """Count the rows."""
        return [] if len(self.rows) >= len(self.chain) else ["rows are missing"]


@breaks("G-312", "G-313", "G-314", machine=False)
class UnnoticedEdits(ReferenceGate):
    """Verifies only the length of the audit chain."""

    @staticmethod
    def empty() -> Ledger:
        return CountingLedger()


# Worlds


@breaks("G-403", machine=False)
class DuplicateNames(ReferenceGate):
    """Worlds may share a name."""

    def check_name(self, name: str | None) -> None:
        """Accept every name."""


@breaks("G-404", machine=False)
class KeepsNamesOfFailedCreations(ReferenceGate):
    """A world that cannot be created keeps its name."""

    async def create(self, command: c.CreateWorld) -> c.WorldInfo:
        try:
            return await super().create(command)
        except WorldExists:
            raise
        except Exception:
            segment = Segment("leftover", "run", 0, None, command.name, 1)
            self.ledger.worlds["leftover"] = KnownWorld("leftover", command.name, segment)
            raise


@breaks("G-405", machine=True)
class RemovingAMissingWorldFails(ReferenceGate):
    """Removing a missing world raises."""

    async def close_world(self, world_id: str) -> bool:
        if world_id not in self.live:
            raise WorldNotFound(world_id, self.live)
        return await super().close_world(world_id)


@breaks("G-509", machine=True)
class QueuesMessagesToNobody(ReferenceGate):
    """A message to an entity that does not exist is queued."""

    def check_queued(self, live: LiveWorld, commands: Sequence[c.Command[Any]]) -> None:
        """Check everything else."""
        super().check_queued(live, [one for one in commands if not isinstance(one, c.Send)])


@breaks("G-219", machine=True)
class QueuesWhatIsRefused(ReferenceGate):
    """A command that would be refused now is queued, unless it is a message."""

    def check_queued(self, live: LiveWorld, commands: Sequence[c.Command[Any]]) -> None:
        """Check messages only."""
        super().check_queued(live, [one for one in commands if isinstance(one, c.Send)])


@breaks("G-219", machine=True)
class ForgetsQueuedSpawns(ReferenceGate):
    """What the queue will spawn does not count."""

    def rehearse(self, live: LiveWorld, before: list[Waiting], commands: Sequence[c.Command[Any]]) -> None:
        super().rehearse(live, [], commands)


@breaks("G-502", machine=False)
class HandlersAreNotUndone(ReferenceGate):
    """A handler that raises is not undone."""

    def put(self, live: LiveWorld, waiting: Waiting, *, is_skippable: bool = False) -> None:
        handler = live.handlers.get(getattr(waiting.command, "name", ""))
        if handler is None or not isinstance(waiting.command, c.Custom):
            super().put(live, waiting, is_skippable=is_skippable)
            return
        handler(live.world, waiting.command.data)
        waiting.is_staged = True


@breaks("G-490", machine=False)
class NeverCloses(ReferenceGate):
    """A closed gate still answers."""

    def check_open(self) -> None:
        """Accept every call."""
