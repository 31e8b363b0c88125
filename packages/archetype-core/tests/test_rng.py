"""Random numbers by entity (T10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import Flagged, Frozen, Position, drive, world

from archetype_core.engine import EntityRng, Processor, Rng, World
from archetype_core.schema import Archetype, Snapshot
from archetype_core.schema.snapshot import ENTITY_ID, Column


def stream(ids: Any, *, seed: int = 1, tick: int = 1, processor: str = "Walk", kinds: Any = (Position,)) -> EntityRng:
    """The random numbers of some entities."""
    archetype = Archetype.of(*kinds)
    column = Column(pa.array(ids, pa.int64()))
    return Rng.of(seed, tick, processor, Snapshot(archetype, {ENTITY_ID: column}, len(column))).by_entity


DRAWS: dict[str, Callable[[EntityRng], Any]] = {
    "random": lambda rng: rng.random(),
    "random of three": lambda rng: rng.random(size=3),
    "uniform": lambda rng: rng.uniform(-1.0, 1.0),
    "normal": lambda rng: rng.normal(1.0, 2.0),
    "normal of two": lambda rng: rng.normal(size=2),
    "exponential": lambda rng: rng.exponential(3.0),
    "bernoulli": lambda rng: rng.bernoulli(0.5),
    "integers": lambda rng: rng.integers(-(2**63), 2**63 - 1),
    "integers of four": lambda rng: rng.integers(1000, size=4),
    "choice": lambda rng: rng.choice(["a", "b", "c"]),
    "weighted choice": lambda rng: rng.choice([10, 20], p=[1, 3]),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@given(ids=st.lists(st.integers(1, 2**62), unique=True, max_size=20), data=st.data())
def test_what_an_entity_draws_depends_on_no_other(draw: Any, ids: list[int], data: st.DataObject) -> None:
    """In any company, order and table an entity draws the same numbers (T10)."""
    some = data.draw(st.permutations(ids).map(lambda all_ids: all_ids[: len(all_ids) // 2]))
    many, few = stream(ids), stream(some, kinds=(Position, Frozen))
    for _ in range(2):
        all_drawn, drawn = draw(many), draw(few)
        assert len(all_drawn) == len(ids)
        assert np.array_equal(all_drawn[[ids.index(one) for one in some]], drawn)


def test_large_tables_draw_what_small_ones_do() -> None:
    """A table of any size draws block by block the numbers that its rows draw alone (T10)."""
    ids = np.arange(1, 50_001)
    whole = stream(ids).random()
    assert np.array_equal(whole[40_000:40_100], stream(ids[40_000:40_100]).random())


def test_seed_tick_processor_and_call_decide() -> None:
    """Another seed, tick, processor or call gives other numbers; the same give the same (T10)."""
    ids = [1, 2, 3]
    first = stream(ids)
    others = (stream(ids, seed=2), stream(ids, tick=2), stream(ids, processor="Run"))
    drawn = [first.random(), first.random(), *(other.random() for other in others)]
    assert len({value for array in drawn for value in array.tolist()}) == 15
    assert np.array_equal(stream(ids).random(), drawn[0])


def test_numbers_look_random() -> None:
    """Means, spread and uniformity are right; neighbouring ids, ticks, calls and columns are not correlated (T10)."""
    size = 200_000
    ids = np.arange(1, size + 1)
    rng = stream(ids)
    one, two = rng.random(), rng.random()
    later = stream(ids, tick=2).random()
    columns = rng.random(size=2)
    # Five standard deviations of the mean of so many.
    bound = 5 / np.sqrt(size)
    for values in (one, two, later, columns[:, 0], stream(ids * 1024).random()):
        assert abs(values.mean() - 0.5) < bound * np.sqrt(1 / 12)
        counts = np.histogram(values, 64, (0.0, 1.0))[0]
        assert ((counts - size / 64) ** 2 / (size / 64)).sum() < 63 + 5 * np.sqrt(2 * 63)
    pairs = [(one[:-1], one[1:]), (one, two), (one, later), (columns[:, 0], columns[:, 1]), (one[:-7], one[7:])]
    for left, right in pairs:
        assert abs(np.corrcoef(left, right)[0, 1]) < bound
    normal = rng.normal(3.0, 2.0)
    assert abs(normal.mean() - 3.0) < 2 * bound
    assert abs(normal.std() - 2.0) < 2 * bound
    assert abs((np.abs(normal - 3.0) < 2.0).mean() - 0.6827) < bound
    assert abs(rng.exponential(2.0).mean() - 2.0) < 2 * bound
    assert abs(rng.bernoulli(0.25).mean() - 0.25) < bound
    counts = np.bincount(rng.integers(10, 16) - 10)
    assert len(counts) == 6
    assert np.abs(counts - size / 6).max() < 5 * np.sqrt(size / 6)
    assert abs((rng.choice([0, 1], p=[1.0, 3.0])).mean() - 0.75) < bound


@given(low=st.integers(-(2**63), 2**63 - 2), span=st.integers(1, 2**64 - 1))
def test_integers_keep_their_bounds(low: int, span: int) -> None:
    """Integers are at least low and below high, however far apart these are (T10)."""
    high = min(low + span, 2**63 - 1)
    drawn = stream(range(1, 30)).integers(low, high)
    assert drawn.dtype == np.int64
    assert all(low <= value < high for value in drawn.tolist())


def test_arguments_by_row() -> None:
    """Means, bounds and probabilities may be one for each row, also with several columns (T10)."""
    rng = stream([1, 2, 3])
    assert rng.normal(np.array([0.0, 100.0, 200.0]), 0.0).tolist() == [0.0, 100.0, 200.0]
    assert rng.normal(np.array([0.0, 100.0, 200.0]), 0.0, size=2).tolist() == [[0.0] * 2, [100.0] * 2, [200.0] * 2]
    assert rng.bernoulli(np.array([0.0, 1.0, 0.0])).tolist() == [False, True, False]
    assert rng.integers(np.array([1, 5, 9]), np.array([2, 6, 10])).tolist() == [1, 5, 9]
    assert rng.choice(["x"], size=2).shape == (3, 2)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda rng: rng.integers(3, 3), "low < high"),
        (lambda rng: rng.choice([]), "low < high"),
        (lambda rng: rng.choice([1, 2], p=[1.0]), "probability for each of 2"),
        (lambda rng: rng.choice([1, 2], p=[2.0, -1.0]), "none negative"),
        (lambda rng: rng.random(size=0), "at least 1"),
    ],
)
def test_impossible_draws_are_refused(act: Any, says: str) -> None:
    """A draw that cannot be made is a ValueError that says why."""
    with pytest.raises(ValueError, match=says):
        act(stream([1, 2]))
    with pytest.raises(TypeError, match="takes ints"):
        stream([1, 2]).integers(0.5, 2.5)


class Walk(Processor):
    components = (Position,)

    def process(self, arrays: Any, rng: Rng) -> dict[Any, Any]:
        return {Position.c.x: arrays[Position.c.x] + rng.by_entity.normal(), Position.c.y: rng.by_entity.random()}


def test_branches_with_other_populations_draw_the_same() -> None:
    """A fork that despawns, spawns and moves entities draws the same numbers for those that both have (T10, R3)."""

    async def scenario() -> None:
        there = world(Walk(), seed=5)
        there.spawn_many([Position(x=float(n)) for n in range(6)])
        await there.run(2)
        fork = await there.fork()
        fork.despawn(2)
        fork.add_components(4, Frozen())
        fork.spawn(Position())
        await there.run(3)
        await fork.run(3)
        for entity in (1, 3, 5, 6):
            assert fork.get(entity)[Position] == there.get(entity)[Position]
        # The move itself restores the processed values at its own tick; the stream goes on as it was.
        assert fork.get(4)[Position].y == there.get(4)[Position].y

    drive(scenario)


def test_streams_do_not_disturb_each_other() -> None:
    """Draws by entity change nothing of the table's own stream, which is seeded by the names of its components (T10)."""
    seen: list[float] = []

    class Draws(Processor):
        components = (Position,)

        def process(self, df: Any, rng: Rng) -> Any:
            if len(seen) % 2:
                rng.by_entity.random()
            seen.append(rng.random())
            return df

    async def scenario() -> None:
        for kinds in ((), (), (Flagged(),)):
            there: World = world(Draws(), seed=5)
            there.spawn(Position(), *kinds)
            await there.run(2)
        assert seen[0] == seen[1] != seen[2]

    drive(scenario)
