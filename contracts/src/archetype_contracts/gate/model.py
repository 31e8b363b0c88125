"""A model of a gate in plain Python: policy, quotas, queues, entities and audit, without the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.policy import allows
from archetype_contracts.gate.sample import Coin, Failing, Sash
from archetype_contracts.gate.subject import Contents
from archetype_core.command import (
    ActorCtx,
    AddComponents,
    Command,
    Custom,
    Despawn,
    EntityCommand,
    RemoveComponents,
    Send,
    Spawn,
    SpawnMany,
    Update,
)
from archetype_core.errors import PermissionDenied, QuotaExceeded, WorldNotFound


class NotApplicable(Exception):
    """A mutation cannot apply to the existing entities."""


@dataclass(slots=True)
class Row:
    """The expected audit row of a command; a tick of None is not compared."""

    actor: str
    type: str
    status: str
    tick: int | None = None

    def fits(self, actor: str, kind: str, status: str, tick: int | None) -> bool:
        """Whether a row of the gate matches. A status such as ``rejected|failed`` allows either."""
        is_same = (self.actor, self.type) == (actor, kind) and status in self.status.split("|")
        return is_same and (self.tick is None or self.tick == tick)


Act = Callable[["NextState", range], None]


@dataclass(slots=True)
class NextState:
    """The state of a world after its next tick."""

    contents: Contents
    messages: list[tuple[int, Any]] = field(default_factory=list)

    def require(self, *entities: int) -> None:
        """Raise ``NotApplicable`` unless these entities will exist."""
        if any(one not in self.contents for one in entities):
            raise NotApplicable


@dataclass(slots=True, eq=False)
class Change:
    """A mutation that is staged or queued."""

    command: EntityCommand[Any]
    act: Act
    ids: range = range(0)
    tick: int = 0
    priority: int = 0
    seq: int = 0
    row: Row | None = None
    is_inside: bool = False
    """Whether a processor sent it, so that it is part of that processor's tick."""
    recipient: int | None = None
    """The entity that must exist for it to be accepted, if it is a message."""

    def apply(self, next_state: NextState) -> None:
        """Apply the mutation completely or not at all."""
        result = deepcopy(next_state)
        self.act(result, self.ids)
        next_state.contents, next_state.messages = result.contents, result.messages


@dataclass(slots=True, eq=False)
class ModelWorld:
    """A world: its entities after the last tick, staged mutations, and queued ones."""

    world_id: str
    name: str
    failing: Failing
    tick: int = 0
    contents: Contents = field(default_factory=dict)
    staged: list[Change] = field(default_factory=list)
    queue: list[Change] = field(default_factory=list)
    messages: list[tuple[int, int, Any]] = field(default_factory=list)
    issued_ids: set[int] = field(default_factory=set)
    """All ids that the gate issued."""
    is_live: bool = True
    is_destroyed: bool = False

    def __repr__(self) -> str:
        return self.name

    def entity(self, nth: int) -> int:
        """One of the issued ids, or an id that was never issued."""
        known = sorted(self.issued_ids)
        return known[nth % len(known)] if known and nth >= 0 else 1_000_000

    def knows(self, entity: int, next_state: NextState) -> bool:
        """Whether a message to an entity is accepted: it lives, is staged, or its id waits in the queue."""
        return entity in self.contents or entity in next_state.contents or any(entity in one.ids for one in self.queue)

    def accepts(self, change: Change) -> bool:
        """Whether a change applies once everything staged has applied; a world that is not live refuses it otherwise."""
        if not self.is_live:
            return True
        spawned = change.command.weight if isinstance(change.command, SpawnMany) else 1
        next_state = self.next_state(self.staged)
        ids, change.ids = change.ids, range(2_000_000, 2_000_000 + spawned)
        try:
            change.apply(next_state)
        except NotApplicable:
            return False
        finally:
            change.ids = ids
        return change.recipient is None or self.knows(change.recipient, next_state)

    def changes(self, change: Change) -> bool:
        """Whether a change that applies stages anything; an update does, also with the same values."""
        if isinstance(change.command, Update | Send | Custom) or not self.is_live:
            return True
        before, after = self.next_state(self.staged), self.next_state(self.staged)
        ids, change.ids = change.ids, range(2_000_000, 2_000_000 + change.command.weight)
        try:
            change.apply(after)
        finally:
            change.ids = ids
        return before.contents != after.contents

    def queues(self, changes: Sequence[Change]) -> bool:
        """Whether changes are queued: each applies after those before it, now or if everything queued were applied.

        A custom command is queued unseen. A world that is not live refuses changes otherwise.
        """
        waiting = sorted(self.queue, key=lambda one: one.seq)
        return not self.is_live or self._apply_after((), changes) or self._apply_after(waiting, changes)

    def _apply_after(self, before: Sequence[Change], changes: Sequence[Change]) -> bool:
        next_state = self.next_state(self.staged)
        for change in before:
            if not isinstance(change.command, Custom):
                with suppress(NotApplicable):
                    change.apply(next_state)
        first = 2_000_000
        for change in changes:
            if isinstance(change.command, Custom):
                continue
            spawned = change.command.weight if isinstance(change.command, SpawnMany) else 1
            ids, change.ids = change.ids, range(first, first + spawned)
            first += spawned
            try:
                change.apply(next_state)
            except NotApplicable:
                return False
            finally:
                change.ids = ids
            if change.recipient is not None and not self.knows(change.recipient, next_state):
                return False
        return True

    def next_state(self, changes: Sequence[Change]) -> NextState:
        """The state after changes that are known to apply."""
        next_state = NextState(deepcopy(self.contents))
        for change in changes:
            change.apply(next_state)
        return next_state

    def issue(self, ids: range) -> range:
        """Add issued ids; fail if one was issued before."""
        again = self.issued_ids & set(ids)
        if again:
            raise AssertionError(f"expected new entity ids in {self}, but {sorted(again)} were issued before")
        self.issued_ids |= set(ids)
        return ids

    def step(self) -> int:
        """Make a tick; return how many commands it applied, without what a fork has of its source's."""
        due = sorted(
            (one for one in self.queue if one.tick <= self.tick), key=lambda one: (one.tick, one.priority, one.seq)
        )
        next_state, applied = self.next_state(self.staged), list(self.staged)
        for change in due:
            self.queue.remove(change)
            try:
                if change.recipient is not None and not self.knows(change.recipient, next_state):
                    raise NotApplicable
                change.apply(next_state)
            except NotApplicable:
                if change.row:
                    change.row.status = "failed"
            else:
                applied.append(change)
        for change in applied:
            if change.row:
                change.row.status, change.row.tick = "applied", self.tick
        self.contents = next_state.contents
        self.messages += [(self.tick, recipient, body) for recipient, body in next_state.messages]
        self.staged = []
        self.tick += 1
        return sum(change.row is not None for change in applied)


@dataclass(slots=True)
class GateModel:
    """Policy, quotas and audit of the gate."""

    limits: GateLimits
    rows: list[Row] = field(default_factory=list)
    commands: dict[tuple[str, str, int], int] = field(default_factory=dict)
    credits: dict[tuple[str, date], int] = field(default_factory=dict)
    submitted: int = 0

    def refusal(
        self, actor: ActorCtx, commands: Sequence[Command[Any]], world: ModelWorld | None, today: date
    ) -> type[Exception] | None:
        """The error that must refuse the commands; if there is none, count them and return None."""
        if not all(allows(actor.roles, command.kind) for command in commands):
            return PermissionDenied
        if world is not None and not world.is_live:
            return WorldNotFound
        price = sum(self.limits.costs.get(one.kind, 1) * one.weight for one in commands)
        day = (actor.id, today)
        if self.credits.get(day, 0) + price > self.limits.credits:
            return QuotaExceeded
        if world is not None:
            counter = (actor.id, world.world_id, world.tick)
            if self.commands.get(counter, 0) + len(commands) > self.limits.commands:
                return QuotaExceeded
            self.commands[counter] = self.commands.get(counter, 0) + len(commands)
        self.credits[day] = self.credits.get(day, 0) + price
        return None

    def record(self, actor: ActorCtx, kind: str, status: str, tick: int | None = None) -> Row:
        """Add the expected audit row of a command."""
        row = Row(actor.id, kind, status, tick)
        self.rows.append(row)
        return row

    def queue(self, world: ModelWorld, change: Change, tick: int | None, priority: int) -> None:
        """Queue a change for its tick."""
        self.submitted += 1
        change.seq, change.priority = self.submitted, priority
        change.tick = world.tick if tick is None else tick
        world.queue.append(change)


# Mutations. Each picks its entity by number from the issued ids of a world.


@dataclass(frozen=True, slots=True)
class SpawnCoin:
    """Spawn a coin, perhaps with a sash."""

    number: int
    colour: str = ""

    def change_for(self, _: ModelWorld) -> Change:
        components = (
            (Coin(number=self.number), Sash(colour=self.colour)) if self.colour else (Coin(number=self.number),)
        )

        def act(next_state: NextState, ids: range) -> None:
            next_state.contents[ids.start] = {"Coin": (self.number, "")}
            if self.colour:
                next_state.contents[ids.start]["Sash"] = (self.colour,)

        return Change(Spawn(components), act)


@dataclass(frozen=True, slots=True)
class SpawnCoins:
    """Spawn several coins at once."""

    numbers: tuple[int, ...]

    def change_for(self, _: ModelWorld) -> Change:
        def act(next_state: NextState, ids: range) -> None:
            for entity, number in zip(ids, self.numbers, strict=True):
                next_state.contents[entity] = {"Coin": (number, "")}

        return Change(SpawnMany(tuple((Coin(number=number),) for number in self.numbers)), act)


@dataclass(frozen=True, slots=True)
class SetNumber:
    """Update the number of a coin; its face stays."""

    nth: int
    number: int

    def change_for(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(next_state: NextState, _: range) -> None:
            next_state.require(entity)
            kinds = next_state.contents[entity]
            if "Coin" not in kinds:
                raise NotApplicable
            kinds["Coin"] = (self.number, kinds["Coin"][1])

        return Change(Update(entity, (Coin(number=self.number),)), act)


@dataclass(frozen=True, slots=True)
class DespawnCoins:
    """Despawn entities; missing ones are ignored."""

    nths: tuple[int, ...]

    def change_for(self, world: ModelWorld) -> Change:
        entities = tuple(world.entity(nth) for nth in self.nths)

        def act(next_state: NextState, _: range) -> None:
            for entity in entities:
                next_state.contents.pop(entity, None)

        return Change(Despawn(entities), act)


@dataclass(frozen=True, slots=True)
class AddSash:
    """Add a sash to an entity, unless it has one."""

    nth: int
    colour: str

    def change_for(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(next_state: NextState, _: range) -> None:
            next_state.require(entity)
            next_state.contents[entity].setdefault("Sash", (self.colour,))

        return Change(AddComponents(entity, (Sash(colour=self.colour),)), act)


@dataclass(frozen=True, slots=True)
class RemoveComponent:
    """Remove a component from an entity, unless it is the last one."""

    nth: int
    kind: type[Coin | Sash]

    def change_for(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(next_state: NextState, _: range) -> None:
            next_state.require(entity)
            next_state.contents[entity].pop(self.kind.__name__, None)
            if not next_state.contents[entity]:
                raise NotApplicable

        return Change(RemoveComponents(entity, (self.kind,)), act)


@dataclass(frozen=True, slots=True)
class PaintCoins:
    """Let a handler change the faces of several coins, one after the other."""

    nths: tuple[int, ...]
    face: str

    def change_for(self, world: ModelWorld) -> Change:
        entities = [world.entity(nth) for nth in self.nths]

        def act(next_state: NextState, _: range) -> None:
            for entity in entities:
                next_state.require(entity)
                if "Coin" not in next_state.contents[entity]:
                    raise NotApplicable
                next_state.contents[entity]["Coin"] = (next_state.contents[entity]["Coin"][0], self.face)

        return Change(Custom("paint", {"entities": entities, "face": self.face}), act)


@dataclass(frozen=True, slots=True)
class Unhandled:
    """A custom command without a handler."""

    name: str = "no such handler"

    def change_for(self, _: ModelWorld) -> Change:
        def act(_state: NextState, _ids: range) -> None:
            raise NotApplicable

        return Change(Custom(self.name), act)


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a message."""

    nth: int
    body: int

    def change_for(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(next_state: NextState, _: range) -> None:
            next_state.messages.append((entity, self.body))

        return Change(Send(entity, self.body), act, recipient=entity)


Edit = (
    SpawnCoin | SpawnCoins | SetNumber | DespawnCoins | AddSash | RemoveComponent | PaintCoins | Unhandled | SendMessage
)


def paint(scope: Any, data: Any) -> None:
    """Handle ``PaintCoins``."""
    for entity in data["entities"]:
        scope.update(entity, Coin(face=data["face"]))
