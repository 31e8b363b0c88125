"""A world in memory behind a gate: the engine's world, its queue, its staged commands and its reserved entity ids."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    UpdateTable,
    UpdateWhere,
    WorldInfo,
)
from archetype_core.engine import Bundle, Changes, Entities, FairLock, Outcome, outside_attempts
from archetype_core.errors import ArchetypeError, EntityNotFound, NoHandler, SignatureError, StaleTick, UnknownRecipient
from archetype_core.schema import Component
from archetype_gate import command_codec
from archetype_gate.audit_text import failure_reason
from archetype_gate.concern import MOVING, concerns, entity_ids, is_single
from archetype_gate.ledger import AcceptedCommand, Settlement
from archetype_gate.storage import Backend
from archetype_gate.telemetry import change_queue_depth, log
from archetype_gate.timestamp import from_micros

if TYPE_CHECKING:
    from daft.expressions import Expression

_FIRST_BLOCK = 1024
_MAX_BLOCK = 1 << 20
_NO_IDS = range(0)
TICKS = "ticks:"
"""Begins the ids of commands that make ticks; those of mutations are plain."""

Handler = Callable[[Any, Any], None]


class LiveWorld:
    """Stages commands in one world and settles them when its ticks commit. Thread-safe; ticks run in worker threads."""

    def __init__(
        self,
        world: World,
        backend: Backend,
        now_us: Callable[[], int],
        *,
        reserved_to: int = 1,
        is_told: bool = False,
        parent: str | None = None,
        maker: str = "",
    ) -> None:
        self.world = world
        self.backend = backend
        self.parent = parent
        self.maker = maker
        self.handlers: dict[str, Handler] = {}
        self.stepped_us: int | None = None
        self.staged: dict[str, AcceptedCommand] = {}
        """Commands staged for the next tick, in the order they were staged."""
        self._now_us = now_us
        self._reserved_to = reserved_to
        self._block = _FIRST_BLOCK
        self.turn = FairLock()
        """Held by a large call while a thread works for it; calls that come meanwhile wait, so that they keep their order."""
        self._lock = threading.Lock()
        self._place = (0, 0)
        """The tick that failed attempts tried to make, and how many queued commands they have staged."""
        self._is_told = is_told
        self._commits_since_told = 0
        world.supply_ids(self._reserve_ids, self._mark_told)
        self._queue: list[tuple[int, int, int, AcceptedCommand, EntityCommand[Any]]] = []
        self._seq = itertools.count()

    @property
    def world_id(self) -> str:
        return self.world.world_id

    @property
    def queued(self) -> int:
        """How many submitted commands wait for their tick."""
        with self._lock:
            return sum(not accepted.is_direct for *_, accepted, _ in self._queue)

    @property
    def pending(self) -> int:
        """How many mutations and direct commands the next tick will apply."""
        return max(self.world.pending, len(self.staged)) + len(self.unstaged_direct)

    @property
    def uncommitted(self) -> int:
        """How many of these are not part of the last commit, as what its processors staged is."""
        committed = set(self.world.committed_commands)
        staged = sum(one not in committed for one in tuple(self.staged))
        return max(self.world.uncommitted, staged) + len(self.unstaged_direct)

    @property
    def unstaged_direct(self) -> list[tuple[AcceptedCommand, EntityCommand[Any]]]:
        """Direct commands of an earlier process; the next tick stages them, once their custom handlers are registered."""
        with self._lock:
            return [(accepted, command) for *_, accepted, command in sorted(self._queue) if accepted.is_direct]

    def _reserve_ids(self, first: int, count: int) -> range:
        """Reserve a block of entity ids on disk, with at least ``count`` ids from ``first`` on; the world gives these out.

        It continues the last block. If another process reserved ids meanwhile, the rest of the last block is skipped.
        """
        end, size = max(first, self._reserved_to), count + self._block
        # Another process may have forgotten the mark, because its ticks have all ids up to the last block's end.
        start = self.backend.ledger.reserve_ids(self.world_id, end, size, is_told=self._is_told)
        self._reserved_to = start + size
        self._block = min(_MAX_BLOCK, self._block * 2)
        return range(first if start == end else start, start + size)

    def _mark_told(self) -> None:
        """Note, before a caller gets an id, that somebody knows an id that no tick has; on disk when this returns."""
        if not self._is_told:
            self.backend.ledger.mark_told(self.world_id)
            self._is_told = True
        self._commits_since_told = 0

    def assign_ids(self, commands: Iterable[EntityCommand[Any]]) -> list[range]:
        """Return for each command the ids of the entities that it will spawn; an empty range if it spawns none."""
        counts = [spawn_count(one) for one in commands]
        with self.world.lock:
            return [self.world.reserve(count) if count else _NO_IDS for count in counts]

    def release_ids(self) -> None:
        """Give back the reserved ids that were not used, when the world is closed."""
        with self.world.lock:
            self.backend.ledger.release_ids(self.world_id, self.world.next_entity_id, self._reserved_to)

    def resolved(self, command: EntityCommand[Any]) -> EntityCommand[Any]:
        """The command with its arguments checked and its own: ids for conditions, stored columns for tables.

        Raises what the world raises for such arguments.
        """
        if is_single(command):
            return command
        world = self.world
        match command:
            case SpawnMany() | SpawnTable():
                return command_codec.with_own_values(command)
            case UpdateTable(data, entities):
                return UpdateTable(world.changes(data, entities=entities))
            case UpdateWhere(where, values):
                return UpdateTable(world.changes_where(where, values))
            case Update(entities, components) if type(entities) is not int:
                return replace(command, entities=world.chosen(entities, *map(type, components)))
            case Despawn(entities) | AddComponents(entities) | RemoveComponents(entities) if type(entities) is not int:
                return replace(command, entities=world.chosen(entities))
        return command

    def queueable(self, commands: Sequence[EntityCommand[Any]], expected_tick: int | None) -> list[EntityCommand[Any]]:
        """Commands as they are queued: resolved, and checked as if each were executed now, after those before it.

        What would be refused now is checked once more as if the queued commands for the same entities were applied. Custom
        commands are not run for that. Raises what executing them raises.
        """
        with self.world.lock:
            self.expect(expected_tick)
            try:
                return self._rehearsed((), commands)
            except (EntityNotFound, SignatureError, UnknownRecipient):
                waiting = self._waiting_for(commands)
                if not waiting:
                    raise
            return self._rehearsed(waiting, commands)

    def _rehearsed(
        self, before: Iterable[tuple[AcceptedCommand, EntityCommand[Any]]], commands: Iterable[EntityCommand[Any]]
    ) -> list[EntityCommand[Any]]:
        found = []
        with self.world.rehearsed():
            for accepted, command in before:
                with contextlib.suppress(ArchetypeError):
                    self._stage(command, accepted.entity_ids or None)
            for command in commands:
                found.append(self.resolved(command))
                if not isinstance(command, Custom):
                    self._stage(found[-1], None)
        return found

    def _waiting_for(self, commands: Iterable[EntityCommand[Any]]) -> list[tuple[AcceptedCommand, EntityCommand[Any]]]:
        """The queued commands, as they were submitted, that change which components these commands' entities have."""
        with self._lock:
            queue = sorted((seq, accepted, command) for *_, seq, accepted, command in self._queue)
        ids = entity_ids(commands)
        return [
            (accepted, command)
            for _, accepted, command in queue
            if isinstance(command, MOVING) and (ids is None or concerns(accepted, command, ids))
        ]

    def expect(self, tick: int | None) -> None:
        """Raise ``StaleTick`` if what is staged now is for another tick; hold the world's lock if it is staged then."""
        if tick is not None and tick != (found := self.world.staging_tick):
            raise StaleTick(self.world.name, tick, found)

    def stage(
        self,
        command: EntityCommand[Any],
        command_id: str,
        keep: Callable[[AcceptedCommand | None], None],
        expected_tick: int | None,
        *,
        undo: bool = False,
    ) -> Any:
        """Stage a command for the next tick, and call ``keep`` before that tick can apply it; returns its result.

        A command that changes nothing stages nothing, and is kept as ``None``. A refused command raises, stages nothing, uses
        no entity id, and is not kept. With ``undo`` nothing stays staged if ``keep`` raises either. A table of ``Changes`` is not
        checked again: the caller has held the world's lock since it was made.
        """
        kind = type(command)
        encoded = command_codec.checked_encoding(command) if kind is Send or kind is Custom else None
        result: Any = None
        with self.world.commanded(command_id, undo=undo or kind is Custom, is_skippable=True) as commanded:
            self.expect(expected_tick)
            if isinstance(command, UpdateTable) and isinstance(command.data, Changes):
                self.world.stage_changes(command.data)
            else:
                result = self._stage(command, None)
            accepted = None
            if commanded.is_staged:
                ids = range(result, result + 1) if kind is Spawn else result if type(result) is range else _NO_IDS
                payload = encoded or command_codec.staged_encoding(command)
                accepted = AcceptedCommand(
                    command_id, self.world.world_id, kind.__name__, payload, ids, *self._place, True
                )
            keep(accepted)
        return result

    def add_staged(self, accepted: AcceptedCommand | None) -> None:
        """Note a command that the next tick applies, so that it is settled then; ``None`` is no such command."""
        if accepted is not None:
            self.staged[accepted.command_id] = accepted

    def stage_accepted(self, accepted: AcceptedCommand, command: EntityCommand[Any], tick: int) -> None:
        """Stage an accepted command with the ids assigned to it; if that fails, settle it as failed and log why."""
        try:
            # It was accepted before, so it is no part of an attempt that steps or opens this world.
            with outside_attempts(), self.world.commanded(accepted.command_id, undo=isinstance(command, Custom)):
                self._stage(command, accepted.entity_ids or None)
                # Inside the block, so that no tick applies the command before it can be settled.
                self.add_staged(accepted)
                if not accepted.is_direct:
                    self._place = (tick, self._place[1] + 1)
        # One failing command must not stop the tick or the other commands.
        except Exception as failure:  # noqa: BLE001  # reason: recorded as the command's status
            log.warning("command %s of world %s failed: %s", accepted.command_id, self.world_id, failure)
            reason = failure_reason(failure)
            self._settle([Settlement(accepted.command_id, self.world_id, "failed", self._now_us(), tick, reason)])

    def _stage(self, command: Any, ids: range | None) -> Any:
        apply = _APPLY.get(type(command))
        if apply is None:
            raise TypeError(f"a world cannot apply {command!r}")
        return apply(self, command, ids)

    def _call_handler(self, name: str, data: Any) -> Any:
        handler = self.handlers.get(name)
        if handler is None:
            raise NoHandler(name, self.handlers)
        scope = Scope(self)
        try:
            return handler(scope, data)
        finally:
            scope.end()

    def enqueue(self, accepted: AcceptedCommand, command: EntityCommand[Any]) -> None:
        """Queue a command for its tick."""
        # Direct commands come before all queued ones.
        order = (-1, 0) if accepted.is_direct else (accepted.due, accepted.priority)
        with self._lock:
            heapq.heappush(self._queue, (*order, next(self._seq), accepted, command))
        change_queue_depth(1, self.world_id)

    def stage_due(self, tick: int) -> None:
        """Stage the queued commands that are due at a tick, in order."""
        while True:
            with self._lock:
                if not self._queue or self._queue[0][0] > tick:
                    return
                *_, accepted, command = heapq.heappop(self._queue)
            change_queue_depth(-1, self.world_id)
            self.stage_accepted(accepted, command, tick)

    def settle_applied(self, outcome: Outcome) -> None:
        """Settle the commands that a committed tick applied."""
        now = self.stepped_us = self._now_us()
        self._place = (0, 0)
        if applied := mutations_of(outcome.applied):
            for one in applied:
                self.staged.pop(one, None)
            self._settle([Settlement(one, self.world_id, "applied", now, outcome.tick) for one in applied])
        with self.world.lock:
            self._commits_since_told += 1
            # The first commit may have been under way when the last id was told; the second one has it.
            forgets = self._is_told and self._commits_since_told == 2
            self._is_told = self._is_told and not forgets
            self.backend.ledger.settle_tick(
                self.world_id, outcome.tick, forgets_to=self._reserved_to if forgets else None
            )

    def _settle(self, settlements: list[Settlement]) -> None:
        self.backend.ledger.settle(settlements)

    def clear_queue(self) -> None:
        """Empty the queue in memory, when the world is closed; the ledger keeps the commands."""
        with self._lock:
            change_queue_depth(-len(self._queue), self.world_id)
            self._queue.clear()

    def info(self) -> WorldInfo:
        """Describe the world as of now, from memory."""
        world = self.world
        tables: dict[str, int] = {}
        for archetype, rows in world.tables().items():
            # Versions of a component have one name and different tables.
            name = " + ".join(kind.name for kind in archetype.components)
            tables[name] = tables.get(name, 0) + rows.num_rows
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
            stepped_at=None if self.stepped_us is None else from_micros(self.stepped_us),
        )


class Scope:
    """What the handler of a custom command gets: stages mutations as part of that command, until the handler returns.

    Afterwards every method raises ``RuntimeError``.
    """

    def __init__(self, live: LiveWorld) -> None:
        self._live: LiveWorld | None = live

    def end(self) -> None:
        """Refuse further use, because the handler returned."""
        self._live = None

    def _open(self) -> LiveWorld:
        if self._live is None:
            raise RuntimeError("a handler's scope ends with its command: send commands through the gate instead")
        return self._live

    @property
    def tick(self) -> int:
        """The tick that will apply the staged mutations."""
        return self._open().world.tick

    def spawn(self, *components: Component) -> int:
        """Stage an entity and return its id."""
        return self._open().world.spawn(*components)

    def spawn_many(self, bundles: Iterable[Bundle]) -> range:
        """Stage one entity for each bundle of components and return their ids."""
        return self._open().world.spawn_many(bundles)

    def despawn(self, entities: Entities = (), *more: int) -> None:
        """Stage the despawn of one entity or many."""
        self._open().world.despawn(entities, *more)

    def update(self, entities: Entities, *components: Component) -> None:
        """Stage new values for components that one entity or many have."""
        self._open().world.update(entities, *components)

    def update_table(self, data: Any, *, entities: Entities | None = None) -> None:
        """Stage new values for many entities: columns with a value for each of them, or one for all."""
        self._open().world.update_table(data, entities=entities)

    def update_where(self, where: Expression, values: Mapping[Any, Any]) -> int:
        """Stage new values for all entities that met a condition in the last tick; returns how many they are."""
        return self._open().world.update_where(where, values)

    def add_components(self, entities: Entities, *components: Component) -> None:
        """Stage the addition of components to one entity or many."""
        self._open().world.add_components(entities, *components)

    def remove_components(self, entities: Entities, *components: type[Component]) -> None:
        """Stage the removal of components from one entity or many."""
        self._open().world.remove_components(entities, *components)

    def send(self, recipient: int, body: Any, *, sender: int | None = None, kind: str = "") -> None:
        """Stage a message."""
        self._open().world.send(recipient, body, sender=sender, kind=kind)

    def get(self, entity_id: int) -> Any:
        """Return a live entity as of the last completed tick."""
        return self._open().world.get(entity_id)


# A table, because most commands pass here and a chain of questions costs more than what many of them do.
_APPLY: Mapping[type, Callable[[LiveWorld, Any, range | None], Any]] = {
    Spawn: lambda live, command, ids: live.world.spawn(
        *command.components, entity_id=None if ids is None else ids.start
    ),
    SpawnMany: lambda live, command, ids: live.world.spawn_many(command.bundles, entity_ids=ids),
    SpawnTable: lambda live, command, ids: live.world.spawn_table(
        command.table, *command.archetype.components, entity_ids=ids, copy=False
    ),
    Despawn: lambda live, command, _: live.world.despawn(command.entities),
    Update: lambda live, command, _: live.world.update(command.entities, *command.components),
    UpdateTable: lambda live, command, _: live.world.update_table(command.data, entities=command.entities),
    AddComponents: lambda live, command, _: live.world.add_components(command.entities, *command.components),
    RemoveComponents: lambda live, command, _: live.world.remove_components(command.entities, *command.components),
    Send: lambda live, command, _: live.world.send(
        command.recipient, command.body, sender=command.sender, kind=command.message_kind
    ),
    Custom: lambda live, command, _: live._call_handler(command.name, command.data),  # noqa: SLF001  # reason: of this module
}


def mutations_of(applied: Sequence[str]) -> Sequence[str]:
    """Return the ids of a commit without those of the commands that made the tick."""
    if not any(one.startswith(TICKS) for one in applied):
        return applied
    return [one for one in applied if not one.startswith(TICKS)]


def spawn_count(command: EntityCommand[Any]) -> int:
    """Return how many entities a command spawns; 0 for a custom command, whose handler decides that."""
    match command:
        case Spawn():
            return 1
        case SpawnMany(bundles):
            return len(bundles)
        case SpawnTable(table):
            return int(table.num_rows)
        case _:
            return 0


def due_tick(tick: int | None, priority: object, next_tick: int) -> int:
    """Return the first tick that may apply a queued command; ``ValueError`` for a bad tick or priority."""
    if tick is not None and (not is_count(tick) or tick >= 2**63):
        raise ValueError(f"tick must be an int from 0 to 2**63 - 1, not {tick!r}")
    if isinstance(priority, bool) or not isinstance(priority, int) or not -(2**63) <= priority < 2**63:
        raise ValueError(f"priority must be an int64, not {priority!r}")
    return next_tick if tick is None else tick
