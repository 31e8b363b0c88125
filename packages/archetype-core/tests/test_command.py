"""Commands in the engine: staging with ids, callbacks per tick, and the data that crosses the gate."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from daft import lit
from scene import Calls, FaultyStore, Health, Move, Position, Velocity, drive, world

from archetype_core import RunConfig, World, open_store
from archetype_core.clock import SystemIds
from archetype_core.command import ActorCtx, AuditFilter, EpisodeConfig, RolloutConfig, Spawn, SpawnTable, Update
from archetype_core.engine import Outcome
from archetype_core.errors import ArchetypeError, CommitError
from archetype_core.read import Branch, HistoryQuery, query_branches
from archetype_core.store import Segment


def test_a_tick_carries_the_commands_that_it_applies() -> None:
    """A tick records the ids of the commands staged for it, in order (G5)."""

    async def scenario() -> None:
        store = open_store("memory:")
        there = World(store)
        with there.commanded("a"):
            there.spawn(Position())
        with there.commanded("b"):
            there.send(1, "hello")
        first = await there.step(applied=("c",))
        second = await there.step()
        assert first.applied == ("a", "b", "c")
        assert second.applied == ()
        assert store.head(there.world_id, at=0).applied == ("a", "b", "c")
        assert store.head(there.world_id, at=1).applied == ()

    drive(scenario)


def test_a_failed_tick_keeps_its_commands_for_the_next() -> None:
    """Commands of a failed tick are recorded by the next committed one, before later commands (T7, G5)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(store=store)
        with there.commanded("a"):
            there.spawn(Position())
        store.faults.append(OSError("full"))
        with pytest.raises(CommitError):
            await there.step()
        with there.commanded("b"):
            there.spawn(Position())
        assert (await there.step()).applied == ("a", "b")
        assert len(there) == 2

    drive(scenario)


def test_a_command_that_raises_can_leave_nothing() -> None:
    """With undo, a command that raises leaves nothing staged and no id (T6)."""

    async def scenario() -> None:
        there = World(open_store("memory:"))
        with there.commanded("kept"):
            kept = there.spawn(Position())

        def clumsy() -> None:
            there.spawn(Position())
            there.update(kept, Position(x=9.0))
            there.send(kept, "lost")
            raise RuntimeError("clumsy")

        with pytest.raises(RuntimeError, match="clumsy"), there.commanded("lost", undo=True):
            clumsy()
        outcome = await there.step()
        assert outcome.applied == ("kept",)
        assert (len(there), there.get(kept)[Position].x) == (1, 0.0)

    drive(scenario)


def test_commands_belong_to_the_world_they_were_sent_to() -> None:
    """A fork that copies what is staged copies no command ids: each command is applied once, in its own world (G5)."""

    async def scenario() -> None:
        there = World(open_store("memory:"))
        with there.commanded("a"):
            there.spawn(Position())
        fork = await there.fork(pending="copy")
        assert (await fork.step()).applied == ()
        assert (await there.step()).applied == ("a",)
        assert len(fork) == len(there) == 1

    drive(scenario)


def test_claimed_ids_are_not_given_out_again() -> None:
    """Ids given out before a reopen are skipped; reserved ones can still be spawned, also in bulk (M5, G6)."""
    there = World(open_store("memory:"))
    there.claim(100, [range(7, 8), range(20, 25), range(50, 53)])
    assert there.spawn(Position()) == 100
    assert there.spawn(Position(), entity_id=7) == 7
    assert there.spawn_many([Position()] * 5, entity_ids=range(20, 25)) == range(20, 25)
    assert there.spawn_table({"hp": [1, 2, 3]}, Health, entity_ids=range(50, 53)) == range(50, 53)
    for taken in (range(7, 8), range(20, 25), range(50, 53)):
        with pytest.raises(ValueError, match="reserved"):
            there.spawn_many([Position()] * len(taken), entity_ids=taken)
    with pytest.raises(ValueError, match="one each"):
        there.spawn_many([Position()], entity_ids=range(60, 62))


def test_columns_that_nobody_changes_need_not_be_copied() -> None:
    """Without a copy the rows share the caller's buffers; with a copy they do not (M7)."""

    async def scenario() -> None:
        values = pa.array(np.arange(4.0))
        for copy in (True, False):
            there = World(open_store("memory:"))
            there.spawn_table(pa.table({"x": values, "y": values}), Position, copy=copy)
            await there.step()
            (rows,) = there.tables().values()
            address = rows.columns["position__x"].arrow.buffers()[1].address
            assert (address == values.buffers()[1].address) is not copy

    drive(scenario)


def test_every_tick_of_a_visit_is_attended() -> None:
    """`before` and `after` are called in a worker thread around each tick, also if one call runs many ticks (G5)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn(Position(), Velocity())
        seen: list[tuple[str, int]] = []
        threads: set[int] = set()

        def before(tick: int) -> None:
            seen.append(("before", tick))
            threads.add(threading.get_ident())

        def after(outcome: Outcome) -> None:
            seen.append(("after", outcome.tick))

        done = 0
        while done < 50:
            done += len(await there.advance(50 - done, before=before, after=after))
        assert seen == [(when, tick) for tick in range(50) for when in ("before", "after")]
        assert threading.get_ident() not in threads

    drive(scenario)


def test_what_is_staged_before_a_tick_is_in_it() -> None:
    """A mutation that `before` stages is applied by that tick (G5)."""

    async def scenario() -> None:
        there = World(open_store("memory:"))

        def spawn(tick: int) -> None:
            there.spawn(Position(x=float(tick)))

        await there.advance(1, before=spawn)
        assert len(there) == 1

    drive(scenario)


def test_a_cancelled_tick_that_was_committed_is_told() -> None:
    """`after` is called for a committed tick, also if its caller was cancelled (T7)."""

    async def scenario() -> None:
        store = FaultyStore()
        there = world(store=store)
        heard: list[int] = []
        for _ in range(30):
            task = asyncio.create_task(there.advance(1, after=lambda outcome: heard.append(outcome.tick)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert heard == list(range(there.tick))

    drive(scenario)


def test_a_fork_that_never_ran_is_opened_by_its_segment() -> None:
    """A fork that never ran a tick is reopened by its segment, as it was made (R3, R5)."""

    async def scenario() -> None:
        store = open_store("memory:")
        there = World(store, processors=[Move()])
        there.spawn(Position(), Velocity(dx=1.0))
        await there.run(5)
        fork = await there.fork("branch", at_tick=2, world_id="mine")
        assert fork.segment.parent is not None
        again = await World.open(store, fork.segment.parent.world_id, branch=fork.segment)
        assert (
            again.segment == fork.segment == Segment("mine", fork.run_id, 3, fork.segment.parent, "branch", fork.seed)
        )
        assert again.tables().keys() == fork.tables().keys()
        assert (again.tick, again.get(1)) == (fork.tick, fork.get(1))

    drive(scenario)


def test_branches_are_read_as_one_frame() -> None:
    """A query over branches is one frame with a branch column; projections and filters reach the store (Q2)."""

    async def scenario() -> None:
        store = open_store("memory:")
        there = World(store, processors=[Move()])
        there.spawn(Position(), Velocity(dx=1.0))
        await there.run(2)
        branches = []
        for number in range(3):
            fork = await there.fork(f"b{number}", rng=number)
            await fork.run(number)
            timeline = fork.timeline()
            assert timeline is not None
            branches.append(Branch(timeline, fork.name, fork.seed, number))
        frame = query_branches(store, branches, HistoryQuery((Position,)))
        assert frame.count_rows() == 2 + 3 + 4
        last = frame.where(frame["tick"] == lit(3)).select("branch", "episode", "position__x").to_pylist()
        assert last == [{"branch": "b2", "episode": 2, "position__x": 3.0}]
        assert sorted(frame.select("seed").distinct().to_pydict()["seed"]) == [0, 1, 2]
        assert frame.select("branch", "seed", "episode").count_rows() == 9

    drive(scenario)


def test_debug_tells_of_every_tick(capsys: pytest.CaptureFixture[str]) -> None:
    """With debug on, each tick's phases and the first rows of each table are written to standard error, clipped."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(x=1.5), Velocity())] * 8)
        there.spawn(Health())
        await there.run(2, config=RunConfig(debug=True))

    drive(scenario)
    seen = capsys.readouterr().err
    assert "tick 0" in seen
    assert "Health: 1 rows, unchanged" in seen.partition("tick 1")[2]
    assert "8 rows, 8 written" in seen
    assert "… 3 more" in seen
    assert "1.5" in seen


def test_ids_are_uuids_that_sort_as_they_were_made() -> None:
    """New ids are valid UUIDv7, ascending, and not repeated, however many are drawn (M5)."""
    ids = [SystemIds().new(), *(made.new() for made in [SystemIds()] for _ in range(5000))]
    assert {uuid.UUID(one).version for one in ids} == {7}
    assert all(uuid.UUID(one).variant == uuid.RFC_4122 for one in ids)
    assert ids[1:] == sorted(ids[1:])
    assert len(set(ids)) == len(ids)


def test_actors_are_told_apart_by_their_ids() -> None:
    """An actor's id is a text or a UUID and its roles are words; anything else is refused (G2)."""
    plain = uuid.UUID(int=7)
    assert ActorCtx(plain).id == str(plain)
    assert ActorCtx("a").roles == {"viewer"}
    assert ActorCtx("a", "admin") == ActorCtx("a", ["admin"])
    wrong: Any
    for wrong in (None, "", 7):
        with pytest.raises(ValueError, match="id"):
            ActorCtx(wrong)
    odd: Any = [1]
    with pytest.raises(TypeError, match="role"):
        ActorCtx("a", odd)


def test_commands_describe_themselves() -> None:
    """An audit row describes a command as plain data; an update lists only the given fields (G4)."""
    assert Spawn((Position(x=1.0),)).describe() == {"components": [{"type": "Position", "y": 0.0, "x": 1.0}]}
    assert Update(3, (Position(x=1.0),)).describe() == {"entity_id": 3, "components": [{"type": "Position", "x": 1.0}]}
    from archetype_core import Archetype

    table = SpawnTable(pa.table({"hp": [1, 2]}), Archetype.of(Health))
    assert (table.weight, table.describe()["rows"]) == (2, 2)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: EpisodeConfig(max_steps=-1), "max_steps"),
        (lambda: EpisodeConfig(termination=3), "termination"),  # type: ignore[arg-type]  # reason: this is what is refused
        (lambda: EpisodeConfig(terminal_component=int), "terminal_component"),  # type: ignore[arg-type]  # reason: likewise
        (lambda: RolloutConfig(0), "num_episodes"),
        (lambda: RolloutConfig(2, parallel=0), "parallel"),
        (lambda: RolloutConfig(2, seeds=[1]), "seeds"),
        (lambda: AuditFilter(limit=-1), "limit"),
        (lambda: AuditFilter(since="yesterday"), "since"),  # type: ignore[arg-type]  # reason: likewise
    ],
)
def test_configurations_are_checked_when_they_are_made(make: Callable[[], object], word: str) -> None:
    """A wrong setting is refused when the configuration is made, by name (M7)."""
    if word == "parallel":
        RolloutConfig(2, parallel=False)
    with pytest.raises((TypeError, ValueError), match=word):
        make()


def test_errors_of_the_gate_carry_their_facts() -> None:
    """A failing processor is a ProcessorError also in a tick with commands (T7)."""

    async def scenario() -> None:
        def fail(df: object) -> None:
            raise RuntimeError("no")

        there = world(Calls(fail))
        with there.commanded("a"):
            there.spawn(Position())
        await there.step()
        with pytest.raises(ArchetypeError):
            await there.step()

    drive(scenario)
