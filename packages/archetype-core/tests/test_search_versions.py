"""Search reads all versions of a component as a query does (M8, Q2)."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pyarrow as pa
import pytest
from daft import col, lit
from hypothesis import given
from hypothesis import strategies as st
from scene import Name, drive
from test_search import Searching
from versions import INT32, version

from archetype_core.engine import World
from archetype_core.errors import SchemaMismatch, UnknownColumn
from archetype_core.read import SCORE, rank
from archetype_core.schema import Evolution, Vector, each
from archetype_core.store import Search, Segment

VECTOR: Any = Annotated[list[float], Vector(2)]

First = version("Note", text=(str, ""), at=(VECTOR, ...), rank=(INT32, 0))
Renamed = version(
    "Note",
    Evolution(rename={"words": "text", "place": "at"}),
    words=(str, ""),
    place=(VECTOR, ...),
    rank=(int, 0),
    mood=(str, "calm"),
)
Moved = version(
    "Memo",
    Evolution(previous="Note", rename={"words": "text", "place": "at"}),
    words=(str, ""),
    place=(VECTOR, ...),
    rank=(int, 0),
)
Converted = version(
    "Note",
    Evolution(
        rename={"shout": "text", "spot": "at"},
        convert={"shout": each(str.upper), "spot": each(lambda at: [at[1], at[0]]), "rank": each(str)},
    ),
    shout=(str, ""),
    spot=(VECTOR | None, None),
    rank=(str, ""),
)

FOXES = [First(text="the red fox", at=[1.0, 0.0], rank=1), First(text="a blue whale", at=[0.0, 1.0], rank=2)]


async def told(*entities: Any, steps: int = 1) -> Searching:
    """A store that searches, with a world of these."""
    store = Searching()
    there = World(store, "w", seed=1)
    there.spawn_many([(one,) for one in entities])
    await there.run(steps)
    return store


def found(frame: Any) -> list[int]:
    """The entities of a frame, in order."""
    ids: list[int] = frame.to_pydict()["entity_id"]
    return ids


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("cls", [Renamed, Moved])
def test_renamed_columns_are_searched_in_all_versions(cls: Any, is_named: bool) -> None:
    """Rows of an older version are found under the new names, live and in the past, whether the world names it or not (M8)."""

    async def scenario() -> None:
        there = await World.open(await told(*FOXES), "w", components=[cls] if is_named else [])
        await there.step()
        there.spawn(cls(words="a red whale", place=[1.0, 1.0], rank=3))
        there.spawn(Name())
        await there.step()
        prefix = cls.__name__.lower()
        for at, nearest, red in ((0, [1, 2], [1]), (1, [1, 2], [1]), (2, [1, 3, 2], [1, 3]), (None, [1, 3, 2], [1, 3])):
            hits = there.search(cls.c.place, [1.0, 0.0], at=at)
            assert found(hits) == nearest
            assert sorted(found(there.search(f"{prefix}__words", "red", at=at))) == red
            assert found(there.search(cls.c.place, [1.0, 0.0], at=at, k=1, where=cls.c.rank > 1)) == nearest[1:2]
            assert found(there.search(cls.c.words, "red", at=at, where=cls.c.words == "the red fox")) == [1]
            columns = [field.name for field in cls.component_type().fields]
            assert hits.column_names == ["entity_id", "tick", *columns, SCORE]
            assert hits.to_pydict()[f"{prefix}__words"][0] == "the red fox"

    drive(scenario)


def test_converted_and_missing_columns_are_searched_as_a_query_reads_them() -> None:
    """A converted column is ranked by its converted values, and a condition sees filled and widened ones (M8)."""

    async def scenario() -> None:
        store = await told(*FOXES)
        there = await World.open(store, "w", components=[Converted])
        await there.step()
        for at in (0, 1, None):
            assert found(there.search(Converted.c.spot, [1.0, 0.0], at=at)) == [2, 1]
            assert there.search(Converted.c.shout, "fox", at=at).to_pydict()["note__shout"] == ["THE RED FOX"]
            assert found(there.search(Converted.c.spot, [1.0, 0.0], at=at, where=Converted.c.rank == "1")) == [1]
            assert found(there.search(Converted.c.spot, [1.0, 0.0], at=at, where=col("tick") > lit(5))) == []
        reader = await World.open(await told(*FOXES), "w")
        # A field that the version lacks is null.
        assert found(reader.search(Renamed.c.place, [1.0, 0.0], at=0, where=Renamed.c.mood.is_null())) == [1, 2]
        assert found(reader.search(Renamed.c.mood, "calm", at=0)) == []

    drive(scenario)


def test_a_search_that_a_query_would_refuse_is_refused() -> None:
    """Versions of another type, and columns that nothing has, are the errors of a query (M8, Q2)."""
    retyped = version("Note", text=(int, 0), at=(VECTOR, ...), more=(int, 0))

    async def scenario() -> None:
        there = await World.open(await told(*FOXES), "w")
        for at in (0, None):
            with pytest.raises(SchemaMismatch, match="field 'text' is stored as"):
                there.search(retyped.c.at, [1.0, 0.0], at=at, where=retyped.c.more == 0)
            with pytest.raises(UnknownColumn, match=r"no column 'note__txt'; it has .*; did you mean note__text\?"):
                there.search("note__txt", "fox", at=at)

    drive(scenario)


ROWS = st.lists(
    st.tuples(st.sampled_from(["red", "red fox", "fox", ""]), st.integers(-3, 3), st.integers(-3, 3)), max_size=6
)


@given(ROWS, ROWS, st.booleans(), st.integers(-3, 3))
def test_a_search_ranks_what_a_query_reads(
    old: list[tuple[str, int, int]], new: list[tuple[str, int, int]], has_where: bool, least: int
) -> None:
    """Over several versions, a search finds and scores what ranking a query's rows by hand does (M8, Q2)."""

    async def scenario() -> None:
        store = await told(*[First(text=text, at=[x, 1.0], rank=rank) for text, x, rank in old])
        there = await World.open(store, "w")
        there.spawn_many([(Moved(words=text, place=[x, 1.0], rank=rank),) for text, x, rank in new])
        await there.run(2)
        where = Moved.c.rank > least if has_where else None
        query = (2.0, 1.0)
        for at in (0, 1, None):
            rows = there.query(Moved, ticks=2 if at is None else at, where=where).sort("entity_id").to_arrow()
            vectors = rows.column("memo__place").combine_chunks()
            search = Search("t", Segment("w", "r", 0, None, "n", 0), 0, "v", query, 4, "l2")
            expected = rank(rows.column("entity_id").combine_chunks(), vectors, search)
            hits = there.search(Moved.c.place, query, k=4, at=at, where=where, metric="l2").to_arrow()
            if not rows.num_rows:
                assert hits.num_rows == 0
                continue
            assert hits.column("entity_id").to_pylist() == expected.column("entity_id").to_pylist()
            assert hits.column(SCORE).to_pylist() == expected.column(SCORE).to_pylist()
            kept = rows.take(
                pa.array([rows.column("entity_id").to_pylist().index(one) for one in found_ids(hits)], pa.int64())
            )
            for name in ("memo__words", "memo__place", "memo__rank"):
                assert hits.column(name).to_pylist() == kept.column(name).to_pylist()

    asyncio.run(scenario())


def found_ids(hits: pa.Table) -> list[int]:
    """The entities of a table, in order."""
    ids: list[int] = hits.column("entity_id").to_pylist()
    return ids
