"""The worlds that a gate holds: made, opened as they were left, forked, and let go."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future

from archetype_core import World
from archetype_core.clock import IdSource
from archetype_core.command import CreateWorld, Custom, ForkWorld, OpenWorld, WorldInfo
from archetype_core.config import StorageConfig
from archetype_core.engine import FairLock, in_thread
from archetype_core.errors import AmbiguousWorld, CorruptStore, GateClosed, PendingMutations, WorldExists, WorldNotFound
from archetype_core.store import Segment, WorldRecord
from archetype_gate import wire
from archetype_gate.ledger import Accepted, Note, Settled, WorldEntry
from archetype_gate.live import LiveWorld
from archetype_gate.storage import Backend, StorageService


class WorldService:
    """The live worlds of a gate. Whatever makes one or takes it down happens one at a time."""

    def __init__(self, storage: StorageService, ids: IdSource, now_us: Callable[[], int]) -> None:
        self._storage = storage
        self._ids = ids
        self._now_us = now_us
        self._turn = FairLock()
        self._lock = threading.Lock()
        self._live: dict[str, LiveWorld] = {}
        self._homes: dict[str, Backend] = {}
        self._leaving: dict[str, Future[None]] = {}
        self._is_open = True

    @property
    def live(self) -> tuple[LiveWorld, ...]:
        """The worlds in memory, oldest first."""
        with self._lock:
            return tuple(one for world_id, one in self._live.items() if world_id not in self._leaving)

    def get(self, world_id: str) -> LiveWorld:
        """A live world; ``WorldNotFound`` names those that there are."""
        live = self.find(world_id)
        if live is None:
            raise WorldNotFound(world_id, sorted(f"{one.world.name} ({one.world_id})" for one in self.live))
        return live

    def find(self, world_id: str | None) -> LiveWorld | None:
        """A live world, if it is one."""
        if world_id is None or world_id in self._leaving:
            return None
        return self._live.get(world_id)

    def home(self, world_id: str | None) -> Backend | None:
        """Where a world lies that this gate holds, or held."""
        return self._homes.get(world_id) if world_id is not None else None

    # Making and opening.

    async def create(self, command: CreateWorld) -> WorldInfo:
        """Make a world, or answer with the one that has the ``world_id`` asked for."""
        backend = await self._storage.backend(command.storage, command.cache)
        async with self._turn:
            self._check_open()
            if (there := self.find(command.world_id)) is not None:
                return there.info()
            is_there = command.world_id is not None and await in_thread(lambda: _is_there(backend, command.world_id))
            if not is_there:
                return (await self._made(backend, command)).info()
        return await self.open(OpenWorld(command.world_id or "", command.storage, command.cache, command.kernel))

    async def _made(self, backend: Backend, command: CreateWorld) -> LiveWorld:
        def enter() -> World:
            # In the thread, since the first world of a process brings its engine along.
            world = World(
                backend.store,
                command.name,
                seed=command.seed,
                world_id=command.world_id or self._ids.new(),
                kernel=command.kernel,
            )
            _check_name(backend, world.name)
            backend.ledger.enter(_entry(world, command.kernel))
            return world

        return self._hold(LiveWorld(await in_thread(enter), backend, 1, self._now_us, None))

    async def open(self, command: OpenWorld) -> WorldInfo:
        """Bring a world back; one that is live already is the answer as it is."""
        backend = await self._storage.backend(command.storage, command.cache)
        while True:
            async with self._turn:
                self._check_open()
                world_id, entry, record = await in_thread(lambda: _resolved(backend, command.world))
                if (there := self.find(world_id)) is not None:
                    return there.info()
                gone = self._leaving.get(world_id)
                if gone is None:
                    return (await self._open(backend, entry, record, command.kernel)).info()
            # Not within the turn: the tick that it waits for may wait for a turn itself.
            await asyncio.shield(asyncio.wrap_future(gone))

    async def _open(
        self, backend: Backend, entry: WorldEntry | None, record: WorldRecord | None, kernel: str
    ) -> LiveWorld:
        if entry is not None:
            _check_whole(backend, entry, record)
        if record is not None:
            world = await World.open(backend.store, record.world_id, kernel=entry.kernel if entry else kernel)
        else:
            assert entry is not None
            world = await self._unticked(backend, entry)

        def recover() -> LiveWorld:
            if entry is None:
                # Somebody ran it without a gate: what it applied up to here was nobody's command.
                backend.ledger.enter(_entry(world, kernel, settled_tick=world.tick - 1))
            elif not entry.is_open:
                backend.ledger.reopened(world.world_id)
            parent = entry.segment.parent if entry else None
            live = LiveWorld(
                world, backend, entry.ids_to if entry else 1, self._now_us, parent.world_id if parent else None
            )
            self._recover(live, entry)
            return live

        try:
            live = await in_thread(recover)
        except BaseException:
            await world.close()
            raise
        return self._hold(live)

    async def _unticked(self, backend: Backend, entry: WorldEntry) -> World:
        """A world that never ran a tick, as it was made."""
        segment = entry.segment
        if segment.parent is None:
            return World(
                backend.store,
                segment.name,
                seed=segment.seed,
                world_id=segment.world_id,
                run_id=segment.run_id,
                kernel=entry.kernel,
            )
        return await World.open(backend.store, segment.parent.world_id, branch=segment, kernel=entry.kernel)

    def _recover(self, live: LiveWorld, entry: WorldEntry | None) -> None:
        """Find out what the world's ticks applied, and let the rest of what was accepted wait or be staged again."""
        ledger, world = live.backend.ledger, live.world
        waiting = {one.command_id: one for one in ledger.accepted(live.world_id)}
        applied = self._applied(live, entry)
        now = self._now_us()
        strange = [one for one in applied if one not in waiting]
        known = ledger.known(strange) if strange else set()
        ledger.note(
            [
                _lost(one, live.world_id, tick, now)
                for one, tick in applied.items()
                if one in strange and one not in known
            ]
        )
        done = [one for one in waiting if one in applied]
        ledger.settle([Settled(one, live.world_id, "applied", now, applied[one]) for one in done])
        ledger.ticked(live.world_id, world.tick - 1)
        left = [one for one in waiting.values() if one.command_id not in applied]
        world.claim(entry.ids_to if entry else 1, [one.entity_ids for one in left])
        # Read before anything is taken up: a component that is not defined here stops the opening, and nothing is lost.
        commands = [wire.decode(one.form, one.payload()) for one in left]
        is_early = True
        for accepted, command in zip(left, commands, strict=True):
            # Handlers of custom commands are not there yet: from the first of those on, what was staged waits for the tick.
            is_early = is_early and not (accepted.is_direct and isinstance(command, Custom))
            if not accepted.is_direct:
                live.enqueue(accepted, command)
            elif is_early:
                live.take(accepted, command, world.tick)
            else:
                live.enqueue(accepted, command)

    def _applied(self, live: LiveWorld, entry: WorldEntry | None) -> dict[str, int]:
        """The ids on record with the ticks that the ledger may not have heard of, and their ticks."""
        world, store = live.world, live.backend.store
        applied: dict[str, int] = {}
        if entry is None:
            return applied
        timeline = world.timeline()
        spans = timeline.own(live.world_id).spans if timeline else ()
        for span in spans:
            for tick in range(max(span.first, entry.settled_tick + 1), span.last + 1):
                applied.update(dict.fromkeys(store.head(live.world_id, at=tick).applied, tick))
        return applied

    # Branches.

    async def fork(self, source: LiveWorld, command: ForkWorld, *, is_name_free: bool = False) -> LiveWorld:
        """A world that goes its own way from another; with ``pending="copy"`` its staged commands are commands of both."""
        backend = source.backend
        if command.storage is not None:
            backend = await self._storage.backend(command.storage)
        async with self._turn:
            self._check_open()
            if command.pending == "refuse" and source.pending:
                raise PendingMutations(source.world.name, source.pending)
            if command.name is not None and not is_name_free:
                await in_thread(lambda: _check_name(backend, command.name))
            world = await source.world.fork(
                command.name,
                at_tick=command.at_tick,
                resources=command.resources,
                rng=command.rng,
                pending=command.pending,
                store=backend.store if backend is not source.backend else None,
                world_id=self._ids.new(),
            )
            try:
                live = await in_thread(lambda: self._enter_fork(source, world, backend, command))
            except BaseException:
                await world.close()
                raise
            return self._hold(live)

    def _enter_fork(self, source: LiveWorld, world: World, backend: Backend, command: ForkWorld) -> LiveWorld:
        known = source.backend.ledger.world(source.world_id)
        entry = _entry(world, known.kernel if known else "python", settled_tick=world.tick - 1)
        entry = dataclasses.replace(entry, ids_to=world.next_entity_id)
        backend.ledger.enter(entry)
        live = LiveWorld(world, backend, entry.ids_to, self._now_us, source.world_id)
        live.handlers = dict(source.handlers)
        if source.pending and command.pending == "copy":
            self._copy_staged(source, live)
        return live

    def _copy_staged(self, source: LiveWorld, live: LiveWorld) -> None:
        """Let the fork's copies of what is staged be commands of its own."""

        def copied(one: Accepted) -> Accepted:
            return dataclasses.replace(one, command_id=self._ids.new(), world_id=live.world_id, is_direct=True)

        copies = [copied(one) for one in tuple(source.staged.values())]
        early = [(copied(one), command) for one, command in source.early]
        now = self._now_us()
        live.backend.ledger.note(
            [
                Note(
                    one.command_id,
                    live.world_id,
                    "fork",
                    (),
                    "copied",
                    wire.text({"form": one.form, "source": source.world_id}),
                    "queued",
                    now,
                    accepted=one,
                )
                for one in (*copies, *(one for one, _ in early))
            ]
        )
        for one, command in early:
            live.enqueue(one, command)
        for one in copies:
            with live.world.commanded(one.command_id):
                live.staged[one.command_id] = one

    # Letting go.

    async def close(self, world_id: str) -> bool:
        """Let go of a live world once its tick is over, keeping all it needs to come back; says whether there was one."""
        return await self._leave(world_id, lambda live: live.world.close(), self._keep)

    async def destroy(self, world_id: str) -> bool:
        """Drop a live world and its queue; its history and its audit rows stay. Says whether there was one."""
        return await self._leave(world_id, lambda live: live.world.destroy(), self._clear)

    async def _leave(
        self, world_id: str, end: Callable[[LiveWorld], Awaitable[None]], settle: Callable[[LiveWorld], None]
    ) -> bool:
        with self._lock:
            live = self._live.get(world_id)
            if live is None or world_id in self._leaving:
                return False
            gone = self._leaving[world_id] = Future()
        try:
            # Asked from inside its own tick this is refused, and the world stays.
            await end(live)
            live.abandon()
            try:
                await in_thread(lambda: settle(live))
            finally:
                with self._lock:
                    del self._live[world_id]
        finally:
            with self._lock:
                del self._leaving[world_id]
            gone.set_result(None)
        return True

    @staticmethod
    def _keep(live: LiveWorld) -> None:
        live.backend.ledger.sync()
        live.release()

    def _clear(self, live: LiveWorld) -> None:
        ledger, now, world_id = live.backend.ledger, self._now_us(), live.world_id
        left = ledger.accepted(world_id)
        ledger.settle(
            [Settled(one.command_id, world_id, "failed", now, None, "the world was destroyed") for one in left]
        )
        ledger.destroyed(world_id)
        live.release()

    async def close_all(self) -> list[Exception]:
        """Let go of every live world, last one first; what failed comes back."""
        async with self._turn:
            self._is_open = False
        failures: list[Exception] = []
        for live in reversed(self.live):
            # Whatever is wrong with one world, the others are closed.
            try:
                await self.close(live.world_id)
            except Exception as failure:  # noqa: BLE001  # reason: raised together by the gate
                failures.append(failure)
        # Those that another caller is letting go of still write to their ledger.
        with self._lock:
            leaving = list(self._leaving.values())
        for gone in leaving:
            await asyncio.shield(asyncio.wrap_future(gone))
        return failures

    def _hold(self, live: LiveWorld) -> LiveWorld:
        with self._lock:
            self._live[live.world_id] = live
            self._homes[live.world_id] = live.backend
        return live

    def _check_open(self) -> None:
        if not self._is_open:
            raise GateClosed

    # Telling.

    async def listed(self, storage: StorageConfig | None) -> tuple[WorldInfo, ...]:
        """The worlds of a storage, or the live ones."""
        if storage is None:
            return tuple(one.info() for one in self.live)
        backend = await self._storage.backend(storage)
        return tuple(await in_thread(lambda: list(self._infos(backend))))

    def _infos(self, backend: Backend) -> Iterable[WorldInfo]:
        entries = {one.segment.world_id: one for one in backend.ledger.worlds()}
        records = {one.world_id: one for one in backend.store.worlds()}
        for world_id in sorted(entries.keys() | records.keys()):
            live, entry, record = self.find(world_id), entries.get(world_id), records.get(world_id)
            if live is not None:
                yield live.info()
                continue
            if entry is not None and not entry.is_open:
                continue
            segment = entry.segment if entry else None
            told: Segment | WorldRecord | None = record or segment
            assert told is not None
            yield WorldInfo(
                world_id=world_id,
                name=told.name,
                run_id=told.run_id,
                seed=segment.seed if segment else None,
                tick=record.tick + 1 if record else (segment.first_tick if segment else 0),
                storage=backend.config.uri,
                is_live=False,
                parent=segment.parent.world_id if segment and segment.parent else None,
            )


def _entry(world: World, kernel: str, *, settled_tick: int = -1) -> WorldEntry:
    return WorldEntry(world.segment, kernel, settled_tick=settled_tick)


def _is_there(backend: Backend, world_id: str | None) -> bool:
    if world_id is None:
        return False
    entry = backend.ledger.world(world_id)
    if entry is not None and entry.segment.world_id == world_id:
        return True
    return any(one.world_id == world_id for one in backend.store.worlds())


def _check_name(backend: Backend, name: str | None) -> None:
    """Refuse the name of a world that is in the store and was not destroyed."""
    if name is None:
        return
    entry = backend.ledger.world(name)
    if entry is not None and entry.segment.name == name and entry.is_open:
        raise WorldExists(name, entry.segment.world_id)
    for record in backend.store.worlds():
        if record.name == name and backend.ledger.world(record.world_id) is None:
            raise WorldExists(name, record.world_id)


def _resolved(backend: Backend, wanted: str) -> tuple[str, WorldEntry | None, WorldRecord | None]:
    """The world of an id, or else of a name, as ledger and store know it."""
    records = {one.world_id: one for one in backend.store.worlds()}
    entry = backend.ledger.world(wanted)
    if entry is not None:
        return entry.segment.world_id, entry, records.get(entry.segment.world_id)
    if wanted in records:
        return wanted, None, records[wanted]
    # A name that the ledger does not know: of a world that was run without a gate.
    named = [one for one in records.values() if one.name == wanted and backend.ledger.world(one.world_id) is None]
    if len(named) > 1:
        raise AmbiguousWorld(wanted, sorted(one.world_id for one in named))
    if not named:
        gone = {one.segment.world_id for one in backend.ledger.worlds() if not one.is_open}
        there = sorted(f"{one.name} ({one.world_id})" for one in records.values() if one.world_id not in gone)
        raise WorldNotFound(wanted, there)
    return named[0].world_id, None, named[0]


def _check_whole(backend: Backend, entry: WorldEntry, record: WorldRecord | None) -> None:
    """Refuse a store that has lost ticks which its ledger knows."""
    began = entry.segment.first_tick - 1
    last = began if record is None else record.tick
    if entry.settled_tick > max(last, began):
        raise CorruptStore(
            repr(backend.store),
            f"the ledger beside it knows world {entry.segment.name!r} up to tick {entry.settled_tick}, "
            f"the store {f'up to {last}' if record else 'does not have it'}: put back the files that belong together",
        )


def _lost(command_id: str, world_id: str, tick: int, now_us: int) -> Note:
    """The row of a command that a tick applied and whose own row a crash took."""
    reason = "a crash took its row; that it was applied is on record with the tick"
    return Note(command_id, world_id, "unknown", (), "unknown", "{}", "applied", now_us, tick, reason)
