"""Creates, opens, forks, closes and destroys the worlds of a gate."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from archetype_core import World
from archetype_core.clock import IdSource
from archetype_core.command import CreateWorld, ForkWorld, OpenWorld, SealStorage, WorldInfo
from archetype_core.config import StorageConfig
from archetype_core.engine import FairLock, in_thread, outside_attempts
from archetype_core.errors import GateClosed, PendingMutations, StaleTick, StorageNotFound, WorldNotFound
from archetype_core.schema import Component
from archetype_core.store import SealingStore, WorldRecord
from archetype_gate import command_codec, world_lookup
from archetype_gate.ledger import AcceptedCommand, AuditEntry, LedgerWorld, Settlement
from archetype_gate.live_world import LiveWorld
from archetype_gate.recovery import CommandRecovery
from archetype_gate.storage import Backend, StorageService

Opened = TypeVar("Opened", bound=WorldInfo | None)


class WorldService:
    """The live worlds of a gate. Worlds are created, opened and forked one at a time.

    A method raises ``GateClosed`` once the gate is closed, and ``LedgerError`` if the ledger cannot be written.
    """

    def __init__(self, storage: StorageService, ids: IdSource, now_us: Callable[[], int]) -> None:
        self._storage = storage
        self._ids = ids
        self._now_us = now_us
        self._change_lock = FairLock()
        self._lock = threading.Lock()
        self._live: dict[str, LiveWorld] = {}
        self._backends: dict[str, Backend] = {}
        self._closing: dict[str, Future[None]] = {}
        self._is_open = True

    @property
    def live_worlds(self) -> tuple[LiveWorld, ...]:
        """The worlds in memory that are not being closed, oldest first."""
        with self._lock:
            return tuple(one for world_id, one in self._live.items() if world_id not in self._closing)

    def get(self, world_id: str) -> LiveWorld:
        """Return a live world; ``WorldNotFound`` lists the live ones."""
        live = self.find(world_id)
        if live is None:
            raise WorldNotFound(world_id, sorted(f"{one.world.name} ({one.world_id})" for one in self.live_worlds))
        return live

    def find(self, world_id: str | None) -> LiveWorld | None:
        """Return a live world; ``None`` if it is not live or is being closed."""
        if world_id is None or world_id in self._closing:
            return None
        return self._live.get(world_id)

    def backend_of(self, world_id: str | None) -> Backend | None:
        """Return the backend of a world that is or was live in this gate, else ``None``."""
        return self._backends.get(world_id) if world_id is not None else None

    async def create(self, command: CreateWorld, maker: str = "") -> WorldInfo:
        """Create a world; if one has the ``world_id`` of the command, open that instead.

        Costs one synced transaction of the ledger. ``WorldExists`` if another world has the name; a refused creation
        leaves nothing behind.
        """
        backend = await self._storage.backend(command.storage, command.cache)
        async with self._change_lock:
            self._check_open()
            if (live := self.find(command.world_id)) is not None:
                return live.info()
            exists = command.world_id is not None and await in_thread(
                lambda: world_lookup.world_exists(backend, command.world_id)
            )
            if not exists:
                return (await self._create(backend, command, maker)).info()
        opening = OpenWorld(command.world_id or "", command.storage, command.cache, command.kernel, command.components)
        return await self.open(opening)

    async def _create(self, backend: Backend, command: CreateWorld, maker: str) -> LiveWorld:
        def create() -> World:
            # In a thread, because the first world of a process imports the engine.
            world = World(
                backend.store,
                command.name,
                seed=command.seed,
                world_id=command.world_id or self._ids.new(),
                kernel=command.kernel,
                components=command.components,
            )
            world_lookup.check_name(backend, world.name)
            backend.ledger.add_world(_world_entry(world, command.kernel, maker=maker))
            return world

        return self._add(LiveWorld(await in_thread(create), backend, self._now_us, maker=maker))

    async def open(self, command: OpenWorld[Opened]) -> Opened:
        """Open a world by id or name, with its queued and staged commands; a world that is live is returned as it is.

        Costs a read of its last tick and of the ticks since the last settled one. ``StorageNotFound`` and ``WorldNotFound``,
        or ``None`` with the command's ``missing_ok``; ``AmbiguousWorld``, or ``CorruptStore`` if the store lost ticks that the
        ledger settled.
        """
        try:
            return cast("Opened", await self._find_and_open(command))
        except (StorageNotFound, WorldNotFound):
            if command.missing_ok:
                return cast("Opened", None)
            raise

    async def _find_and_open(self, command: OpenWorld[Any]) -> WorldInfo:
        backend = await self._storage.backend(command.storage, command.cache, create=False)
        while True:
            async with self._change_lock:
                self._check_open()
                world_id, entry, record = await in_thread(lambda: world_lookup.find_stored(backend, command.world))
                if (live := self.find(world_id)) is not None:
                    return live.info()
                closed = self._closing.get(world_id)
                if closed is None:
                    return (await self._open(backend, entry, record, command)).info()
            # Without the lock: closing waits for the world's tick, and that tick may need the lock.
            await asyncio.shield(asyncio.wrap_future(closed))

    async def _open(
        self, backend: Backend, entry: LedgerWorld | None, record: WorldRecord | None, command: OpenWorld[Any]
    ) -> LiveWorld:
        kernel = entry.kernel if entry else command.kernel
        if entry is not None:
            world_lookup.check_no_ticks_lost(backend, entry, record)
        if record is not None:
            world = await World.open(backend.store, record.world_id, kernel=kernel, components=command.components)
        else:
            assert entry is not None
            world = await self._rebuild(backend, entry, command.components)

        def recover() -> LiveWorld:
            if entry is None:
                # The world was run without a gate, so there are no commands to settle.
                backend.ledger.add_world(_world_entry(world, kernel, settled_tick=world.tick - 1))
            elif not entry.is_open:
                backend.ledger.mark_reopened(world.world_id)
            parent = entry.segment.parent if entry else None
            live = LiveWorld(
                world,
                backend,
                self._now_us,
                reserved_to=entry.reserved_to if entry else 1,
                is_told=entry is not None and entry.is_told,
                parent=parent.world_id if parent else None,
                maker=entry.maker if entry else "",
            )
            CommandRecovery(live, entry, self._now_us()).run()
            return live

        try:
            live = await in_thread(recover)
        except BaseException:
            await world.close()
            raise
        return self._add(live)

    async def _rebuild(self, backend: Backend, entry: LedgerWorld, components: tuple[type[Component], ...]) -> World:
        """Rebuild a world that never made a tick from its ledger entry."""
        segment = entry.segment
        if segment.parent is None:
            return World(
                backend.store,
                segment.name,
                seed=segment.seed,
                world_id=segment.world_id,
                run_id=segment.run_id,
                kernel=entry.kernel,
                components=components,
            )
        parent = segment.parent.world_id
        return await World.open(backend.store, parent, branch=segment, kernel=entry.kernel, components=components)

    async def fork(
        self,
        source: LiveWorld,
        command: ForkWorld,
        *,
        is_name_free: bool = False,
        world_id: str | None = None,
        expected_tick: int | None = None,
        maker: str = "",
    ) -> LiveWorld:
        """Create a world that continues from another, sharing its history; ``pending="copy"`` copies its staged commands.

        Costs one synced transaction and no rows, except into another storage. ``PendingMutations`` by default if more is
        staged in the source than its last tick left; ``WorldExists`` if the name is taken, unless ``is_name_free`` says not.
        ``StaleTick`` if the fork of the newest tick would begin with another tick than the expected one.
        """
        backend = source.backend
        if command.storage is not None:
            backend = await self._storage.backend(command.storage)
        async with self._change_lock:
            self._check_open()
            is_past = command.at_tick is not None and command.at_tick != source.world.tick - 1
            if command.pending == "refuse" and not is_past and (waiting := source.uncommitted):
                raise PendingMutations(source.world.name, waiting)
            if command.name is not None and not is_name_free:
                await in_thread(lambda: world_lookup.check_name(backend, command.name))
            world = await source.world.fork(
                command.name,
                at_tick=command.at_tick,
                resources=command.resources,
                rng=command.rng,
                pending=command.pending,
                store=backend.store if backend is not source.backend else None,
                world_id=world_id or self._ids.new(),
            )
            try:
                if expected_tick is not None and not is_past and world.tick != expected_tick:
                    raise StaleTick(source.world.name, expected_tick, world.tick)
                live = await in_thread(lambda: self._add_fork(source, world, backend, command, maker))
            except BaseException:
                await world.close()
                raise
            return self._add(live)

    def _add_fork(self, source: LiveWorld, world: World, backend: Backend, command: ForkWorld, maker: str) -> LiveWorld:
        parent = source.backend.ledger.find_world(source.world_id)
        entry = _world_entry(world, parent.kernel if parent else "python", settled_tick=world.tick - 1, maker=maker)
        is_told = source.uncommitted > 0
        entry = dataclasses.replace(entry, reserved_to=world.next_entity_id, is_told=is_told)
        backend.ledger.add_world(entry)
        live = LiveWorld(
            world,
            backend,
            self._now_us,
            reserved_to=entry.reserved_to,
            is_told=is_told,
            parent=source.world_id,
            maker=maker,
        )
        live.handlers = dict(source.handlers)
        if source.uncommitted and command.pending == "copy":
            self._copy_staged(source, live)
        return live

    def _copy_staged(self, source: LiveWorld, live: LiveWorld) -> None:
        """Record the staged commands that the fork copied as commands of the fork."""

        def copy(one: AcceptedCommand) -> AcceptedCommand:
            return one._replace(command_id=self._ids.new(), world_id=live.world_id, due=0, priority=0, is_direct=True)

        # What is part of the source's last commit is part of the fork's too.
        committed = set(source.world.committed_commands)
        copies = [copy(one) for one in tuple(source.staged.values()) if one.command_id not in committed]
        unstaged = [(copy(one), command) for one, command in source.unstaged_direct]
        now = self._now_us()
        live.backend.ledger.record(
            [
                AuditEntry(
                    one.command_id,
                    live.world_id,
                    "fork",
                    (),
                    "copied",
                    command_codec.to_json({"form": one.class_name, "source": source.world_id}),
                    "queued",
                    now,
                    accepted=one,
                )
                for one in (*copies, *(one for one, _ in unstaged))
            ]
        )
        for one, command in unstaged:
            live.enqueue(one, command)
        for one in copies:
            with outside_attempts(), live.world.commanded(one.command_id):
                live.add_staged(one)

    async def close(self, world_id: str) -> bool:
        """Close a live world after its current tick, with everything on disk; returns whether there was one.

        A run in progress raises ``WorldClosed``. ``ReentrantStep`` from inside the world's own tick.
        """
        return await self._remove(world_id, lambda live: live.world.close(), self._after_close)

    async def destroy(self, world_id: str, expected_tick: int | None = None) -> bool:
        """Close a live world, fail its waiting commands and free its name; returns whether there was one.

        Its rows and audit rows stay. ``ReentrantStep`` from inside the world's own tick, ``StaleTick`` if another is next.
        """
        return await self._remove(
            world_id, lambda live: live.world.destroy(expected_tick=expected_tick), self._after_destroy
        )

    async def discard(self, backend: Backend, world_id: str) -> None:
        """Destroy a world of a backend if it is live, or was left by an earlier process; nothing if there is none."""
        if not await self.destroy(world_id):
            await in_thread(lambda: self._mark_destroyed(backend, world_id))

    async def _remove(
        self, world_id: str, end: Callable[[LiveWorld], Awaitable[None]], finish: Callable[[LiveWorld], None]
    ) -> bool:
        with self._lock:
            live = self._live.get(world_id)
            if live is None or world_id in self._closing:
                return False
            closed = self._closing[world_id] = Future()
        try:
            # Raises from inside the world's own tick, and then the world stays live.
            await end(live)
            live.clear_queue()
            try:
                await in_thread(lambda: finish(live))
            finally:
                with self._lock:
                    del self._live[world_id]
        finally:
            with self._lock:
                del self._closing[world_id]
            closed.set_result(None)
        return True

    @staticmethod
    def _after_close(live: LiveWorld) -> None:
        live.backend.ledger.sync()
        live.release_ids()

    def _after_destroy(self, live: LiveWorld) -> None:
        self._mark_destroyed(live.backend, live.world_id)
        live.release_ids()

    def _mark_destroyed(self, backend: Backend, world_id: str) -> None:
        ledger, now, reason = backend.ledger, self._now_us(), "the world was destroyed"
        waiting = ledger.waiting_commands(world_id)
        ledger.settle([Settlement(one.command_id, world_id, "failed", now, None, reason) for one in waiting])
        ledger.mark_destroyed(world_id)

    async def close_all(self) -> list[Exception]:
        """Close every live world, the newest first, and return the failures; no world can be created or opened afterwards."""
        async with self._change_lock:
            self._is_open = False
        failures: list[Exception] = []
        for live in reversed(self.live_worlds):
            # One failure must not leave the other worlds open.
            try:
                await self.close(live.world_id)
            except Exception as failure:  # noqa: BLE001  # reason: raised together by the gate
                failures.append(failure)
        # Worlds that another caller is closing still write to their ledgers.
        with self._lock:
            closing = list(self._closing.values())
        for closed in closing:
            await asyncio.shield(asyncio.wrap_future(closed))
        return failures

    def _add(self, live: LiveWorld) -> LiveWorld:
        with self._lock:
            self._live[live.world_id] = live
            self._backends[live.world_id] = live.backend
        return live

    def _check_open(self) -> None:
        if not self._is_open:
            raise GateClosed

    async def seal(self, command: SealStorage) -> int:
        """Hand the ticks in a storage's journal to the store behind it, and return how many there were.

        ``StorageNotFound``, ``StorageReadOnly``.
        """
        backend = await self._storage.backend(command.storage, create=False)
        backend.check_writable()
        store = backend.store
        return await in_thread(store.seal) if isinstance(store, SealingStore) else 0

    async def list_worlds(self, storage: StorageConfig | None) -> tuple[WorldInfo, ...]:
        """Describe all worlds of a storage that are not destroyed; the live worlds of this gate for ``None``.

        ``StorageNotFound`` if there is no store.
        """
        if storage is None:
            return tuple(one.info() for one in self.live_worlds)
        backend = await self._storage.backend(storage, create=False)
        return tuple(await in_thread(lambda: list(world_lookup.world_infos(backend, self.find))))


def _world_entry(world: World, kernel: str, *, settled_tick: int = -1, maker: str = "") -> LedgerWorld:
    return LedgerWorld(world.segment, kernel, settled_tick=settled_tick, maker=maker)
