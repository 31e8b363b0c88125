"""A process under test: it steps the worlds of a program over a store and tells of every tick that was acknowledged."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from archetype_contracts.crash.program import FORK, FORK_TICK, FORKED, WORLDS, Drift, Posted, Schedule, schedule_of
from archetype_core import RunConfig, World
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore, StoreClosed, TickConflict, WorldNotFound
from archetype_core.store import Capability, Head, Scan, Store, TickCommit, Timeline, WorldRecord

Tell = Callable[..., None]
Opener = Callable[[Path], Store]

ATTEMPTS = 3
"""How often a tick is tried over one handle before the store is opened again."""
OPENINGS = 3
"""How often a store is opened before the process gives up."""

EXPECTED = (CommitError, CorruptStore, StoreClosed)
"""The errors with which a store may answer a disk that fails."""


class Watched:
    """A store whose errors are looked at before the engine dresses them: what is not typed is told as raw."""

    def __init__(self, store: Store, tell: Tell) -> None:
        self._store, self._tell = store, tell

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._store.capabilities

    def _call(self, verb: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        try:
            return verb(*arguments, **keywords)
        except ArchetypeError:
            raise
        except Exception as failure:
            self._tell(raw=f"{verb.__name__} raised {_spell(failure)}")
            raise

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._call(self._store.commit, ticks)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        reader = self._call(self._store.scan, scan)
        # Read here, so that an error while reading has the verb's name too.
        table = self._call(reader.read_all)
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches())

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        found: Head = self._call(self._store.head, world_id, at=at)
        return found

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


class Given:
    """Gives out ids that were put there."""

    def __init__(self) -> None:
        self.next: list[str] = []

    def new(self) -> str:
        return self.next.pop(0)


class Stepper:
    """One world that steps by its schedule."""

    def __init__(self, world: World, schedule: Schedule, ids: Given) -> None:
        self.world, self.schedule, self.ids = world, schedule, ids
        self._staged = -1

    @classmethod
    async def entered(cls, store: Store, seed: int, name: str) -> Stepper:
        """The world as the store has it, or a new one."""
        schedule, ids = schedule_of(seed, name), Given()
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

    async def forked(self, seed: int, name: str) -> Stepper:
        """A fork from where the world stands."""
        schedule = schedule_of(seed, name)
        self.ids.next = [schedule.world_id, schedule.run_id]
        return Stepper(await self.world.fork(name), schedule, self.ids)

    async def step(self) -> int:
        """Run the next tick and return its number; what a failed step staged is not staged again."""
        world = self.world
        tick = world.tick
        turn = self.schedule.turn(tick)
        if self._staged != tick:
            for components in turn.spawned:
                world.spawn(*components)
            for entity_id, notice in turn.updated.items():
                world.update(entity_id, notice)
            for entity_id in turn.posted:
                world.add_components(entity_id, Posted())
            for entity_id in turn.taken_down:
                world.remove_components(entity_id, Posted)
            world.despawn(*turn.despawned)
            self._staged = tick
        await world.step(RunConfig(run_id=turn.run_id), applied=turn.applied)
        return tick


class Play:
    """The worlds of one store, stepped round by round until a tick."""

    def __init__(self, opener: Opener, place: Path, seed: int, until: int, tell: Tell, *, together: bool) -> None:
        self._opener, self._place, self._seed, self._until = opener, place, seed, until
        self._tell, self._together = tell, together
        self.rounds = -1
        """How many rounds to play; negative for as many as there are."""

    async def run(self) -> None:
        """Play to the end; open the store again where its handle has become useless."""
        for _ in range(OPENINGS):
            try:
                store = Watched(self._opener(self._place), self._tell)
            except EXPECTED as failure:
                self._tell(error=f"opening: {_spell(failure)}")
                continue
            try:
                done = await self.over(store)
            except EXPECTED as failure:
                self._tell(error=f"reading: {_spell(failure)}")
                done = False
            try:
                store.close()
            except EXPECTED as failure:
                self._tell(error=f"closing: {_spell(failure)}")
            if done:
                self._tell(end="done")
                return
        self._tell(end="gave up")

    async def over(self, store: Store) -> bool:
        """Step every world over one handle; false when one got stuck."""
        present = {record.name: record.tick for record in store.worlds()}
        self._tell(found=present)
        names = [*WORLDS, *([FORK] if FORK in present else [])]
        worlds = {name: await Stepper.entered(store, self._seed, name) for name in names}
        while self.rounds != 0:
            self.rounds -= 1
            source = worlds[FORKED]
            if FORK not in worlds and source.world.tick == FORK_TICK + 1:
                # The source waits until its fork is on record, so a store without time travel can be forked from too.
                worlds[FORK] = await source.forked(self._seed, FORK)
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

    async def _step(self, store: Store, one: Stepper) -> bool:
        """Step a world, again if it is refused; a refusal leaves nothing behind."""
        name = one.schedule.name
        failed = False
        for _ in range(ATTEMPTS):
            tick = one.world.tick
            try:
                await one.step()
            except EXPECTED as failure:
                self._tell(error=f"{name} tick {tick}: {_spell(failure)}")
                if isinstance(failure, TickConflict):
                    why = "its commit had raised" if failed else "nobody else writes"
                    self._tell(broken=f"{name}: tick {tick} was called a conflict though {why}: {_spell(failure)}")
                    return False
                failed = True
                if not self._nothing_left(store, one.schedule, tick):
                    return False
            else:
                self._tell(ack=[name, tick, time.monotonic_ns()])
                return True
        return False

    def _nothing_left(self, store: Store, schedule: Schedule, tick: int) -> bool:
        try:
            head = store.head(schedule.world_id).tick
        except WorldNotFound:
            return True
        except EXPECTED as failure:
            self._tell(error=f"head: {_spell(failure)}")
            return False
        if head >= tick:
            self._tell(broken=f"{schedule.name}: the commit of tick {tick} raised, and yet the head is tick {head}")
            return False
        return True


def _spell(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {failure}"


def trace_of(failure: BaseException) -> str:
    """An error with its traceback."""
    return "".join(traceback.format_exception(failure))
