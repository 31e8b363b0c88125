"""Exact search over many rows: of a past tick, whose column is read from the store, and of the live tick, which is in memory.

Vectors of 128 values lie in overlapping clusters, and queries are near a row. Texts are eight words out of five thousand, and
the rare ones are asked for. Vectors are compared with a plain computation in double precision, texts with the live answer.
``reopened`` is the first search of a new handle. ``batch`` ranks a hundred vectors in one pass, ``alone`` one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import _journal
import _measure
import numpy as np
import pyarrow as pa

from archetype_core.read import rank, rank_each
from archetype_core.schema import Archetype, Column, Component, Snapshot, Vector
from archetype_core.store import Rows, Search, Segment, TickCommit
from archetype_store_lance import LanceStore

WIDTH = 128
K = 10
QUERIES = 20
SEGMENT = Segment("0196c0de-0000-7000-8000-000000000000", "0196c0de-0000-7000-8000-000000000001", 0, None, "bench", 1)


class Memory(Component):
    """A vector and a text."""

    spot: Vector(WIDTH)  # type: ignore[valid-type]  # reason: a vector's type is made by a call
    text: str = ""


TABLE = Archetype.of(Memory)


class Scene:
    """The same rows in memory, and in a store at a past tick."""

    def __init__(self, place: Path, rows: int) -> None:
        draw = np.random.default_rng(1)
        centres = draw.normal(size=(rows // 50, WIDTH)).astype(np.float32)
        self.matrix = centres[draw.integers(0, len(centres), rows)]
        for begin in range(0, rows, 65_536):
            part = self.matrix[begin : begin + 65_536]
            part += draw.normal(size=part.shape).astype(np.float32)
        vocabulary = np.array(
            ["".join(draw.choice(list("abcdefghijklmnop"), draw.integers(3, 9))) for _ in range(5_000)]
        )
        usual = 1.0 / np.arange(1, 5_001)
        picks = draw.choice(5_000, size=(rows, 8), p=usual / usual.sum())
        self.ids = pa.array(np.arange(1, rows + 1))
        self.spots = pa.FixedSizeListArray.from_arrays(pa.array(self.matrix.reshape(-1)), WIDTH)
        self.texts = pa.array([" ".join(row) for row in vocabulary[picks]], pa.large_string())
        self.place = place
        self.store = LanceStore(place)
        columns = {"entity_id": self.ids, "memory__spot": self.spots, "memory__text": self.texts}
        kinds = {name: Column(one.cast(TABLE.schema.field(name).type)) for name, one in columns.items()}
        self.store.commit(
            [TickCommit(SEGMENT, 0, {TABLE.name: Rows(Snapshot(TABLE, kinds, rows), None)}, rows + 1, {})]
        )
        near = self.matrix[draw.integers(0, rows, QUERIES)]
        self.vectors = [
            self.question("memory__spot", tuple((one + 0.3 * draw.normal(size=WIDTH)).tolist())) for one in near
        ]
        self.words = [
            self.question("memory__text", " ".join(vocabulary[draw.integers(100, 1_000, 2)])) for _ in range(QUERIES)
        ]

    def question(self, column: str, query: Any) -> Search:
        """A search in the only tick."""
        return Search(TABLE.name, SEGMENT, 0, column, query, K)

    def live(self, search: Search) -> pa.Table:
        """Rank rows in memory."""
        values = self.texts if isinstance(search.query, str) else self.spots
        return rank(self.ids, values, search)

    def ask(self, search: Search) -> pa.Table:
        """Search the store, whichever handle is open."""
        return self.store.search(search)

    def plainly(self, search: Search) -> list[tuple[int, float]]:
        """Rank vectors in double precision throughout."""
        asked = np.asarray(search.query)
        scores = np.empty(len(self.matrix))
        for begin in range(0, len(scores), 16_384):
            part = self.matrix[begin : begin + 16_384].astype(np.float64)
            norms = np.sqrt((part**2).sum(axis=1)) * np.sqrt(float(asked @ asked))
            scores[begin : begin + len(part)] = (part * asked).sum(axis=1) / norms
        best = np.argsort(-scores, kind="stable")[:K]
        return [(int(row) + 1, float(scores[row])) for row in best]


def pairs(found: pa.Table) -> list[tuple[int, float]]:
    """List entities and scores."""
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def turn(ask: Callable[[Search], pa.Table], searches: list[Search]) -> Callable[[], Awaitable[None]]:
    """Make a function that runs the next search each time."""
    waiting = iter(searches * 100)

    async def work() -> None:
        ask(next(waiting))

    return work


def check(scene: Scene, searches: list[Search]) -> None:
    """Compare what the store finds with the live answer, and vectors with double precision."""
    for search in searches:
        best = pairs(scene.ask(search))
        assert best == pairs(scene.live(search))
        if not isinstance(search.query, str):
            assert best == scene.plainly(search)


def batch(scene: Scene) -> tuple[Callable[[], None], Callable[[], None]]:
    """Make two functions that rank a hundred vectors in memory: at once, and one by one."""
    searches = [replace(one, query=tuple(row)) for one in scene.vectors[:1] for row in scene.matrix[:100].tolist()]
    assert [pairs(one) for one in rank_each(scene.ids, scene.spots, searches)] == [
        pairs(scene.live(one)) for one in searches
    ]

    def at_once() -> None:
        rank_each(scene.ids, scene.spots, searches)

    def alone() -> None:
        for one in searches:
            scene.live(one)

    return at_once, alone


async def at(place: Path, rows: int, count: int) -> dict[str, float]:
    """Measure the figures for so many rows."""
    scene = Scene(place, rows)
    found: dict[str, float] = {}
    works: dict[str, Callable[[], Awaitable[Any]]] = {}
    for name, searches in (("vectors", scene.vectors), ("texts", scene.words)):
        check(scene, searches[:5])
        scene.store.close()
        scene.store = LanceStore(place)
        found[f"{name}_reopened_ms"] = 1e3 * _measure.timed(partial(scene.ask, searches[0]))[0]
        works[f"{name}_live"] = turn(scene.live, searches)
        works[f"{name}_exact"] = turn(scene.ask, searches)
    at_once, alone = batch(scene)
    found["batch_100_ms"], found["alone_100_ms"] = (1e3 * _measure.timed(one)[0] for one in (at_once, alone))
    found["batch_of_alone"] = found["batch_100_ms"] / found["alone_100_ms"]
    median = await _measure.rounds(count, **works)
    found.update({f"{name}_ms": value * 1e3 for name, value in median.items()})
    scene.store.close()
    return {f"{name}_{rows}": value for name, value in found.items()}


async def figures(place: Path, quick: bool) -> dict[str, float]:
    """Measure all figures, by name."""
    found: dict[str, float] = {}
    for rows, count in ((70_000, 3),) if quick else ((100_000, 15), (1_000_000, 9)):
        found.update(await at(place / str(rows), rows, count))
    return found


def bounds(quick: bool) -> dict[str, _measure.Bound]:
    """The limits of the full form."""
    return {} if quick else {"vectors_live_ms_1000000": ("<=", 300.0)}


if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    with _journal.place(options.dir) as directory:
        _measure.report("search", asyncio.run(figures(directory, options.quick)), bounds(options.quick), options.out)
