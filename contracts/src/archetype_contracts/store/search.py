"""Clauses on search: exact and approximate ranking of the rows of a tick, and stores that do not search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_contracts.assertion import ClauseFailed, require, require_equal, require_refusal
from archetype_contracts.sample import MOTTO, mottos, rows
from archetype_contracts.script import Script
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.errors import TickNotFound, UnsupportedCapability
from archetype_core.read import METRICS, SCORE
from archetype_core.schema import Archetype, Component, Vector
from archetype_core.store import Capability, Search, SearchStore, Store


class Memory(Component):
    """A vector, or none."""

    embedding: Vector(2) | None = None  # type: ignore[valid-type]  # reason: `Vector(2)` is a call


MEMORY = Archetype.of(Memory)
_WORDS = ("red", "fox", "wolf", "sea", "the", "a")


def _searched(store: Store) -> SearchStore:
    if not isinstance(store, SearchStore):
        raise ClauseFailed(f"expected the verb search, because SEARCH is claimed, but {type(store).__name__} lacks it")
    return store


@clause("S-907", "A store that does not claim search lacks the verb or refuses it.", lacks=Capability.SEARCH)
def no_search(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(mottos({1: ("a word", b"", 1)}))])
    store = subject.store.inner
    if isinstance(store, SearchStore):
        search = Search(MOTTO.name, script.segment, 0, "motto__text", "word", 1)
        require_refusal(UnsupportedCapability, lambda: store.search(search), capability=Capability.SEARCH)


@clause(
    "S-910",
    "An approximate search returns active rows of its tick, with the same scores as an exact search.",
    needs=[Capability.SEARCH, Capability.TIME_TRAVEL],
)
def search_that_may_miss(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    draw = np.random.default_rng(0)
    points = {number: draw.normal(size=2).tolist() for number in range(1, 201)}
    texts = {1_000 + number: (" ".join(draw.choice(_WORDS, 5)), b"", 1) for number in points}
    moved = {number: [-x, y] for number, (x, y) in points.items() if number % 3}
    gone = {number: point for number, point in points.items() if not number % 3}
    allowed = pa.array(sorted(points)[::7], pa.int64())
    questions: list[tuple[str, str, Any, str, Any]] = [
        (MEMORY.name, "memory__embedding", (0.6, -1.2), metric, ids) for metric in METRICS for ids in (None, allowed)
    ]
    questions.append((MOTTO.name, "motto__text", "fox wolf", "cosine", None))
    for written in (
        [rows(MEMORY, points), mottos(texts)],
        [],
        [rows(MEMORY, moved, gone=gone)],
        [mottos(dict.fromkeys(texts, ("a fox", b"", 1)))],
    ):
        store.commit([script.tick(*written)])
        # Ask about older ticks and repeat earlier questions: an index must not mix them up.
        for tick in (script.last, *range(script.last)):
            for name, column, query, metric, ids in questions:
                search = Search(name, script.segment, tick, column, query, 8, metric, ids, exact=False)
                _require_found(store.inner, search, len(points))


def _require_found(store: Store, search: Search, rows: int) -> None:
    every = _pairs(store, replace(search, k=rows, exact=True))
    found = _pairs(store, search)
    some = "all" if search.entity_ids is None else "some"
    about = f"at tick {search.tick} in {search.column} by {search.metric} among {some} entities"
    require(len(found) <= search.k, f"expected at most {search.k} rows {about}, but {len(found)} were found")
    require(bool(found) or not every, f"expected some of {every[:5]} {about}, but nothing was found")
    unexpected = [one for one in found if one not in every]
    require(not unexpected, f"expected only results of an exact search {about}, but also found {unexpected}")
    require_equal([one for one in every if one in found], found, f"results, best first, {about}")


def _pairs(store: Store, search: Search) -> list[tuple[int, float]]:
    found = _searched(store).search(search)
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


def _require_best(store: Store, search: Search, expected: list[tuple[int, float]], about: str) -> None:
    found = _searched(store).search(search)
    require_equal(["entity_id", SCORE], found.column_names, "columns of the result")
    require_equal([pa.int64(), pa.float64()], found.schema.types, "types of the result")
    actual = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    require_equal([one for one, _ in expected], [one for one, _ in actual], f"entities, best first, {about}")
    for (entity_id, right), (_, score) in zip(expected, actual, strict=True):
        require(abs(right - score) <= 1e-9, f"expected score {right} of entity {entity_id} {about}, but it is {score}")


_NEEDS = [Capability.SEARCH, Capability.TIME_TRAVEL]


@clause(
    "S-908",
    "A search ranks exactly the active rows of its tick, written at that tick or carried.",
    needs=_NEEDS,
)
def search_by_vector(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    store.commit([script.tick(rows(MEMORY, {1: [3.0, 4.0], 2: [1.0, 0.0], 3: None, 4: [1.0, 0.0]}))])
    store.commit(
        [script.tick(), script.tick(rows(MEMORY, {1: [0.0, 2.0], 3: [float("nan"), 0.0]}, gone={2: [1.0, 0.0]}))]
    )
    fork = script.fork("fork", at=1)
    store.commit([fork.tick(mottos({9: ("", b"", 1)}))])

    def ask(tick: int, expected: list[tuple[int, float]], of: Script = script, **more: object) -> None:
        made = {"k": 9, "metric": "dot", "query": (1.0, 0.0), **more}
        search = Search(MEMORY.name, of.segment, tick, "memory__embedding", **made)  # type: ignore[arg-type]  # reason: its fields
        _require_best(store.inner, search, expected, f"at tick {tick} of {of.name!r}, {more}")

    for tick in (0, 1):
        ask(tick, [(1, 3.0), (2, 1.0), (4, 1.0)])
        ask(tick, [(2, 1.0), (4, 1.0), (1, 0.6)], metric="cosine")
        ask(tick, [(2, 0.0), (4, 0.0), (1, -(20.0**0.5))], metric="l2")
    ask(2, [(1, 0.0)])
    ask(2, [(1, 3.0), (2, 1.0), (4, 1.0)], of=fork)
    ask(0, [(1, 3.0)], k=1)
    ask(0, [(4, 1.0)], entity_ids=pa.array([3, 4, 77], pa.int64()))
    beyond = Search(MEMORY.name, script.segment, 3, "memory__embedding", (1.0, 0.0), 1)
    require_refusal(TickNotFound, lambda: _searched(store.inner).search(beyond))


@clause(
    "S-909",
    "A search for words finds the texts of a tick that have any of the words, rare words and short texts first.",
    needs=_NEEDS,
)
def search_by_words(subject: StoreSubject) -> None:
    store, script = subject.store, Script()
    texts = {1: "The red fox", 2: "a FOX, and another fox", 3: "foxes", 4: None, 5: "über alles", 6: ""}
    store.commit([script.tick(mottos({number: (text, b"", 1) for number, text in texts.items()}))])
    store.commit([script.tick(mottos({1: ("nothing", b"", 1)}))])

    def best(query: str, tick: int = 0, k: int = 9) -> list[int]:
        found = _searched(store.inner).search(Search(MOTTO.name, script.segment, tick, "motto__text", query, k))
        scores = found.column(SCORE).to_pylist()
        require_equal(sorted(scores, reverse=True), scores, "scores in order")
        return [int(one) for one in found.column("entity_id").to_pylist()]

    require_equal([2, 1], best("fox"), "entities found by a word")
    require_equal([1, 2], best("red fox"), "entities found by a rare and a common word")
    require_equal([1], best("red fox", k=1), "the best entity")
    require_equal([5], best("ÜBER"), "entities found with another letter case")
    require_equal([], best("wolf"), "entities found by a word that no text has")
    require_equal([], best("fox", tick=1), "entities found after the texts changed")
