"""The gate under test: it is opened, called from synchronous code, closed, reopened, and read by separate actors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, TypeVar

from archetype_contracts.assertion import require
from archetype_contracts.gate.limits import GateLimits, ManualClock
from archetype_contracts.gate.rendering import clipped, render_answer, render_command
from archetype_contracts.gate.sample import Coin, Sash
from archetype_contracts.store.transcript import Transcript
from archetype_core.clock import Clock
from archetype_core.command import (
    ADMIN,
    VIEWER,
    ActorCtx,
    ActorUsage,
    AuditFilter,
    AuditRow,
    Command,
    CommandGate,
    CreateWorld,
    EntityCommand,
    ForkWorld,
    GetHistory,
    GetUsage,
    GetWorldInfo,
    IdempotencyKey,
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
"""How audit rows are tampered with: one is edited, one is removed, or two are swapped."""
Contents = dict[int, dict[str, tuple[Any, ...]]]
"""The live entities by id; of each the values of its components by class name."""

_OBSERVER = "observer-"


class GateHooks(Protocol):
    """The hooks that an adopter defines."""

    def open_gate(
        self, place: Path, *, limits: GateLimits, clock: Clock
    ) -> AbstractAsyncContextManager[CommandGate]: ...
    def storage(self, place: Path) -> StorageConfig: ...
    def verify(self, place: Path) -> Sequence[str]: ...
    def tamper(self, place: Path, how: Tampering) -> None: ...


@dataclass(slots=True, eq=False)
class _OpenGate:
    """An open context of the adopter's hook. One task enters and leaves it, because cancel scopes require that."""

    gate: CommandGate
    leave: asyncio.Event
    task: asyncio.Task[None]


class GateSubject:
    """A gate in its own place, opened on first use. Its clock is manual, and its limits are large unless a clause sets them."""

    def __init__(self, hooks: GateHooks, place: Path, examples: int | None = None) -> None:
        self.hooks, self.place, self.examples = hooks, place, examples
        self.clock = ManualClock()
        self.limits = GateLimits()
        self.transcript = Transcript()
        self.adapter = "?"
        self._runner = asyncio.Runner()
        self._open_gate: _OpenGate | None = None
        self._actors = 0
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

    # Opening and closing

    def another(self) -> GateSubject:
        """A new subject in an empty place of its own."""
        self._others += 1
        return GateSubject(self.hooks, self.place.with_name(f"{self.place.name} {self._others}"), self.examples)

    def limit(
        self,
        commands: int | None = None,
        credits: int | None = None,  # noqa: A002  # reason: the builtin is for interactive use
        **costs: int,
    ) -> None:
        """Set the quotas before the gate opens."""
        require(self._open_gate is None, "a clause must set limits before the gate opens")
        made = replace(self.limits, costs=costs)
        made = made if commands is None else replace(made, commands=commands)
        self.limits = made if credits is None else replace(made, credits=credits)

    @property
    def storage(self) -> StorageConfig:
        """The storage of the worlds."""
        return self.hooks.storage(self.place)

    @property
    def gate(self) -> CommandGate:
        """The gate; opens it if it is closed."""
        if self._open_gate is None:
            self.place.mkdir(parents=True, exist_ok=True)
            self._open_gate = self._runner.run(self._enter())
        return self._open_gate.gate

    def leave(self) -> None:
        """Close the gate by leaving the adopter's hook."""
        if self._open_gate is not None:
            opened, self._open_gate = self._open_gate, None
            self.transcript.add("# leave the hook of the gate")
            self._runner.run(_leave(opened))

    def reopen(self, *worlds: str) -> None:
        """Close the gate, open it again, list its storage, and open some worlds."""
        self.leave()
        self.worlds(self.storage)
        for world in worlds:
            self.open_world(world)

    def verify(self) -> list[str]:
        """Close the gate and return the defects that the adopter finds in its audit chain."""
        self.leave()
        return list(self.hooks.verify(self.place))

    async def _enter(self) -> _OpenGate:
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
        self.transcript.add(f"# open the gate, {self.limits.commands} commands, {self.limits.credits} credits")
        require(
            isinstance(gate, CommandGate),
            f"expected a CommandGate from the hook, got {type(gate).__name__}, which lacks a verb of the protocol",
        )
        self.adapter = type(gate).__name__
        return _OpenGate(gate, leave, task)

    # The verbs of the port, each recorded in the transcript

    def run(self, work: Callable[[CommandGate], Awaitable[T]], call: str) -> T:
        """Run a coroutine with the gate."""
        gate = self.gate

        async def work_on_gate() -> T:
            return await work(gate)

        return self._recorded(call, lambda: self._runner.run(work_on_gate()))

    def execute(
        self,
        actor: ActorCtx,
        command: Command[R],
        world: str | None = None,
        *,
        durable: bool = False,
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> R:
        """Call ``gate.execute``."""
        more = ", durable=True" if durable else ""
        more += "" if expected_tick is None else f", expected_tick={expected_tick}"
        more += "" if key is None else f", key={key.value!r}"
        call = f"execute({actor.id}, {render_command(command)}, {self._short(world)}{more})"
        return self.run(
            lambda gate: gate.execute(actor, command, world, durable=durable, expected_tick=expected_tick, key=key),
            call,
        )

    def submit(
        self, actor: ActorCtx, command: EntityCommand[Any], world: str, *, tick: int | None = None, priority: int = 0
    ) -> Ticket:
        """Call ``gate.submit``."""
        call = f"submit({actor.id}, {render_command(command)}, {self._short(world)}{_when(tick, priority)})"
        return self.run(lambda gate: gate.submit(actor, command, world, tick=tick, priority=priority), call)

    def submit_batch(
        self,
        actor: ActorCtx,
        commands: Sequence[EntityCommand[Any]],
        world: str,
        *,
        tick: int | None = None,
        priority: int = 0,
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> tuple[Ticket, ...]:
        """Call ``gate.submit_batch``."""
        batch = ", ".join(map(render_command, commands))
        more = "" if expected_tick is None else f", expected_tick={expected_tick}"
        more += "" if key is None else f", key={key.value!r}"
        call = f"submit_batch({actor.id}, [{batch}], {self._short(world)}{_when(tick, priority)}{more})"
        return self.run(
            lambda gate: gate.submit_batch(
                actor, commands, world, tick=tick, priority=priority, expected_tick=expected_tick, key=key
            ),
            call,
        )

    def submit_spawn(
        self, actor: ActorCtx, world: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
        """Call ``gate.submit_spawn``."""
        bundle = ", ".join(map(repr, components))
        call = f"submit_spawn({actor.id}, {self._short(world)}, {bundle}{_when(tick, priority)})"
        return self.run(lambda gate: gate.submit_spawn(actor, world, *components, tick=tick, priority=priority), call)

    def peek(self, actor: ActorCtx, world: str) -> WorldInfo | None:
        """Call ``gate.peek`` on the event loop."""

        async def look(gate: CommandGate) -> WorldInfo | None:
            return gate.peek(actor, world)

        return self.run(look, f"peek({actor.id}, {self._short(world)})")

    # Steps of scenarios. Each uses a new actor, so that no quota of another actor changes.

    def new_actor(self, *roles: str) -> ActorCtx:
        """A new actor with these roles."""
        self._actors += 1
        return ActorCtx(f"{'-'.join(roles) or 'nobody'}-{self._actors}", roles)

    def observer(self) -> ActorCtx:
        """A new actor whose audit rows ``history`` leaves out."""
        self._actors += 1
        return ActorCtx(f"{_OBSERVER}{self._actors}", (VIEWER,))

    def world(self, name: str = "world", *, seed: int | None = 7) -> str:
        """Create a world; return its id."""
        made = self.execute(self.new_actor(ADMIN), CreateWorld(name, self.storage, seed=seed))
        self._names[made.world_id] = name
        return made.world_id

    def open_world(self, world: str) -> str:
        """Open a world by name or id; return its id."""
        return self.execute(self.new_actor(ADMIN), OpenWorld(world, self.storage)).world_id

    def fork(self, world: str, name: str | None = None, *, pending: Literal["refuse", "copy"] = "refuse") -> str:
        """Fork a world; return the fork's id."""
        made = self.execute(self.new_actor(ADMIN), ForkWorld(name, pending=pending), world)
        self._names[made.world_id] = made.name
        return made.world_id

    def as_admin(self, command: Command[R], world: str | None = None) -> R:
        """Execute a command as a new administrator."""
        return self.execute(self.new_actor(ADMIN), command, world)

    def step(self, world: str, times: int = 1) -> StepResult:
        """Make ticks with one command each; return the last result."""
        for _ in range(times - 1):
            self.as_admin(Step(), world)
        return self.as_admin(Step(), world)

    def run_ticks(self, world: str, steps: int) -> None:
        """Make several ticks with one command."""
        self.as_admin(Run(RunConfig(steps=steps)), world)

    # Reads

    def info(self, world: str) -> WorldInfo:
        """The current info of a world."""
        return self.execute(self.observer(), GetWorldInfo(), world)

    def usage(self, actor: ActorCtx) -> ActorUsage:
        """What an actor has used."""
        return self.execute(self.new_actor(ADMIN), GetUsage(actor.id))

    def worlds(self, storage: StorageConfig | None = None) -> dict[str, WorldInfo]:
        """The listed worlds by id."""
        return {one.world_id: one for one in self.execute(self.observer(), ListWorlds(storage))}

    def history(self, world: str | None = None, **only: Any) -> list[AuditRow]:
        """The audit rows of a world or of the gate, oldest first, without those of observers."""
        asked = AuditFilter(**{"oldest_first": True, "limit": 1_000_000, **only})
        rows = self.execute(self.observer(), GetHistory(asked), world)
        return [row for row in rows if not row.actor.startswith(_OBSERVER)]

    def row(self, command_id: str, world: str | None = None) -> AuditRow:
        """The audit row of a command."""
        found = [row for row in self.history(world) if row.command_id == command_id]
        require(len(found) == 1, f"expected one audit row of command {command_id}, but there are {len(found)}")
        return found[0]

    def contents(self, world: str, at: int | None = None) -> Contents:
        """The coins and sashes of a world at a tick, by default the last completed one."""
        found: Contents = {}
        for kind in (Coin, Sash):
            frame: Any = self.execute(self.observer(), QuerySnapshot((kind,), at), world)
            names = [field.name for field in kind.component_type().fields]
            # Without a projection Daft has nothing to run if the frame holds its rows already.
            columns = frame.to_pydict()
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

    def _recorded(self, call: str, act: Callable[[], T]) -> T:
        try:
            answer = act()
        except Exception as failure:
            self.transcript.add(f"{call}  # {type(failure).__name__}: {clipped(str(failure))}")
            raise
        self.transcript.add(f"{call}  # {render_answer(answer)}")
        return answer


def _when(tick: int | None, priority: int) -> str:
    at = "" if tick is None else f", tick={tick}"
    return f"{at}, priority={priority}" if priority else at


async def _leave(opened: _OpenGate) -> None:
    opened.leave.set()
    await opened.task
