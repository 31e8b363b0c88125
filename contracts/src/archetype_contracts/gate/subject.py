"""The gate under test: opened, driven from synchronous code, closed and opened again, and watched by actors of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from archetype_contracts.gate.limits import GateLimits, HandClock
from archetype_contracts.gate.sample import Coin, Sash
from archetype_contracts.gate.spelling import clipped, spell_answer, spell_command
from archetype_contracts.store.transcript import Transcript
from archetype_contracts.verdict import require
from archetype_core.clock import Clock
from archetype_core.command import (
    ADMIN,
    VIEWER,
    ActorCtx,
    AuditFilter,
    AuditRow,
    Command,
    CommandGate,
    CreateWorld,
    EntityCommand,
    ForkWorld,
    GetHistory,
    GetWorldInfo,
    ListWorlds,
    OpenWorld,
    QuerySnapshot,
    Run,
    Step,
    StepResult,
    Ticket,
    WorldInfo,
)
from archetype_core.config import RunConfig, StorageConfig
from archetype_core.schema import Component

R = TypeVar("R")
T = TypeVar("T")

Tampering = Literal["edit", "remove", "reorder"]
"""What somebody did to settled audit rows: changed one, took one out, or let two change places."""
Contents = dict[int, dict[str, tuple[Any, ...]]]
"""Live entities by id: the values of their components, by class name."""

_WATCHER = "watcher-"


class GateHooks(Protocol):
    """What an adopter defines."""

    def open_gate(
        self, place: Path, *, limits: GateLimits, clock: Clock
    ) -> AbstractAsyncContextManager[CommandGate]: ...
    def storage(self, place: Path) -> StorageConfig: ...
    def verify(self, place: Path) -> Sequence[str]: ...
    def tamper(self, place: Path, how: Tampering) -> None: ...


@dataclass(slots=True, eq=False)
class _Visit:
    """An open context of the adopter's hook; one task enters and leaves it, as cancel scopes ask for."""

    gate: CommandGate
    leave: asyncio.Event
    task: asyncio.Task[None]


class GateSubject:
    """A gate in a place of its own, opened on first use. The clock stands still; limits are roomy until they are set."""

    def __init__(self, hooks: GateHooks, place: Path, examples: int | None = None) -> None:
        self.hooks, self.place, self.examples = hooks, place, examples
        self.clock = HandClock()
        self.limits = GateLimits()
        self.transcript = Transcript()
        self.adapter = "?"
        self._runner = asyncio.Runner()
        self._visit: _Visit | None = None
        self._someone = 0
        self._others = 0
        self._names: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.leave()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"Leaving the hook failed as well: {type(failure).__name__}: {failure}")
        finally:
            self._runner.close()
            if error is not None:
                error.add_note(str(self.transcript))

    # The gate's life

    def another(self) -> GateSubject:
        """A subject in an empty place of its own."""
        self._others += 1
        return GateSubject(self.hooks, self.place.with_name(f"{self.place.name} {self._others}"), self.examples)

    def limit(self, commands: int | None = None, tokens: int | None = None, **costs: int) -> None:
        """Set the quotas that the gate is opened with next."""
        require(self._visit is None, "limits are set before the gate opens")
        made = replace(self.limits, costs=costs)
        made = made if commands is None else replace(made, commands=commands)
        self.limits = made if tokens is None else replace(made, tokens=tokens)

    @property
    def storage(self) -> StorageConfig:
        """Where worlds go."""
        return self.hooks.storage(self.place)

    @property
    def gate(self) -> CommandGate:
        """The open gate."""
        if self._visit is None:
            self.place.mkdir(parents=True, exist_ok=True)
            self._visit = self._runner.run(self._enter())
        return self._visit.gate

    def leave(self) -> None:
        """Close the gate the way the adopter's hook does."""
        if self._visit is not None:
            visit, self._visit = self._visit, None
            self.transcript.note("# leave the hook of the gate")
            self._runner.run(_leave(visit))

    def reopen(self, *worlds: str) -> None:
        """Close the gate, open it again, and open some worlds in it; in any case tell it where its worlds are."""
        self.leave()
        self.worlds(self.storage)
        for world in worlds:
            self.open_world(world)

    def verify(self) -> list[str]:
        """What the adopter finds wrong with the chain of audit rows, with the gate closed."""
        self.leave()
        return list(self.hooks.verify(self.place))

    async def _enter(self) -> _Visit:
        leave = asyncio.Event()
        opened: asyncio.Future[CommandGate] = asyncio.get_running_loop().create_future()

        async def hold() -> None:
            try:
                async with self.hooks.open_gate(self.place, limits=self.limits, clock=self.clock) as gate:
                    opened.set_result(gate)
                    await leave.wait()
            except BaseException as failure:
                if opened.done():
                    raise
                opened.set_exception(failure)

        task = asyncio.create_task(hold())
        gate = await opened
        self.transcript.note(f"# open the gate, {self.limits.commands} commands, {self.limits.tokens} tokens")
        require(isinstance(gate, CommandGate), f"{type(gate).__name__} lacks a verb of the CommandGate protocol")
        self.adapter = type(gate).__name__
        return _Visit(gate, leave, task)

    # The verbs of the port, noted

    def run(self, work: Callable[[CommandGate], Awaitable[T]], spelled: str) -> T:
        """Run any coroutine over the gate."""
        gate = self.gate

        async def visit() -> T:
            return await work(gate)

        return self._noted(spelled, lambda: self._runner.run(visit()))

    def execute(self, actor: ActorCtx, command: Command[R], world: str | None = None, *, durable: bool = False) -> R:
        """``gate.execute``."""
        more = ", durable=True" if durable else ""
        spelled = f"execute({actor.id}, {spell_command(command)}, {self._short(world)}{more})"
        return self.run(lambda gate: gate.execute(actor, command, world, durable=durable), spelled)

    def submit(
        self, actor: ActorCtx, command: EntityCommand[Any], world: str, *, tick: int | None = None, priority: int = 0
    ) -> Ticket:
        """``gate.submit``."""
        spelled = f"submit({actor.id}, {spell_command(command)}, {self._short(world)}{_when(tick, priority)})"
        return self.run(lambda gate: gate.submit(actor, command, world, tick=tick, priority=priority), spelled)

    def submit_batch(
        self,
        actor: ActorCtx,
        commands: Sequence[EntityCommand[Any]],
        world: str,
        *,
        tick: int | None = None,
        priority: int = 0,
    ) -> tuple[Ticket, ...]:
        """``gate.submit_batch``."""
        batch = ", ".join(map(spell_command, commands))
        spelled = f"submit_batch({actor.id}, [{batch}], {self._short(world)}{_when(tick, priority)})"
        return self.run(lambda gate: gate.submit_batch(actor, commands, world, tick=tick, priority=priority), spelled)

    def submit_spawn(
        self, actor: ActorCtx, world: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
        """``gate.submit_spawn``."""
        bundle = ", ".join(map(repr, components))
        spelled = f"submit_spawn({actor.id}, {self._short(world)}, {bundle}{_when(tick, priority)})"
        return self.run(
            lambda gate: gate.submit_spawn(actor, world, *components, tick=tick, priority=priority), spelled
        )

    def peek(self, actor: ActorCtx, world: str) -> WorldInfo | None:
        """``gate.peek``, on the loop like everything else."""

        async def look(gate: CommandGate) -> WorldInfo | None:
            return gate.peek(actor, world)

        return self.run(look, f"peek({actor.id}, {self._short(world)})")

    # What scenarios are made of. Each is done by an actor that nobody else is, so that no quota of theirs is touched.

    def someone(self, *roles: str) -> ActorCtx:
        """An actor that was never seen before."""
        self._someone += 1
        return ActorCtx(f"{'-'.join(roles) or 'nobody'}-{self._someone}", roles)

    def watcher(self) -> ActorCtx:
        """An actor whose reads leave rows that ``history`` leaves out."""
        self._someone += 1
        return ActorCtx(f"{_WATCHER}{self._someone}", (VIEWER,))

    def world(self, name: str = "world", *, seed: int | None = 7) -> str:
        """Create a world; its id."""
        made = self.execute(self.someone(ADMIN), CreateWorld(name, self.storage, seed=seed))
        self._names[made.world_id] = name
        return made.world_id

    def open_world(self, world: str) -> str:
        """Open a world by name or id; its id."""
        return self.execute(self.someone(ADMIN), OpenWorld(world, self.storage)).world_id

    def fork(self, world: str, name: str | None = None, *, pending: Literal["refuse", "copy"] = "refuse") -> str:
        """Fork a world; the id of the fork."""
        made = self.execute(self.someone(ADMIN), ForkWorld(name, pending=pending), world)
        self._names[made.world_id] = made.name
        return made.world_id

    def root(self, command: Command[R], world: str | None = None) -> R:
        """Execute a command as an administrator."""
        return self.execute(self.someone(ADMIN), command, world)

    def step(self, world: str, times: int = 1) -> StepResult:
        """Make single ticks; the last one's result."""
        for _ in range(times - 1):
            self.root(Step(), world)
        return self.root(Step(), world)

    def walk(self, world: str, steps: int) -> None:
        """Make several ticks by one command."""
        self.root(Run(RunConfig(steps=steps)), world)

    # What is read

    def info(self, world: str) -> WorldInfo:
        """A world as it stands."""
        return self.execute(self.watcher(), GetWorldInfo(), world)

    def worlds(self, storage: StorageConfig | None = None) -> dict[str, WorldInfo]:
        """The worlds that are listed, by id."""
        return {one.world_id: one for one in self.execute(self.watcher(), ListWorlds(storage))}

    def history(self, world: str | None = None, **only: Any) -> list[AuditRow]:
        """Audit rows of a world, or of the gate; oldest first, those of watchers left out."""
        asked = AuditFilter(**{"oldest_first": True, "limit": 1_000_000, **only})
        rows = self.execute(self.watcher(), GetHistory(asked), world)
        return [row for row in rows if not row.actor.startswith(_WATCHER)]

    def row(self, command_id: str, world: str | None = None) -> AuditRow:
        """The one row of a command."""
        found = [row for row in self.history(world) if row.command_id == command_id]
        require(len(found) == 1, f"{len(found)} audit rows for command {command_id}")
        return found[0]

    def contents(self, world: str, at: int | None = None) -> Contents:
        """Coins and sashes of a world at a tick, by default the last completed one."""
        found: Contents = {}
        for kind in (Coin, Sash):
            frame: Any = self.execute(self.watcher(), QuerySnapshot((kind,), at), world)
            names = [field.name for field in kind.component_type().fields]
            columns = frame.select("entity_id", *names).to_pydict()
            for entity, *values in zip(*(columns[name] for name in ("entity_id", *names)), strict=True):
                found.setdefault(entity, {})[kind.__name__] = tuple(values)
        return found

    def coins(self, world: str, at: int | None = None) -> dict[int, int]:
        """The numbers of the coins of a world."""
        return {entity: kinds["Coin"][0] for entity, kinds in self.contents(world, at).items() if "Coin" in kinds}

    def faces(self, world: str, at: int | None = None) -> dict[int, str]:
        """The faces of the coins of a world."""
        return {entity: kinds["Coin"][1] for entity, kinds in self.contents(world, at).items() if "Coin" in kinds}

    def _short(self, world: str | None) -> str:
        return "None" if world is None else self._names.get(world, repr(world))

    def _noted(self, call: str, act: Callable[[], T]) -> T:
        try:
            answer = act()
        except Exception as failure:
            self.transcript.note(f"{call}  # {type(failure).__name__}: {clipped(str(failure))}")
            raise
        self.transcript.note(f"{call}  # {spell_answer(answer)}")
        return answer


def _when(tick: int | None, priority: int) -> str:
    at = "" if tick is None else f", tick={tick}"
    return f"{at}, priority={priority}" if priority else at


async def _leave(visit: _Visit) -> None:
    visit.leave.set()
    await visit.task
