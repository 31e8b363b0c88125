"""What a gate ought to do, in plain Python: policy, quotas, queues, entities and audit, with nothing of the engine in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.policy import allows
from archetype_contracts.gate.sample import Breaking, Coin, Sash
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


class Unfit(Exception):
    """A mutation does not apply to the entities that are there."""


@dataclass(slots=True)
class Row:
    """What the audit has to say of a command; a tick of None is not compared."""

    actor: str
    type: str
    status: str
    tick: int | None = None

    def fits(self, actor: str, kind: str, status: str, tick: int | None) -> bool:
        """Whether a row of the gate says this. A status with a bar in it leaves a choice."""
        is_same = (self.actor, self.type) == (actor, kind) and status in self.status.split("|")
        return is_same and (self.tick is None or self.tick == tick)


Act = Callable[["Future", range], None]


@dataclass(slots=True)
class Future:
    """A world as it will be after its next tick."""

    contents: Contents
    letters: list[tuple[int, Any]] = field(default_factory=list)

    def require(self, *entities: int) -> None:
        """Refuse entities that will not be there."""
        if any(one not in self.contents for one in entities):
            raise Unfit


@dataclass(slots=True, eq=False)
class Change:
    """A mutation on its way into a world."""

    command: EntityCommand[Any]
    act: Act
    ids: range = range(0)
    tick: int = 0
    priority: int = 0
    seq: int = 0
    row: Row | None = None

    def apply(self, future: Future) -> None:
        """Change a world whole, or not at all."""
        tried = deepcopy(future)
        self.act(tried, self.ids)
        future.contents, future.letters = tried.contents, tried.letters


@dataclass(slots=True, eq=False)
class ModelWorld:
    """A world: what its last tick left, what is staged, and what waits."""

    world_id: str
    name: str
    breaking: Breaking
    tick: int = 0
    contents: Contents = field(default_factory=dict)
    staged: list[Change] = field(default_factory=list)
    queue: list[Change] = field(default_factory=list)
    letters: list[tuple[int, int, Any]] = field(default_factory=list)
    given: set[int] = field(default_factory=set)
    """Ids that were given out."""
    is_live: bool = True
    is_destroyed: bool = False

    def __repr__(self) -> str:
        return self.name

    def entity(self, nth: int) -> int:
        """One of the ids that were ever given out, or one that never was."""
        known = sorted(self.given)
        return known[nth % len(known)] if known and nth >= 0 else 1_000_000

    def future(self, changes: Sequence[Change]) -> Future:
        """What would be after some changes that are known to apply."""
        future = Future(deepcopy(self.contents))
        for change in changes:
            change.apply(future)
        return future

    def take(self, ids: range) -> range:
        """Remember ids; one that was given out before is a defect."""
        again = self.given & set(ids)
        if again:
            raise AssertionError(f"{self} gave out {sorted(again)} a second time")
        self.given |= set(ids)
        return ids

    def step(self) -> int:
        """Make a tick; how many commands it applied."""
        due = sorted(
            (one for one in self.queue if one.tick <= self.tick), key=lambda one: (one.tick, one.priority, one.seq)
        )
        future, applied = self.future(self.staged), list(self.staged)
        for change in due:
            self.queue.remove(change)
            try:
                change.apply(future)
            except Unfit:
                if change.row:
                    change.row.status = "failed"
            else:
                applied.append(change)
        for change in applied:
            if change.row:
                change.row.status, change.row.tick = "applied", self.tick
        self.contents = future.contents
        self.letters += [(self.tick, recipient, body) for recipient, body in future.letters]
        self.staged = []
        self.tick += 1
        return len(applied)


@dataclass(slots=True)
class GateModel:
    """The door: who may, how much, and what is on record."""

    limits: GateLimits
    rows: list[Row] = field(default_factory=list)
    commands: dict[tuple[str, str, int], int] = field(default_factory=dict)
    tokens: dict[tuple[str, date], int] = field(default_factory=dict)
    submitted: int = 0

    def verdict(
        self, actor: ActorCtx, commands: Sequence[Command[Any]], world: ModelWorld | None, today: date
    ) -> type[Exception] | None:
        """The error that commands are refused with; if there is none, they are counted."""
        if not all(allows(actor.roles, command.kind) for command in commands):
            return PermissionDenied
        if world is not None and not world.is_live:
            return WorldNotFound
        tokens = sum(self.limits.costs.get(one.kind, 1) * one.weight for one in commands)
        day = (actor.id, today)
        if self.tokens.get(day, 0) + tokens > self.limits.tokens:
            return QuotaExceeded
        if world is not None:
            counter = (actor.id, world.world_id, world.tick)
            if self.commands.get(counter, 0) + len(commands) > self.limits.commands:
                return QuotaExceeded
            self.commands[counter] = self.commands.get(counter, 0) + len(commands)
        self.tokens[day] = self.tokens.get(day, 0) + tokens
        return None

    def enter(self, actor: ActorCtx, kind: str, status: str, tick: int | None = None) -> Row:
        """Put a command on record."""
        row = Row(actor.id, kind, status, tick)
        self.rows.append(row)
        return row

    def queue(self, world: ModelWorld, change: Change, tick: int | None, priority: int) -> None:
        """Let a change wait for its tick."""
        self.submitted += 1
        change.seq, change.priority = self.submitted, priority
        change.tick = world.tick if tick is None else tick
        world.queue.append(change)


# Mutations, each made for a world in which the entity it is about is one of those that were ever given out.


@dataclass(frozen=True, slots=True)
class Mint:
    """Spawn a coin, perhaps with a sash."""

    number: int
    colour: str = ""

    def made(self, _: ModelWorld) -> Change:
        components = (
            (Coin(number=self.number), Sash(colour=self.colour)) if self.colour else (Coin(number=self.number),)
        )

        def act(future: Future, ids: range) -> None:
            future.contents[ids.start] = {"Coin": (self.number, "")}
            if self.colour:
                future.contents[ids.start]["Sash"] = (self.colour,)

        return Change(Spawn(components), act)


@dataclass(frozen=True, slots=True)
class MintMany:
    """Spawn several coins at once."""

    numbers: tuple[int, ...]

    def made(self, _: ModelWorld) -> Change:
        def act(future: Future, ids: range) -> None:
            for entity, number in zip(ids, self.numbers, strict=True):
                future.contents[entity] = {"Coin": (number, "")}

        return Change(SpawnMany(tuple((Coin(number=number),) for number in self.numbers)), act)


@dataclass(frozen=True, slots=True)
class Recount:
    """Update the number of a coin; its face stays."""

    nth: int
    number: int

    def made(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(future: Future, _: range) -> None:
            future.require(entity)
            kinds = future.contents[entity]
            if "Coin" not in kinds:
                raise Unfit
            kinds["Coin"] = (self.number, kinds["Coin"][1])

        return Change(Update(entity, (Coin(number=self.number),)), act)


@dataclass(frozen=True, slots=True)
class Retire:
    """Despawn entities; those that are gone are ignored."""

    nths: tuple[int, ...]

    def made(self, world: ModelWorld) -> Change:
        entities = tuple(world.entity(nth) for nth in self.nths)

        def act(future: Future, _: range) -> None:
            for entity in entities:
                future.contents.pop(entity, None)

        return Change(Despawn(entities), act)


@dataclass(frozen=True, slots=True)
class Dress:
    """Give an entity a sash, unless it has one."""

    nth: int
    colour: str

    def made(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(future: Future, _: range) -> None:
            future.require(entity)
            future.contents[entity].setdefault("Sash", (self.colour,))

        return Change(AddComponents(entity, (Sash(colour=self.colour),)), act)


@dataclass(frozen=True, slots=True)
class Strip:
    """Take a component from an entity, if it has it and another one."""

    nth: int
    kind: type[Coin | Sash]

    def made(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(future: Future, _: range) -> None:
            future.require(entity)
            future.contents[entity].pop(self.kind.__name__, None)
            if not future.contents[entity]:
                raise Unfit

        return Change(RemoveComponents(entity, (self.kind,)), act)


@dataclass(frozen=True, slots=True)
class Paint:
    """Have a handler change the faces of several coins, one after the other."""

    nths: tuple[int, ...]
    face: str

    def made(self, world: ModelWorld) -> Change:
        entities = [world.entity(nth) for nth in self.nths]

        def act(future: Future, _: range) -> None:
            for entity in entities:
                future.require(entity)
                if "Coin" not in future.contents[entity]:
                    raise Unfit
                future.contents[entity]["Coin"] = (future.contents[entity]["Coin"][0], self.face)

        return Change(Custom("paint", {"entities": entities, "face": self.face}), act)


@dataclass(frozen=True, slots=True)
class Ask:
    """A custom command that nobody handles."""

    name: str = "nobody handles this"

    def made(self, _: ModelWorld) -> Change:
        def act(_future: Future, _ids: range) -> None:
            raise Unfit

        return Change(Custom(self.name), act)


@dataclass(frozen=True, slots=True)
class Tell:
    """Send a message."""

    nth: int
    body: int

    def made(self, world: ModelWorld) -> Change:
        entity = world.entity(self.nth)

        def act(future: Future, _: range) -> None:
            future.letters.append((entity, self.body))

        return Change(Send(entity, self.body), act)


Edit = Mint | MintMany | Recount | Retire | Dress | Strip | Paint | Ask | Tell


def paint(scope: Any, data: Any) -> None:
    """Handle ``Paint``."""
    for entity in data["entities"]:
        scope.update(entity, Coin(face=data["face"]))
