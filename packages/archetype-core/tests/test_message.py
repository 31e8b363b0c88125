"""Messages between entities."""

from __future__ import annotations

import asyncio
from typing import Any

import pyarrow as pa
import pytest
from daft import DataFrame
from scene import Calls, Frozen, Health, Position, Watches, drive, history, world

from archetype_core.engine import Commands, Processor, World
from archetype_core.errors import ProcessorError, SignatureError, UnknownRecipient, ValueRejected
from archetype_core.schema import Letter, Mailbox, Message
from archetype_core.store import MemoryStore


class Reads(Processor):
    """Collects delivered messages by tick, from every table."""

    components = (Position,)

    def __init__(self) -> None:
        self.got: dict[int, list[Letter]] = {}

    def process(self, df: DataFrame, tick: int, messages: Mailbox) -> DataFrame:
        self.got.setdefault(tick, []).extend(messages)
        return df


def test_message_is_delivered_in_the_next_tick_only() -> None:
    """What is sent in tick t is delivered in t+1, and not again (G7)."""

    async def scenario() -> None:
        reads = Reads()
        there = world(reads)
        there.spawn(Position())
        await there.step()
        there.send(1, {"hello": [1, 2.5, None, "ü"]}, sender=7, kind="greeting")
        assert there.pending == 1
        await there.run(3)
        assert reads.got == {1: [], 2: [Letter(1, 7, "greeting", {"hello": [1, 2.5, None, "ü"]}, 1)], 3: []}

    drive(scenario)


def test_processors_send_and_receive() -> None:
    """A processor's messages are sent with its tick, and those of each table are delivered in order (G7)."""

    async def scenario() -> None:
        def act(df: Any, tick: int, messages: Mailbox, **_: Any) -> DataFrame:
            name = df.snapshot.archetype.name
            if tick < 3:
                for number in range(2):
                    messages.send(1, [name, tick, number])
            return df

        reads = Reads()
        there = world(Calls(act), reads)
        there.spawn_many([Position(), (Position(), Frozen())])
        await there.step()
        there.send(1, "from outside")
        await there.run(3)
        two, three = reads.got[2], reads.got[3]
        assert two[0].body == "from outside"
        for got, tick in ((two[1:], 1), (three, 2)):
            assert [one.body[1:] for one in got] == [[tick, 0], [tick, 1]] * 2
            names = [one.body[0] for one in got]
            assert names == sorted(names)

    drive(scenario)


def test_messages_of_a_failed_tick_are_not_sent() -> None:
    """A failed tick sends no messages of its processors, and keeps those staged from outside (G7, T7)."""

    async def scenario() -> None:
        fails = True

        def act(df: Any, messages: Mailbox, **_: Any) -> DataFrame:
            messages.send(1, "inner")
            if fails:
                raise RuntimeError("boom")
            return df

        reads = Reads()
        there = world(Calls(act), reads)
        there.spawn(Position())
        await there.step()
        there.send(1, "outer")
        for _ in range(2):
            with pytest.raises(ProcessorError):
                await there.step()
        assert there.pending == 1
        fails = False
        await there.run(2)
        assert [one.body for one in reads.got[2]] == ["outer", "inner"]

    drive(scenario)


@pytest.mark.parametrize("recipient", [2, 99, 0, -1, 2**63 - 1, -(2**63)])
def test_messages_to_nobody_are_refused(recipient: int) -> None:
    """A recipient that is dead or was never spawned is an error, and nothing is staged (G7)."""

    async def scenario() -> None:
        there = world()
        there.spawn_many([Position(), Position()])
        await there.step()
        there.despawn(2)
        await there.step()
        with pytest.raises(UnknownRecipient) as caught:
            there.send(recipient, "x")
        assert (caught.value.recipient, caught.value.world) == (recipient, there.name)
        assert there.pending == 0

    drive(scenario)


def test_processors_cannot_write_to_nobody() -> None:
    """Messages and commands of processors know the same entities as handles do (G7)."""

    async def scenario() -> None:
        refused: list[int] = []

        def act(messages: Mailbox, commands: Commands, **_: Any) -> None:
            for send in (messages.send, commands.send):
                with pytest.raises(UnknownRecipient) as caught:
                    send(77, "x")
                refused.append(caught.value.recipient)

        there = world(Watches(lambda _, **given: act(**given)))
        there.spawn(Position())
        await there.run(2)
        assert refused == [77] * 2
        assert len(there.messages()) == 0

    drive(scenario)


def test_entities_that_are_on_their_way_can_be_written_to() -> None:
    """Staged and reserved ids are recipients, also inside the tick that stages them; the message goes with the spawn (G7)."""

    async def scenario() -> None:
        reads = Reads()

        def act(tick: int, messages: Mailbox, commands: Commands, **_: Any) -> None:
            if tick == 1:
                messages.send(commands.spawn(Position()), "child")

        there = world(Watches(lambda _, **given: act(**given)), reads)
        there.send(there.spawn(Position()), "staged")
        (held,) = there.reserve()
        there.send(held, "reserved")
        there.spawn(Position(), entity_id=held)
        await there.run(4)
        assert {tick: [one.body for one in got] for tick, got in reads.got.items()} == {
            1: ["staged", "reserved"],
            2: [],
            3: ["child"],
        }

    drive(scenario)


def test_message_to_an_entity_that_dies_is_history_only() -> None:
    """An entity that ends between sending and delivery gets nothing, and the message stays readable (G7)."""

    async def scenario() -> None:
        reads = Reads()
        there = world(reads)
        there.spawn_many([Position(), Position()])
        await there.step()
        there.despawn(2)
        there.send(2, "late")
        await there.run(2)
        assert reads.got[2] == []
        assert [one.body for one in there.messages()] == ["late"]

    drive(scenario)


def test_message_follows_an_entity_to_its_table() -> None:
    """Each table's processors get the messages to its entities, wherever these were when they were sent (G7)."""

    async def scenario() -> None:
        got: dict[tuple[int, str], list[Any]] = {}

        def act(df: Any, tick: int, messages: Mailbox, **_: Any) -> None:
            table = "frozen" if "frozen" in df.snapshot.archetype.name else "free"
            got[tick, table] = [one.body for one in messages]

        there = world(Watches(act))
        there.spawn_many([Position(), Position(), (Position(), Frozen())])
        await there.step()
        there.add_components(2, Frozen())
        for recipient in (1, 2, 3):
            there.send(recipient, recipient)
        await there.run(2)
        assert (got[2, "free"], got[2, "frozen"]) == ([1], [2, 3])

    drive(scenario)


@pytest.mark.parametrize(
    ("letter", "field"),
    [
        ({"recipient": 2**63}, "recipient"),
        ({"recipient": -(2**63) - 1}, "recipient"),
        ({"recipient": "1"}, "recipient"),
        ({"recipient": True}, "recipient"),
        ({"recipient": None}, "recipient"),
        ({"sender": 2**70}, "sender"),
        ({"sender": 1.0}, "sender"),
        ({"kind": 3}, "kind"),
        ({"kind": None}, "kind"),
        ({"kind": "\ud800"}, "kind"),
        ({"body": object()}, "body"),
        ({"body": {1, 2}}, "body"),
    ],
    ids=repr,
)
def test_messages_that_cannot_be_stored_are_refused(letter: dict[str, Any], field: str) -> None:
    """Wrong messages are refused when they are sent, with the argument's name, and later ticks run (M7)."""

    async def scenario() -> None:
        there = world()
        there.spawn(Position())
        await there.step()
        given: dict[str, Any] = {"recipient": 1, "body": "x", **letter}
        with pytest.raises(ValueRejected) as caught:
            there.send(**given)
        assert (caught.value.component, caught.value.field) == ("Message", field)
        assert there.pending == 0
        sent: list[Any] = []
        box = Mailbox(there.messages().to_arrow(), pa.array([1]), sent.append)
        with pytest.raises(ValueRejected):
            box.send(**given)
        assert sent == []
        await there.step()

    drive(scenario)


def test_deep_bodies_are_refused() -> None:
    """A body that is nested too deeply or contains itself is refused (M7)."""
    there = world()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    endless: list[Any] = []
    endless.append(endless)
    for body in (deep, endless):
        with pytest.raises(ValueRejected):
            there.send(1, body)
    # Taken apart by hand: the interpreter's own destructor would recurse.
    while deep:
        deep = deep.pop()


def test_body_is_taken_as_it_is_now() -> None:
    """Changing an object after it was sent does not change the message (G7)."""

    async def scenario() -> None:
        reads = Reads()
        there = world(reads)
        there.spawn(Position())
        body = [1]
        there.send(1, body)
        body.append(2)
        await there.run(2)
        assert reads.got[1][0].body == [1]

    drive(scenario)


def test_mailbox_can_be_read_in_many_ways() -> None:
    """A mailbox is iterated, counted, asked by recipient and kind, and read as Arrow and numpy (G7)."""

    async def scenario() -> None:
        boxes: list[Mailbox] = []
        there = world(Watches(lambda df, messages, **_: boxes.append(messages)))
        there.spawn_many([Position(), Position(), Position()])
        await there.step()
        for number, recipient in enumerate((3, 2, 3)):
            there.send(recipient, number * 10, kind="even" if number % 2 == 0 else "odd")
        await there.run(2)
        empty, box = boxes
        assert (len(empty), list(empty), empty.to(1), empty.to_arrow().num_rows) == (0, [], (), 0)
        assert (empty.rows.tolist(), empty.counts.tolist()) == ([], [0, 0, 0])
        assert len(box) == 3
        assert [one.body for one in box.to(3)] == [0, 20]
        assert box.to(9) == ()
        assert {to: [one.body for one in letters] for to, letters in box.by_recipient().items()} == {
            3: [0, 20],
            2: [10],
        }
        assert (box.rows.tolist(), box.counts.tolist()) == ([2, 1, 2], [0, 1, 2])
        odd = box.of_kind("odd")
        assert ([one.body for one in odd], odd.rows.tolist()) == ([10], [1])
        table = box.to_arrow()
        assert table["tick"].to_pylist() == [1] * 3
        assert table["entity_id"].to_pylist() == [3, 2, 3]
        assert table["message__sender"].to_pylist() == [None] * 3
        assert table["message__body"].to_pylist() == ["0", "10", "20"]

    drive(scenario)


def test_messages_are_history() -> None:
    """Sent messages can be read back, as a query of ``Message`` and as letters in the order of sending (G7)."""

    async def scenario() -> None:
        there = world()
        assert list(there.messages()) == []
        there.spawn_many([Health()] * 6)
        await there.step()
        there.send(5, "a", kind="k", sender=1)
        await there.step()
        there.send(6, "b")
        there.send(5, "c")
        await there.run(2)
        rows = history(there, Message)
        assert rows == history(there, Message, include_inactive=True)
        assert [(row["tick"], row["entity_id"], row["message__body"]) for row in rows] == [
            (1, 5, '"a"'),
            (2, 5, '"c"'),
            (2, 6, '"b"'),
        ]
        assert [row["message__body"] for row in there.snapshot(Message, at=1).to_pylist()] == ['"a"']
        assert list(there.messages(ticks=1)) == [Letter(5, 1, "k", "a", 1)]
        assert [one.body for one in there.messages()] == ["a", "b", "c"]
        assert [one.body for one in there.messages(recipient=5)] == ["a", "c"]
        assert [one.body for one in there.messages(sender=1)] == ["a"]
        assert [one.body for one in there.messages(kind="")] == ["b", "c"]
        assert list(there.messages(kind="k", ticks=range(2, 9))) == []
        assert not any(one.startswith("message") for one in there.archetypes())

    drive(scenario)


def test_messages_survive_reopening_and_forking() -> None:
    """Messages of the last tick are delivered in a reopened world and in each fork (G7, R3, R5)."""

    async def scenario() -> None:
        store = MemoryStore()
        there = world(store=store)
        there.spawn(Position())
        await there.step()
        there.send(1, "hello")
        await there.run(1)
        reads = [Reads() for _ in range(4)]
        forks = [await there.fork(), await there.fork(at_tick=1), await there.fork(at_tick=0)]
        opened = await World.open(store, there.world_id)
        for each, read in zip([*forks, opened], reads, strict=True):
            each.add_processor(read)
            await each.step()
        bodies = [[one.body for got in read.got.values() for one in got] for read in reads]
        assert bodies == [["hello"], ["hello"], [], ["hello"]]

    drive(scenario)


def test_asynchronous_processors_send_too() -> None:
    """A processor on the loop sends through the same mailbox (G7)."""

    async def scenario() -> None:
        async def act(df: Any, messages: Mailbox, **_: Any) -> DataFrame:
            await asyncio.sleep(0)
            messages.send(1, "async")
            return df

        reads = Reads()
        there = world(Calls(act), reads)
        there.spawn(Position())
        await there.run(3)
        assert [one.body for one in reads.got[2]] == ["async"]

    drive(scenario)


def test_messages_are_no_components_for_entities() -> None:
    """The engine's message component cannot be spawned or added (G7)."""
    there = world()
    for spawn in (
        lambda: there.spawn(Message()),
        lambda: there.spawn(Health(), Message()),
        lambda: there.spawn_many([Message()]),
        lambda: there.spawn_table({"body": ["x"]}, Message),
        lambda: there.add_components(there.spawn(Health()), Message()),
    ):
        with pytest.raises(SignatureError):
            spawn()
    assert there.pending == 1
