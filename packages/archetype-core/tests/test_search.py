"""Search ranks the rows of a live or past tick, on every store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from daft import col, lit

from archetype_core import Component, MemoryStore, Vector, World
from archetype_core.errors import TickNotFound
from archetype_core.read import rank, ranked
from archetype_core.store import Capability, Search, Segment


class Memory(Component):
    text: str = ""
    embedding: Annotated[list[float], Vector(3)] | None = None
    weight: float = 0.0


class Mood(Component):
    joy: float = 0.0


class Searching(MemoryStore):
    @property
    def capabilities(self) -> frozenset[Capability]:
        return super().capabilities | {Capability.SEARCH}

    def search(self, search: Search) -> Any:
        return ranked(self, search)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end."""
    return asyncio.run(work)


async def remembering(store: MemoryStore | None = None) -> World:
    """A world of three memories and one entity without a vector, after a tick."""
    world = World(store or Searching(), "agents", seed=1)
    world.spawn(Memory(text="the red fox", embedding=[1.0, 0.0, 0.0], weight=1.0))
    world.spawn(Memory(text="a blue whale", embedding=[0.0, 1.0, 0.0], weight=2.0), Mood(joy=1.0))
    world.spawn(Memory(text="a red whale", embedding=[1.0, 1.0, 0.0], weight=3.0))
    world.spawn(Memory(text="nothing"), Mood(joy=5.0))
    await world.step()
    return world


@pytest.fixture
def world() -> Any:
    """Return a world that remembers."""
    return run(remembering())


def ids(frame: Any) -> list[int]:
    """The entities of a frame, in order."""
    found: list[int] = frame.to_pydict()["entity_id"]
    return found


@pytest.mark.parametrize("at", [None, 0])
@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("store", [MemoryStore, Searching])
def test_several_vectors_are_ranked_as_each_alone(store: Any, metric: str, at: int | None) -> None:
    """A batch gives each vector's rows in order, with its number, exactly as one search for each does."""

    async def scenario() -> None:
        draw = np.random.default_rng(1)
        world = World(store(), "agents", seed=1)
        for number in range(300):
            spot = draw.integers(-2, 3, 3).astype(float) if number % 7 else None
            memory = Memory(text=str(number), embedding=None if spot is None else spot.tolist())
            world.spawn(memory, *([Mood()] if number % 3 else []))
        await world.run(2)
        queries = np.concatenate([draw.normal(size=(20, 3)), [[0.0, 0.0, 0.0], [1e200, 0.0, 0.0]]])
        where = Memory.c.weight < lit(1.0)
        found = world.search(Memory.c.embedding, queries, k=7, at=at, metric=metric, where=where).to_arrow()
        assert found.column_names[0] == "query"
        for number, query in enumerate(queries):
            alone = world.search(Memory.c.embedding, query, k=7, at=at, metric=metric, where=where).to_arrow()
            mine = found.filter(pc.equal(found.column("query"), number)).drop_columns(["query"])
            assert mine.to_pylist() == alone.to_pylist()

    run(scenario())


def test_a_batch_of_wrong_vectors_is_refused(world: World) -> None:
    """A vector of another width among several is an error, and so are words among them."""
    for queries in ([[1.0, 0.0, 0.0], [1.0]], [[1.0], [2.0]]):
        with pytest.raises(ValueError, match="holds vectors of 3 values, the query has 1"):
            world.search(Memory.c.embedding, queries)
    for wrong in (["a", "b"], [[1.0], "b"], 7):
        with pytest.raises(TypeError, match="words, a vector, or a list of vectors"):
            world.search(Memory.c.embedding, wrong)  # type: ignore[arg-type]  # reason: wrong on purpose
    one = world.search(Memory.c.embedding, [[1.0, 0.0, 0.0]], k=2).to_pydict()
    assert (one["query"], one["entity_id"]) == ([0, 0], [1, 3])


def test_the_nearest_vectors_come_first_over_all_tables(world: World) -> None:
    """Entities of every archetype with the component are ranked together; those without a vector are not found."""
    found = world.search(Memory.c.embedding, [1.0, 0.0, 0.0]).to_pydict()
    assert found["entity_id"] == [1, 3, 2]
    assert found["score"] == pytest.approx([1.0, math.sqrt(0.5), 0.0])
    assert found["memory__text"] == ["the red fox", "a red whale", "a blue whale"]
    assert found["tick"] == [0, 0, 0]
    assert ids(world.search(Memory.c.embedding, np.array([0.0, 1.0, 0.0], np.float32), k=1)) == [2]


def test_words_find_texts_that_have_them(world: World) -> None:
    """A text column is searched by words, in any case; a text without any of them is not found."""
    assert set(ids(world.search(Memory.c.text, "red", k=5))) == {1, 3}
    assert set(ids(world.search("memory__text", "Whale FOX"))) == {1, 2, 3}
    assert ids(world.search(Memory.c.text, "unicorn")) == []


def test_past_ticks_answer_as_they_would_have_then(world: World) -> None:
    """A search at a tick finds the rows of that tick, also after later changes."""

    async def later() -> None:
        await world.step()
        world.update(1, Memory(text="forgotten", embedding=[0.0, 0.0, 1.0]))
        world.despawn(3)
        await world.step()

    before = world.search(Memory.c.embedding, [1.0, 0.0, 0.0]).to_pydict()
    run(later())
    assert ids(world.search(Memory.c.embedding, [1.0, 1.0, 0.0], k=1)) == [2]
    for tick in (0, 1):
        past = world.search(Memory.c.embedding, [1.0, 0.0, 0.0], at=tick).to_pydict()
        assert past == {**before, "tick": [tick] * 3}
    assert ids(world.search(Memory.c.text, "forgotten", at=2)) == [1]
    for at in (None, 0):
        nothing = world.search(Memory.c.text, "unheard", at=at)
        assert (nothing.column_names, nothing.count_rows()) == (list(before), 0)
    with pytest.raises(TickNotFound):
        world.search(Memory.c.text, "x", at=9)


@pytest.mark.parametrize("at", [None, 0])
def test_a_condition_holds_before_the_best_are_chosen(world: World, at: int | None) -> None:
    """``where`` may use any column; tables without it are left out."""
    run(world.step())
    nearest = [1.0, 0.0, 0.0]
    assert ids(world.search(Memory.c.embedding, nearest, k=1, at=at, where=Memory.c.weight > 1.5)) == [3]
    assert ids(world.search(Memory.c.embedding, nearest, at=at, where=Mood.c.joy > 0.0)) == [2]
    assert ids(world.search(Memory.c.embedding, nearest, at=at, where=col("entity_id") == lit(2))) == [2]


@pytest.mark.parametrize("at", [None, 0, 1])
def test_search_works_on_every_store(at: int | None) -> None:
    """A store without the capability is scanned, with the same answer at the live and at a past tick."""
    plain, searching = run(remembering(MemoryStore())), run(remembering())
    run(plain.step())
    run(searching.step())
    for column, query in ((Memory.c.embedding, [1.0, 0.0, 0.0]), (Memory.c.text, "red")):
        found = [one.search(column, query, at=at).to_pydict() for one in (plain, searching)]
        assert found[0] == found[1]
        assert found[0]["entity_id"]


@pytest.mark.parametrize(
    ("column", "query", "options", "error"),
    [
        (Memory.c.embedding, [1.0], {}, ValueError),
        (Memory.c.embedding, "words", {}, TypeError),
        (Memory.c.text, [1.0, 2.0, 3.0], {}, TypeError),
        (Memory.c.text, "red", {"k": 0}, ValueError),
        (Memory.c.embedding, [1.0, 0.0, 0.0], {"metric": "hamming"}, ValueError),
    ],
)
def test_what_cannot_be_searched_for_is_refused(
    world: World, column: Any, query: Any, options: dict[str, Any], error: type[Exception]
) -> None:
    """A vector of another length, words in a column of vectors, and the like are errors, not empty answers."""
    with pytest.raises(error):
        world.search(column, query, **options)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_many_rows_are_ranked_as_by_hand(metric: str) -> None:
    """The best of many vectors are those that a plain computation finds, with NaN left out."""
    draw = np.random.default_rng(3)
    matrix = draw.normal(size=(40_000, 4)).astype(np.float32)
    matrix[7] = np.nan
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 4)
    entities = pa.array(draw.permutation(40_000).astype(np.int64))
    query = (0.5, -1.0, 0.25, 2.0)
    search = Search("t", Segment("w", "r", 0, None, "n", 0), 0, "v", query, 25, metric)
    found = rank(entities, vectors, search)
    wide, asked = matrix.astype(np.float64), np.array(query)
    scores = {
        "cosine": wide @ asked / (np.linalg.norm(wide, axis=1) * np.linalg.norm(asked)),
        "dot": wide @ asked,
        "l2": -np.linalg.norm(wide - asked, axis=1),
    }[metric]
    order = np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")[:25]
    assert found.column(0).to_pylist() == entities.to_numpy()[order].tolist()
    assert found.column(1).to_pylist() == pytest.approx(scores[order].tolist())


def test_the_store_is_told_whether_some_may_be_missed() -> None:
    """``exact=False`` reaches the store for a past tick; the live tick is searched exactly, in memory."""
    asked = []

    class Told(Searching):
        def search(self, search: Search) -> Any:
            asked.append(search.exact)
            return super().search(search)

    world = run(remembering(Told()))
    live = world.search(Memory.c.text, "red", exact=False).to_pydict()
    run(world.step())
    assert asked == []
    assert world.search(Memory.c.text, "red", at=0, exact=False).to_pydict() == live
    assert set(asked) == {False}
    asked.clear()
    world.search(Memory.c.text, "red", at=0)
    assert set(asked) == {True}


def test_a_column_is_named_or_pointed_at(world: World) -> None:
    """A column may be given as an attribute of its component or by its name."""
    by_attribute = world.search(Memory.c.text, "fox").to_pydict()
    assert by_attribute == world.search("memory__text", "fox").to_pydict()


class Later(Component):
    text: str = ""


@pytest.mark.parametrize("at", [None, 0])
def test_a_column_that_nothing_has_is_a_mistake(world: World, at: int | None) -> None:
    """A misspelt column is an error, in the query and in its condition; a component without entities finds nothing (Q2)."""
    with pytest.raises(ValueError, match="memory__txt"):
        world.search("memory__txt", "fox", at=at)
    with pytest.raises(ValueError, match="memory__wight"):
        world.search(Memory.c.text, "fox", at=at, where=col("memory__wight") > lit(1))
    with pytest.raises(TypeError, match="column"):
        world.search(None, "fox", at=at)
    with pytest.raises(TypeError, match="condition"):
        world.search(Memory.c.text, "fox", at=at, where="memory__weight > 1")  # type: ignore[arg-type]  # reason: that is refused
    assert world.search(Later.c.text, "fox", at=at).count_rows() == 0
    assert world.search(Memory.c.text, "fox", at=at, where=Mood.c.joy > 100.0).count_rows() == 0
