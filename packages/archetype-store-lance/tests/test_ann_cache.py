"""Indexes of past ticks: they find nearly all of the best, serve other ticks and handles, and no harm to them harms an answer."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from archetype_contracts.script import Script
from archetype_core import World, open_store
from archetype_core.errors import TickNotFound
from archetype_core.read import METRICS
from archetype_core.schema import Archetype, Column, Component, Snapshot, Vector
from archetype_core.store import Rows, Search
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, verify
from archetype_store_lance.ann_cache import DIRECTORY, LEAST_ROWS, MOST_INDEXES

ROWS = LEAST_ROWS + 1_000
WIDTH = 16
WORDS = ["the", "red", "fox", "über", "whale_1", "Sea", "naïve", "कि", "x" * 60]


class Note(Component):
    """A text and a vector, each of which may be none."""

    text: str | None = None
    spot: Vector(WIDTH) | None = None  # type: ignore[valid-type]  # reason: a vector's type is made by a call


class Mark(Component):
    """Something else."""

    value: float = 0.0


NOTE, MARK = Archetype.of(Note), Archetype.of(Mark)


def notes(seed: int = 1, count: int = ROWS) -> Rows:
    """Clustered vectors and texts of few words, with nulls, zeros and no numbers among them."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(200, WIDTH))
    matrix = (centres[draw.integers(0, 200, count)] + 0.3 * draw.normal(size=(count, WIDTH))).astype(np.float32)
    matrix[5], matrix[6], matrix[7, 3] = np.nan, 0.0, np.inf
    gone = np.zeros(count, bool)
    gone[[8, 9, 100]] = True
    spot = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), WIDTH, mask=pa.array(gone))
    picks = np.minimum(draw.geometric(0.35, size=(count, 4)) - 1, len(WORDS) - 1)
    texts = [", ".join(WORDS[one] for one in row) for row in picks]
    texts[3], texts[4] = "unheard of", ""
    text = pa.array([None if none else one for none, one in zip(gone, texts, strict=True)], pa.large_string())
    ids = pa.array(draw.permutation(count).astype(np.int64) + 1)
    columns = {
        "entity_id": ids,
        "note__text": text.cast(NOTE.schema.field("note__text").type),
        "note__spot": spot.cast(NOTE.schema.field("note__spot").type),
    }
    return Rows(Snapshot(NOTE, {name: Column(one) for name, one in columns.items()}, count), None)


def mark(value: float) -> Rows:
    """A row of the other table."""
    columns = {"entity_id": Column(pa.array([ROWS + 5], pa.int64())), "mark__value": Column(pa.array([value]))}
    return Rows(Snapshot(MARK, columns, 1), None)


class Scene:
    """A store with many notes at its first tick, which stand at two more, and are others at the fourth."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = LanceStore(place)
        self.script = Script()
        rows = notes()
        self.vectors = rows.live.columns["note__spot"].arrow
        self.ids = rows.live.columns["entity_id"].arrow
        self.store.commit([self.script.tick(rows)])
        self.store.commit([self.script.tick(mark(1.0))])
        self.store.commit([self.script.tick(mark(2.0)), self.script.tick(notes(2))])

    @property
    def indexes(self) -> list[Path]:
        """The directories of indexes, and what is left of any."""
        root = self.place / DIRECTORY
        return [one for one in root.iterdir() if one.is_dir()] if root.is_dir() else []

    def vector(self, row: int) -> tuple[float, ...]:
        """A query near a row."""
        return tuple(one + 0.01 for one in self.vectors[row].as_py())

    def search(self, query: Any, tick: int = 0, **more: Any) -> Search:
        """A request that an index may answer."""
        column = "note__text" if isinstance(query, str) else "note__spot"
        made = {"k": 10, "exact": False, **more}
        return Search(NOTE.name, self.script.segment, tick, column, query, **made)

    def both(self, search: Search, store: LanceStore | None = None) -> tuple[list[Any], list[Any]]:
        """What is found by an index, and by looking at all rows, the store the same or a model of it."""
        asked = store or self.store
        return pairs(asked.search(search)), pairs(asked.search(replace(search, exact=True)))


def pairs(found: pa.Table) -> list[Any]:
    """Entities and scores."""
    return list(zip(*(column.to_pylist() for column in found.columns), strict=True))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Return a scene that tests do no harm to."""
    scene = Scene(tmp_path_factory.mktemp("recall") / "store")
    yield scene
    scene.store.close()


@pytest.fixture
def scene(filled: Scene, tmp_path: Path) -> Iterator[Scene]:
    """Return a scene of the test's own, with one index."""
    filled.store.search(filled.search(filled.vector(1)))
    copied = tmp_path / "store"
    shutil.copytree(filled.place, copied)
    made = Scene.__new__(Scene)
    made.__dict__.update(filled.__dict__)
    made.place, made.store = copied, LanceStore(copied)
    for one in made.indexes[1:]:
        shutil.rmtree(one)
    yield made
    made.store.close()


@pytest.mark.parametrize("metric", METRICS)
def test_nearly_all_of_the_best_vectors_are_found_with_their_scores(filled: Scene, metric: str) -> None:
    """Nine of ten of the best are there, in order, and the score of every row is that of the exact way."""
    hits = 0
    for row in range(1_000, 1_020):
        search = filled.search(filled.vector(row), metric=metric)
        found, best = filled.both(search)
        assert len(found) == 10
        assert found == sorted(found, key=lambda one: (-one[1], one[0]))
        hits += len({one for one, _ in found} & {one for one, _ in best})
        alone = replace(search, exact=True, entity_ids=pa.array([one for one, _ in found], pa.int64()))
        assert pairs(filled.store.search(alone)) == found
    assert hits >= 0.9 * 200
    assert filled.indexes


@pytest.mark.parametrize("words", ["unheard", "WHALE_1 कि", "NAÏVE", "whale", "über sea", "xxx", " -"])
def test_texts_are_found_by_the_same_words_with_the_same_scores(filled: Scene, words: str) -> None:
    """Words are compared whole and in any case, ``_`` is in words, and scores are to the last bit those of the exact way."""
    found, best = filled.both(filled.search(words, k=2_000))
    assert len(found) == len(best)
    assert [score for _, score in found] == [score for _, score in best]
    # Of those that are equally good at the end any may be found.
    assert {one for one in found if one[1] > best[-1][1]} == {one for one in best if one[1] > best[-1][1]}


def test_rows_that_stand_are_found_by_the_index_they_have(filled: Scene) -> None:
    """Ticks that show the same rows share an index, forks too; a tick that wrote others has one of its own."""
    search = filled.search(filled.vector(40), metric="l2")
    first = pairs(filled.store.search(search))
    many = len(filled.indexes)
    for tick in (1, 2):
        assert pairs(filled.store.search(replace(search, tick=tick))) == first
    assert len(filled.indexes) == many
    later, best = filled.both(replace(search, tick=3))
    assert later != first
    assert len(later) == len(best) == 10
    assert len(filled.indexes) == many + 1
    with pytest.raises(TickNotFound):
        filled.store.search(replace(search, tick=4))


def test_only_entities_that_are_asked_for_are_found(filled: Scene) -> None:
    """``entity_ids`` holds before the best are chosen, for few and for many of them, also where none of them is near."""
    near = filled.search(filled.vector(70))
    ids = filled.ids.to_numpy()
    for allowed in (ids[::2], ids[::500], ids[:3], ids[:0]):
        search = replace(near, entity_ids=pa.array(allowed))
        found, best = filled.both(search)
        assert len(found) == len(best)
        assert {one for one, _ in found} <= set(allowed.tolist())
    search = filled.search("fox", entity_ids=pa.array(ids[:50]))
    found, best = filled.both(search)
    assert found == best


@pytest.mark.parametrize("query", [(0.0,) * WIDTH, (float("nan"),) * WIDTH, (1e30,) * WIDTH, (float("inf"),) * WIDTH])
def test_queries_that_no_index_can_be_asked_are_answered_by_looking(filled: Scene, query: tuple[float, ...]) -> None:
    """A query of zeros, of no numbers or beyond single precision has the exact answer, and so has what is refused."""
    many = len(filled.indexes)
    found, best = filled.both(filled.search(query, metric="dot"))
    assert found == best
    assert len(filled.indexes) == many
    with pytest.raises(ValueError, match="16 values"):
        filled.store.search(filled.search((1.0,)))


def test_an_index_serves_handles_opened_later(scene: Scene) -> None:
    """What was built is found after the place was opened again, and after rows were brought together; nothing is built anew."""
    (index,) = scene.indexes
    made = (index / "label.json").stat().st_mtime_ns
    search = scene.search(scene.vector(1))
    before = pairs(scene.store.search(search))
    scene.store.compact()
    again = LanceStore(scene.place)
    assert pairs(again.search(search)) == before
    assert scene.indexes == [index]
    assert (index / "label.json").stat().st_mtime_ns == made
    assert verify(scene.place).is_sound
    assert not verify(scene.place).findings
    again.close()


def cut(path: Path) -> None:
    """Make every file half as long."""
    for one in path.rglob("*"):
        if one.is_file():
            one.write_bytes(one.read_bytes()[: one.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change a byte of every data file."""
    for one in [*path.rglob("*.lance"), *path.rglob("*.idx")]:
        if one.is_file():
            data = bytearray(one.read_bytes())
            data[len(data) // 2] ^= 0xFF
            one.write_bytes(data)


def empty(path: Path) -> None:
    """Remove every file."""
    shutil.rmtree(path)
    path.mkdir()


def garble(path: Path) -> None:
    """Make the label say nothing."""
    (path / "label.json").write_text("[]")


@pytest.mark.parametrize("harm", [cut, flip, empty, garble, shutil.rmtree])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_damaged_index_is_not_believed(scene: Scene, harm: Callable[[Path], None], is_open: bool) -> None:
    """Whatever became of an index, in use or not, rows are found with their scores, and the next search has a sound one."""
    search = scene.search(scene.vector(1))
    if is_open:
        scene.store.search(search)
    (index,) = scene.indexes
    harm(index)
    store = scene.store if is_open else LanceStore(scene.place)
    found, best = scene.both(search, store)
    assert len(found) == 10
    assert found == best
    assert scene.both(search, store) == (found, best)
    fresh = LanceStore(scene.place)
    for _ in range(2):
        assert scene.both(search, fresh)[0] == found
    assert len(scene.indexes) == 1
    for one in {store, fresh} - {scene.store}:
        one.close()


def test_an_index_of_other_texts_is_not_believed(scene: Scene) -> None:
    """Where an index lies beside other rows than it was made of, as after a backup was put back, scores are those of the rows."""
    search = scene.search("fox sea", k=5)
    scene.store.search(search)
    other = LanceStore(scene.place.parent / "other")
    rows = notes()
    column = pa.array(["a fox"] * ROWS, NOTE.schema.field("note__text").type)
    columns = {**rows.live.columns, "note__text": Column(column)}
    other.commit([Script().tick(Rows(Snapshot(NOTE, columns, ROWS), None))])
    shutil.copytree(scene.place / DIRECTORY, scene.place.parent / "other" / DIRECTORY)
    found, best = scene.both(search, other)
    assert found == best
    assert [one for one, _ in found] == [1, 2, 3, 4, 5]
    other.close()


def test_while_somebody_builds_others_look(scene: Scene) -> None:
    """A search that would build an index while another handle or process does looks at all rows, and waits for nobody."""
    with (scene.place / DIRECTORY / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found, best = scene.both(scene.search(scene.vector(3), metric="dot"))
        assert found == best
        assert len(scene.indexes) == 1
    scene.store.search(scene.search(scene.vector(3), metric="dot"))
    assert len(scene.indexes) == 2


def test_searches_at_the_same_time_build_one_index(scene: Scene) -> None:
    """Threads and handles that all want an index that is not there are all answered, and one index is there."""
    shutil.rmtree(scene.indexes[0])
    other = LanceStore(scene.place)
    search = scene.search(scene.vector(3))
    best = pairs(scene.store.search(replace(search, exact=True)))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda store: pairs(store.search(search)), [scene.store, other] * 6))
    assert answers == [best] * 12
    assert len(scene.indexes) == 1
    other.close()


def test_where_no_index_can_be_kept_all_rows_are_looked_at(scene: Scene) -> None:
    """A place in which the directory cannot be made answers all the same."""
    shutil.rmtree(scene.place / DIRECTORY)
    (scene.place / DIRECTORY).write_bytes(b"")
    found, best = scene.both(scene.search(scene.vector(3)))
    assert found == best
    LanceStore(scene.place).close()


def test_few_indexes_are_kept(scene: Scene) -> None:
    """Opening removes what killed builders left and the indexes that were not used for longest; a new store has none."""
    (index,) = scene.indexes
    (scene.place / DIRECTORY / "0.1.part").mkdir()
    for number in range(MOST_INDEXES):
        (scene.place / DIRECTORY / f"{number}").mkdir()
    LanceStore(scene.place).close()
    assert len(scene.indexes) == MOST_INDEXES
    assert index not in scene.indexes
    assert not any(one.suffix == ".part" for one in scene.indexes)
    elsewhere = scene.place.parent / "fresh"
    shutil.copytree(scene.place / DIRECTORY, elsewhere / DIRECTORY)
    LanceStore(elsewhere).close()
    assert not (elsewhere / DIRECTORY).exists()


def test_small_ticks_have_no_index(tmp_path: Path) -> None:
    """Where looking at all rows takes no longer than asking an index there is none."""
    store, script = LanceStore(tmp_path / "store"), Script()
    store.commit([script.tick(notes(count=500))])
    search = Search(NOTE.name, script.segment, 0, "note__spot", (1.0,) * WIDTH, 3, exact=False)
    assert pairs(store.search(search)) == pairs(store.search(replace(search, exact=True)))
    assert not (tmp_path / "store" / DIRECTORY).exists()
    store.close()


def test_a_world_asks_through_its_journal(tmp_path: Path) -> None:
    """A world's search of a past tick reaches the index once its journal handed that tick over, and looks until then (Q2)."""

    async def scene() -> None:
        store = open_store(str(tmp_path))
        assert isinstance(store, JournaledStore)
        world = World(store, "recalling", seed=1)
        rows = notes().live
        world.spawn_table({name: rows.columns[name].arrow for name in ("note__text", "note__spot")}, Note)
        await world.run(2)
        query = rows.columns["note__spot"].arrow[20].as_py()

        def best(**more: Any) -> list[int]:
            found: list[int] = world.search(Note.spot, query, k=3, at=0, **more).to_pydict()["entity_id"]
            return found

        wanted = best()
        assert wanted[0] == 21
        assert best(exact=False) == wanted
        assert not (tmp_path / DIRECTORY).exists()
        store.seal()
        assert best() == wanted
        assert not (tmp_path / DIRECTORY).exists()
        assert best(exact=False)[0] == 21
        assert (tmp_path / DIRECTORY).is_dir()
        await world.close()
        store.close()

    asyncio.run(scene())
