"""The code of a process under test: it steps the worlds of a program over a store and reports every acknowledged tick."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from archetype_contracts.crash.continuation import extended, shortened
from archetype_contracts.crash.program import FORK, FORK_TICK, FORKED, WORLDS, Drift, Posted, Schedule, schedule_of
from archetype_core import RunConfig, World
from archetype_core.clock import SystemIds
from archetype_core.errors import (
    ArchetypeError,
    CommitError,
    CommitUncertain,
    CorruptStore,
    StoreClosed,
    TickConflict,
    WorldNotFound,
)
from archetype_core.store import Capability, Head, Scan, Store, TickCommit, Timeline, WorldRecord

Report = Callable[..., None]
Opener = Callable[[Path], Store]

TRIES = 3
"""How often a tick is tried with one handle before the store is opened again."""
OPENINGS = 3
"""How often the store is opened before the process gives up."""

EXPECTED = (CommitError, CorruptStore, StoreClosed)
"""The errors that a store may raise when its disk fails."""


class CheckedStore:
    """Passes calls to a store with extended continuations.

    Reports each attempt of a tick, heads with another continuation, and errors of other types before the engine wraps them.
    """

    def __init__(self, store: Store, report: Report) -> None:
        self._store, self._report = store, report
        self.attempts: dict[tuple[str, int], str] = {}
        """By world and tick, the last attempt that was committed or refused."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._store.capabilities

    def _call(self, verb: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return verb(*arguments, **keywords)
        except ArchetypeError:
            raise
        except Exception as failure:
            self._report(raw=f"{verb.__name__} raised {_render(failure)}, expected an ArchetypeError")
            raise

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        tried = [(tick.segment.name, tick.tick, tick.attempt) for tick in ticks]
        for name, number, attempt in tried:
            self.attempts[name, number] = attempt
            self._report(tried=[name, number, attempt])
        try:
            self._call(self._store.commit, [extended(tick) for tick in ticks])
        except CommitUncertain:
            raise
        except ArchetypeError:
            for one in tried:
                self._report(refused=one)
            raise

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = self._call(self._store.scan, scan)
        # Read the stream here, so that its errors are checked too.
        table = self._call(reader.read_all)
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        found: Head = self._call(self._store.head, world_id, at=at)
        own = shortened(found)
        if own is None:
            what = f"{found.segment.name}: expected the continuation of attempt {found.attempt!r} at tick {found.tick}"
            self._report(broken=f"{what}, got another one of {len(found.continuation)} bytes")
        return own or replace(found, continuation=b"")

    def timeline(self, world_id: str) -> Timeline:
        found: Timeline = self._call(self._store.timeline, world_id)
        return found

    def worlds(self) -> tuple[WorldRecord, ...]:
        found: tuple[WorldRecord, ...] = self._call(self._store.worlds)
        return found

    def files(self, scan: Scan) -> tuple[str, ...]:
        found: tuple[str, ...] = self._call(self._store.files, scan)
        return found

    def close(self) -> None:
        self._call(self._store.close)


class FixedIds:
    """An id source that returns the ids in ``next``, then new ones, which name the engine's attempts."""

    def __init__(self) -> None:
        self.next: list[str] = []
        self._new = SystemIds()

    def new(self) -> str:
        return self.next.pop(0) if self.next else self._new.new()


class WorldStepper:
    """Steps one world by its schedule."""

    def __init__(self, world: World, schedule: Schedule, ids: FixedIds) -> None:
        self.world, self.schedule, self.ids = world, schedule, ids
        self._staged = -1

    @classmethod
    async def enter(cls, store: Store, seed: int, name: str) -> WorldStepper:
        """Open the world if the store has it, else create it."""
        schedule, ids = schedule_of(seed, name), FixedIds()
        known = {record.name for record in store.worlds()}
        if name in known:
            return cls(await World.open(store, name, processors=[Drift()], ids=ids), schedule, ids)
        world = World(
            store,
            name,
            seed=seed,
            world_id=schedule.world_id,
            run_id=schedule.run_id,
            processors=[Drift()],
            ids=ids,
        )
        return cls(world, schedule, ids)

    async def fork(self, seed: int, name: str) -> WorldStepper:
        """Fork the world at its current tick."""
        schedule = schedule_of(seed, name)
        self.ids.next = [schedule.world_id, schedule.run_id]
        return WorldStepper(await self.world.fork(name), schedule, self.ids)

    async def step(self) -> int:
        """Run the next tick and return its number. Mutations that a failed step kept are not staged again."""
        world = self.world
        tick = world.tick
        plan = self.schedule.plan(tick)
        if self._staged != tick:
            for components in plan.spawned:
                world.spawn(*components)
            for entity_id, notice in plan.updated.items():
                world.update(entity_id, notice)
            for entity_id in plan.posted:
                world.add_components(entity_id, Posted())
            for entity_id in plan.taken_down:
                world.remove_components(entity_id, Posted)
            world.despawn(*plan.despawned)
            self._staged = tick
        await world.step(RunConfig(run_id=plan.run_id), applied=plan.applied)
        return tick


class Session:
    """Steps the worlds of one store, round by round, until a tick."""

    def __init__(
        self,
        opener: Opener,
        place: Path,
        seed: int,
        until: int,
        report: Report,
        *,
        together: bool,
        die: Callable[[], None] | None = None,
    ) -> None:
        self._opener, self._place, self._seed, self._until = opener, place, seed, until
        self._report, self._together, self._die = report, together, die
        self.rounds = -1
        """The number of rounds to step; negative for no limit."""

    async def run(self) -> None:
        """Step all worlds to the end; open the store again if its handle can no longer commit."""
        for _ in range(OPENINGS):
            try:
                store = CheckedStore(self._opener(self._place), self._report)
            except EXPECTED as failure:
                self._report(error=f"opening: {_render(failure)}")
                continue
            try:
                done = await self.step_worlds(store)
            except EXPECTED as failure:
                self._report(error=f"reading: {_render(failure)}")
                done = False
            try:
                store.close()
            except EXPECTED as failure:
                self._report(error=f"closing: {_render(failure)}")
            if done:
                self._report(end="done")
                return
        self._report(end="gave up")

    async def step_worlds(self, store: CheckedStore) -> bool:
        """Step every world with one handle; return false if a world cannot continue."""
        present = {record.name: record.tick for record in store.worlds()}
        self._report(found=present)
        names = [*WORLDS, *([FORK] if FORK in present else [])]
        worlds = {name: await WorldStepper.enter(store, self._seed, name) for name in names}
        while self.rounds != 0:
            self.rounds -= 1
            source = worlds[FORKED]
            if FORK not in worlds and source.world.tick == FORK_TICK + 1:
                # The source waits until the fork is committed, so that a store without time travel can be tested.
                worlds[FORK] = await source.fork(self._seed, FORK)
                if not await self._step(store, worlds[FORK]):
                    return False
            due = [one for one in worlds.values() if one.world.tick < self._until]
            if not due:
                break
            if self._together:
                if not all(await asyncio.gather(*(self._step(store, one) for one in due))):
                    return False
                continue
            for one in due:
                if not await self._step(store, one):
                    return False
        return True

    async def _step(self, store: CheckedStore, one: WorldStepper) -> bool:
        """Step a world, and try again if the step fails.

        A failed step must leave nothing in the store, unless its error says that this is uncertain.
        """
        name = one.schedule.name
        failed = False
        for _ in range(TRIES):
            tick = one.world.tick
            try:
                await one.step()
            except EXPECTED as failure:
                self._report(error=f"{name} tick {tick}: {_render(failure)}")
                if self._die is not None:
                    self._die()
                if isinstance(failure, TickConflict):
                    why = "an earlier commit of it raised" if failed else "no other process writes"
                    self._report(
                        broken=f"{name}: expected no conflict at tick {tick}, because {why}, got {_render(failure)}"
                    )
                    return False
                failed = True
                if not self._nothing_left(store, one.schedule, tick, failure):
                    return False
            else:
                self._report(ack=[name, tick, time.monotonic_ns()])
                return True
        return False

    def _nothing_left(self, store: CheckedStore, schedule: Schedule, tick: int, failure: Exception) -> bool:
        name = schedule.name
        try:
            head = store.head(schedule.world_id)
        except WorldNotFound:
            return True
        except EXPECTED as found:
            self._report(error=f"head: {_render(found)}")
            return False
        if head.tick < tick:
            return True
        attempt = store.attempts.get((name, tick))
        if isinstance(failure, CommitUncertain) and (head.tick, head.attempt) == (tick, attempt):
            return True
        self._report(
            broken=f"{name}: expected head {tick - 1} after {_render(failure)} (or tick {tick} of attempt {attempt}, "
            f"if the error is CommitUncertain), but it is tick {head.tick} of attempt {head.attempt}"
        )
        return False


def _render(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {failure}"


def trace_of(failure: BaseException) -> str:
    """An error with its traceback."""
    return "".join(traceback.format_exception(failure))
