"""Who gets a message, and when: programs over several tables and processors, against a plain model (G7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from scene import Frozen, Health, Name, Position, drive, world

from archetype_core.engine import Arrays, Processor
from archetype_core.errors import UnknownRecipient
from archetype_core.schema import Component, Mailbox

KINDS: tuple[type[Component], ...] = (Position, Health, Name, Frozen)
Got = Counter[tuple[str, int, int, int]]
"""How often a processor got a letter in a tick: its name, the tick, the recipient and the letter's number."""


class Notes:
    """What processors got, and what they send in this tick: pairs of the sending entity and the recipient."""

    def __init__(self) -> None:
        self.got: Got = Counter()
        self.plan: dict[int, list[tuple[int, int]]] = {}
        """By the sender: recipients and the numbers of the letters."""
        self.refused: set[int] = set()

    def take(self, name: str, tick: int, arrays: Arrays, messages: Mailbox) -> None:
        """Note every letter, and check that it came with the row of its recipient."""
        ids = arrays.entity_id.tolist()
        for letter, row in zip(messages, messages.rows.tolist(), strict=True):
            assert (ids[row], letter.tick) == (letter.recipient, tick - 1)
            self.got[name, tick, letter.recipient, letter.body] += 1


class OfPositions(Processor):
    """Takes letters and sends those that its entities are to send."""

    components = (Position,)

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def process(self, tick: int, arrays: Arrays, messages: Mailbox) -> None:
        self.notes.take("positions", tick, arrays, messages)
        for entity in arrays.entity_id.tolist():
            for recipient, number in self.notes.plan.get(entity, ()):
                try:
                    messages.send(recipient, number, sender=entity)
                except UnknownRecipient:
                    self.notes.refused.add(number)


class OfHealth(Processor):
    """Takes the letters of many tables at once."""

    components = (Health,)
    rowwise = True

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.frames: list[int] = []
        """The numbers of rows that it was given at a time."""

    def process(self, tick: int, arrays: Arrays, messages: Mailbox) -> None:
        self.frames.append(len(arrays.entity_id))
        self.notes.take("health", tick, arrays, messages)


class OfBoth(Processor):
    """Takes the letters of entities with both components, after the others."""

    components = (Position, Health)
    priority = 5

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    def process(self, tick: int, arrays: Arrays, messages: Mailbox) -> None:
        self.notes.take("both", tick, arrays, messages)


class OfNames(Processor):
    """Takes letters in a coroutine."""

    components = (Name,)

    def __init__(self, notes: Notes) -> None:
        self.notes = notes

    async def process(self, tick: int, arrays: Arrays, messages: Mailbox) -> None:
        await asyncio.sleep(0)
        self.notes.take("names", tick, arrays, messages)


READERS: dict[str, tuple[type[Component], ...]] = {
    "positions": (Position,),
    "health": (Health,),
    "both": (Position, Health),
    "names": (Name,),
}


@dataclass(frozen=True)
class Spawn:
    kinds: frozenset[type[Component]]


@dataclass(frozen=True)
class Despawn:
    nth: int


@dataclass(frozen=True)
class Add:
    nth: int
    kind: type[Component]


@dataclass(frozen=True)
class Remove:
    nth: int
    kind: type[Component]


@dataclass(frozen=True)
class Send:
    nth: int


Op = Spawn | Despawn | Add | Remove | Send


@dataclass(frozen=True)
class Tick:
    """What happens before a tick, and which entities with a position write to which in it."""

    ops: tuple[Op, ...]
    letters: tuple[tuple[int, int], ...]


NTH, KIND = st.integers(0, 5), st.sampled_from(KINDS)
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(Spawn, st.frozensets(KIND, min_size=1)),
    st.builds(Send, NTH),
    st.builds(Add, NTH, KIND),
    st.builds(Remove, NTH, KIND),
    st.builds(Despawn, NTH),
)
TICKS = st.builds(Tick, st.lists(OPS, max_size=6).map(tuple), st.lists(st.tuples(NTH, NTH), max_size=4).map(tuple))
PROGRAMS = st.lists(TICKS, min_size=2, max_size=6)


@dataclass
class Model:
    """Entities with their components, and the letters that are under way."""

    alive: dict[int, frozenset[type[Component]]] = field(default_factory=dict)
    staged: dict[int, frozenset[type[Component]]] = field(default_factory=dict)
    """The entities once what is staged applies."""
    sent: list[tuple[int, int]] = field(default_factory=list)
    """Recipients and numbers of the letters that the next tick sends."""
    delivered: list[tuple[int, int]] = field(default_factory=list)
    expected: Got = field(default_factory=Counter)

    def deliver(self, tick: int) -> None:
        """What processors get in a tick: the letters of the last one to entities that live as it begins."""
        for recipient, number in self.delivered:
            for name, kinds in READERS.items():
                if self.alive.get(recipient, frozenset()) >= set(kinds):
                    self.expected[name, tick, recipient, number] += 1

    def end_tick(self, inside: Sequence[tuple[int, int]]) -> None:
        """Send what was staged and what processors wrote, also to the entities that this tick spawns."""
        self.delivered, self.sent = [*self.sent, *inside], []
        self.alive = dict(self.staged)


@given(PROGRAMS)
def test_each_message_reaches_each_processor_of_its_recipient_once(program: list[Tick]) -> None:
    """Whatever spawns, moves and ends, each processor whose frame has the recipient gets a message once, at t+1 (G7)."""

    async def scenario() -> None:
        notes, model, count = Notes(), Model(), 0
        there = world(OfPositions(notes), OfHealth(notes), OfBoth(notes), OfNames(notes))
        for number, tick in enumerate([*program, Tick((), ()), Tick((), ())]):
            for op in tick.ops:
                count += 1
                apply(there, model, op, count)
            model.deliver(number)
            notes.plan, notes.refused = {}, set()
            inside, refused = [], set()
            for by, to in tick.letters:
                sender, recipient, count = by + 1, to + 1, count + 1
                if Position not in model.alive.get(sender, ()):
                    continue
                notes.plan.setdefault(sender, []).append((recipient, count))
                if recipient in model.alive or recipient in model.staged:
                    inside.append((recipient, count))
                else:
                    refused.add(count)
            await there.step()
            assert notes.refused == refused
            model.end_tick(inside)
        assert notes.got == model.expected

    drive(scenario)


def apply(there: Any, model: Model, op: Op, number: int) -> None:
    """Stage an operation in the world and in the model."""
    if isinstance(op, Spawn):
        model.staged[there.spawn(*(kind() for kind in KINDS if kind in op.kinds))] = op.kinds
        return
    entity = op.nth + 1
    held = model.staged.get(entity)
    if isinstance(op, Send):
        if held is None and entity not in model.alive:
            try:
                there.send(entity, number)
            except UnknownRecipient:
                return
            raise AssertionError(f"a message to {entity}, who does not exist, was accepted")
        there.send(entity, number)
        model.sent.append((entity, number))
    elif held is None:
        return
    elif isinstance(op, Despawn):
        there.despawn(entity)
        del model.staged[entity]
    elif isinstance(op, Add):
        there.add_components(entity, op.kind())
        model.staged[entity] = held | {op.kind}
    elif len(held - {op.kind}) > 0:
        there.remove_components(entity, op.kind)
        model.staged[entity] = held - {op.kind}


def test_a_rowwise_processor_gets_each_message_once() -> None:
    """A processor that sees many small tables as one frame gets each message once, with the row of its recipient (G7)."""

    async def scenario() -> None:
        notes = Notes()
        reader = OfHealth(notes)
        there = world(reader)
        tables: list[tuple[Component, ...]] = [(), (Name(),), (Frozen(),), (Name(), Frozen())]
        ids = there.spawn_many([(Health(), *more) for more in tables for _ in range(3)])
        await there.step()
        for number, recipient in enumerate([*ids, *reversed(ids)]):
            there.send(recipient, number)
        await there.run(3)
        assert reader.frames == [len(ids)] * 3
        assert notes.got == Counter(
            ("health", 2, recipient, number) for number, recipient in enumerate([*ids, *reversed(ids)])
        )

    drive(scenario)
