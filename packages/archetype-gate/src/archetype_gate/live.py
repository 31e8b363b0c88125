"""A world that a gate holds in memory: its engine, its queue, the commands staged for its next tick, and its ids."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Iterable
from typing import Any

from archetype_core import World
from archetype_core.argument import is_count
from archetype_core.command import (
    AddComponents,
    Custom,
    Despawn,
    EntityCommand,
    RemoveComponents,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
    WorldInfo,
)
from archetype_core.engine import Bundle, Outcome
from archetype_core.errors import NoHandler
from archetype_core.schema import Component
from archetype_gate import wire
from archetype_gate.ledger import Accepted, Settled
from archetype_gate.storage import Backend
from archetype_gate.telemetry import log, queue_depth
from archetype_gate.timestamp import moment

_BLOCK = 1024
_MAX_BLOCK = 1 << 20
_NONE = range(0)

Handler = Callable[[Any, Any], None]


class LiveWorld:
    """Applies commands to one world, and settles them with its ticks. Thread-safe; ticks come from worker threads."""

    def __init__(
        self, world: World, backend: Backend, ids_to: int, now_us: Callable[[], int], parent: str | None
    ) -> None:
        self.world = world
        self.backend = backend
        self.parent = parent
        self.handlers: dict[str, Handler] = {}
        self.stepped_us: int | None = None
        self.staged: dict[str, Accepted] = {}
        """Commands staged for the next tick, in order."""
        self._now_us = now_us
        self._ids_to = ids_to
        self._block = _BLOCK
        self._lock = threading.Lock()
        self._queue: list[tuple[int, int, int, Accepted, EntityCommand[Any]]] = []
        self._seq = itertools.count()

    @property
    def world_id(self) -> str:
        return self.world.world_id

    @property
    def queued(self) -> int:
        """Commands that wait for their tick."""
        with self._lock:
            return sum(not accepted.is_direct for *_, accepted, _ in self._queue)

    @property
    def pending(self) -> int:
        """What the next tick will apply whatever happens: staged mutations, and commands that are staged, or staged again."""
        return max(self.world.pending, len(self.staged)) + len(self.early)

    @property
    def early(self) -> list[tuple[Accepted, EntityCommand[Any]]]:
        """Commands that were staged in an earlier life, and wait for a handler until the next tick."""
        with self._lock:
            return [(accepted, command) for *_, accepted, command in sorted(self._queue) if accepted.is_direct]

    # Ids.

    def provide(self, count: int) -> None:
        """See to it that the next ids belong to this world's process alone, on disk; blocks once in a while."""
        with self.world.lock:
            first = self.world.next_entity_id
            if first + count <= self._ids_to:
                return
            block = count + self._block
            # What others took meanwhile is skipped, with what is left of the last block.
            taken = self.backend.ledger.reserve(self.world_id, first, block)
            self.world.claim(taken)
            self._ids_to = taken + block
            self._block = min(_MAX_BLOCK, self._block * 2)

    def reserve(self, commands: Iterable[EntityCommand[Any]]) -> list[range]:
        """Ids for what some commands will spawn, which nobody else gets; an empty range for those that spawn nothing."""
        counts = [spawns(one) for one in commands]
        with self.world.lock:
            self.provide(sum(counts))
            return [self.world.reserve(count) if count else _NONE for count in counts]

    def release(self) -> None:
        """Give back the ids that were provided for and not given out, as the world is let go."""
        with self.world.lock:
            self.backend.ledger.release(self.world_id, self.world.next_entity_id, self._ids_to)

    # Commands.

    def stage(self, command: EntityCommand[Any], command_id: str, record: Callable[[Accepted], None]) -> Any:
        """Stage a command for the next tick and put it on record before that tick can take it.

        A command that is refused stages nothing, uses up no entity id, and is not put on record here.
        """
        payload = wire.recorded(command)
        with self.world.lock:
            self.provide(spawns(command))
            with self.world.commanded(command_id, undo=isinstance(command, Custom)):
                answer = self._stage(command, None)
                made = range(answer, answer + 1) if isinstance(command, Spawn) else _NONE
                if isinstance(command, SpawnMany | SpawnTable):
                    made = answer
                accepted = Accepted(command_id, self.world_id, type(command).__name__, payload, made, is_direct=True)
                self.staged[command_id] = accepted
                record(accepted)
        return answer

    def apply(self, command: EntityCommand[Any], accepted: Accepted, ids: range | None) -> Any:
        """Stage a command for the next tick; ``ids`` are those reserved for what it spawns, if any are."""
        is_custom = isinstance(command, Custom)
        with self.world.commanded(accepted.command_id, undo=is_custom):
            answer = self._stage(command, ids)
            # Before the tick can take it: whoever settles it has to find it.
            self.staged[accepted.command_id] = accepted
        return answer

    def _stage(self, command: EntityCommand[Any], ids: range | None) -> Any:
        world = self.world
        match command:
            case Spawn(components):
                return world.spawn(*components, entity_id=None if ids is None else ids.start)
            case SpawnMany(bundles):
                return world.spawn_many(bundles, entity_ids=ids)
            case SpawnTable(table, archetype):
                return world.spawn_table(table, *archetype.components, entity_ids=ids, copy=False)
            case Despawn(entity_ids):
                return world.despawn(*entity_ids)
            case Update(entity_id, components):
                return world.update(entity_id, *components)
            case AddComponents(entity_id, components):
                return world.add_components(entity_id, *components)
            case RemoveComponents(entity_id, kinds):
                return world.remove_components(entity_id, *kinds)
            case Send(recipient, body, sender, kind):
                return world.send(recipient, body, sender=sender, kind=kind)
            case Custom(name, data):
                handler = self.handlers.get(name)
                if handler is None:
                    raise NoHandler(name, self.handlers)
                scope = Scope(self)
                try:
                    return handler(scope, data)
                finally:
                    scope.end()
            case _:
                raise TypeError(f"{command!r} is no command that a world applies")

    def enqueue(self, accepted: Accepted, command: EntityCommand[Any]) -> None:
        """Let a command wait for its tick."""
        # What was staged before comes before all that was queued.
        order = (-1, 0) if accepted.is_direct else (accepted.due, accepted.priority)
        with self._lock:
            heapq.heappush(self._queue, (*order, next(self._seq), accepted, command))
        queue_depth(1, self.world_id)

    def drain(self, tick: int) -> None:
        """Stage every queued command that is due, in order; one that fails is put on record and the others go on."""
        while True:
            with self._lock:
                if not self._queue or self._queue[0][0] > tick:
                    return
                *_, accepted, command = heapq.heappop(self._queue)
            queue_depth(-1, self.world_id)
            self.take(accepted, command, tick)

    def take(self, accepted: Accepted, command: EntityCommand[Any], tick: int) -> None:
        """Stage an accepted command, or put on record why it cannot be."""
        try:
            self.apply(command, accepted, accepted.entity_ids or None)
        except Exception as failure:  # noqa: BLE001  # reason: whatever is wrong with one command is its own affair
            log.warning("command %s of world %s failed: %s", accepted.command_id, self.world_id, failure)
            self._settle([Settled(accepted.command_id, self.world_id, "failed", self._now_us(), tick, told(failure))])

    def ticked(self, outcome: Outcome) -> None:
        """Settle what a committed tick applied."""
        now = self.stepped_us = self._now_us()
        if outcome.applied:
            for one in outcome.applied:
                self.staged.pop(one, None)
            self._settle([Settled(one, self.world_id, "applied", now, outcome.tick) for one in outcome.applied])
        self.backend.ledger.ticked(self.world_id, outcome.tick)

    def _settle(self, settled: list[Settled]) -> None:
        self.backend.ledger.settle(settled)

    def abandon(self) -> None:
        """Empty the queue, as the world is let go."""
        with self._lock:
            queue_depth(-len(self._queue), self.world_id)
            self._queue.clear()

    def info(self) -> WorldInfo:
        """The world as it stands."""
        world = self.world
        tables = {
            " + ".join(kind.name for kind in archetype.components): rows.num_rows
            for archetype, rows in world.tables().items()
        }
        return WorldInfo(
            world_id=world.world_id,
            name=world.name,
            run_id=world.run_id,
            seed=world.seed,
            tick=world.tick,
            storage=self.backend.config.uri,
            is_live=True,
            entities=len(world),
            archetypes=tables,
            parent=self.parent,
            queued=self.queued,
            pending=self.pending,
            stepped_at=None if self.stepped_us is None else moment(self.stepped_us),
        )


class Scope:
    """What the handler of a custom command may do: stage mutations, as part of that command. Nothing else reaches the world."""

    def __init__(self, live: LiveWorld) -> None:
        self._live: LiveWorld | None = live

    def end(self) -> None:
        """Let nothing more be staged: the command is over."""
        self._live = None

    def _open(self) -> LiveWorld:
        if self._live is None:
            raise RuntimeError("a handler's scope ends with its command: use a handle of the world, for some actor")
        return self._live

    @property
    def tick(self) -> int:
        """The tick that will apply what is staged here."""
        return self._open().world.tick

    def spawn(self, *components: Component) -> int:
        """Stage an entity and return its id."""
        live = self._open()
        live.provide(1)
        return live.world.spawn(*components)

    def spawn_many(self, bundles: Iterable[Bundle]) -> range:
        """Stage an entity per bundle of components and return their ids."""
        live, given = self._open(), list(bundles)
        live.provide(len(given))
        return live.world.spawn_many(given)

    def despawn(self, *entity_ids: int) -> None:
        """Stage the end of entities."""
        self._open().world.despawn(*entity_ids)

    def update(self, entity_id: int, *components: Component) -> None:
        """Stage values over components that an entity has."""
        self._open().world.update(entity_id, *components)

    def add_components(self, entity_id: int, *components: Component) -> None:
        """Stage new components for an entity."""
        self._open().world.add_components(entity_id, *components)

    def remove_components(self, entity_id: int, *components: type[Component]) -> None:
        """Stage the loss of components."""
        self._open().world.remove_components(entity_id, *components)

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Stage a message."""
        self._open().world.send(recipient, body, sender=sender, kind=kind)

    def get(self, entity_id: int) -> Any:
        """A live entity as of the last completed tick."""
        return self._open().world.get(entity_id)


def spawns(command: EntityCommand[Any]) -> int:
    """How many entities a command makes, as far as it tells beforehand."""
    match command:
        case Spawn():
            return 1
        case SpawnMany(bundles):
            return len(bundles)
        case SpawnTable(table):
            return int(table.num_rows)
        case _:
            return 0


def told(failure: BaseException) -> str:
    """A failure as a reason on record."""
    from archetype_core.telemetry import error_text as text

    return f"{type(failure).__name__}: {text(failure)}"


def checked_due(tick: int | None, priority: object, now: int) -> int:
    """The first tick for a queued command; refuses what is no tick or no priority."""
    if tick is not None and (not is_count(tick) or tick >= 2**63):
        raise ValueError(f"tick is a tick's number, 0 or more, not {tick!r}")
    if isinstance(priority, bool) or not isinstance(priority, int) or not -(2**63) <= priority < 2**63:
        raise ValueError(f"priority is an int64, not {priority!r}")
    return now if tick is None else tick
