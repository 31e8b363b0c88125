"""Indexes of what past ticks show, kept beside the tables as a cache: whatever happens to them, no answer is wrong or fails.

Rows never move in their table, so an index of those that stand at a tick serves every tick at which they stand, for good. An
index is built by the first search that may use one, in a directory that gets its name once it is whole. It tells which rows may
be among the best; those are read from the table and scored as ever. Where anything is amiss there is no answer from here, and
the caller looks at all rows.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from archetype_core.errors import ArchetypeError
from archetype_core.schema import ENTITY_ID, contiguous
from archetype_store_lance.engine import reading
from archetype_store_lance.index import Index, Unfit, build, digest_of_texts
from archetype_store_lance.row_layout import Positions, Tile
from archetype_store_lance.state import TableState
from archetype_store_lance.table import Tables

if TYPE_CHECKING:
    from archetype_core.store import Search

DIRECTORY = "_recall"
LEAST_ROWS = 65_536
"""Fewer rows are ranked as fast as an index is asked."""
MOST_INDEXES = 8
_UNFINISHED = ".part"
_FORMAT = 1
# So many times the rows that are wanted are scored, and so many at least and at most.
_TIMES, _LEAST_SCORED, _MOST_SCORED = 4, 64, 8_192

_METRICS = ("cosine", "dot", "l2")
# Lengths of a vector whose square single precision holds.
_SHORTEST, _LONGEST = 1e-18, 1e18

_log = logging.getLogger("archetype.lance")


class Recall:
    """The indexes of one place on this machine."""

    def __init__(self, place: Path, tables: Tables) -> None:
        self._root = place / DIRECTORY
        self._tables = tables
        self._mutex = threading.Lock()
        self._open: dict[str, Index] = {}
        self._hopeless: set[str] = set()

    def answer(self, search: Search, table: TableState, tile: Tile, tick: int) -> pa.Table | None:
        """The best of a tile's rows at a tick, found by an index; ``None`` where all rows have to be looked at."""
        count = _scored(search, tile.live)
        if count is None or not _fits(search, table):
            return None
        name = _name(search, table, tile, tick)
        with self._mutex:
            if name in self._hopeless:
                return None
        try:
            with reading(str(self._root / name)):
                return self._answer(name, count, search, table, tile.live_at(tick, tick))
        except ArchetypeError as failure:
            _log.info("a search looks at all rows: %s", failure)
            # What is wrong shows where it is opened again.
            with self._mutex:
                self._open.pop(name, None)
            return None

    def _answer(
        self, name: str, count: int, search: Search, table: TableState, positions: Positions
    ) -> pa.Table | None:
        from archetype_core.read import FOUND, rank

        index = self._index(name, search, table, positions)
        if index is None:
            return None
        offsets = index.nearest(search.query, count)
        # Words are in no other rows than those told, unless as many were told as were asked for.
        is_whole = index.corpus is not None and len(offsets) < count
        if not len(offsets):
            return FOUND.empty_table() if is_whole else None
        rows = self._tables.read(table, positions[offsets], [ENTITY_ID, search.column])
        best = rank(contiguous(rows.column(0)), contiguous(rows.column(1)), search, index.corpus)
        return best if best.num_rows == search.k or is_whole else None

    def _index(self, name: str, search: Search, table: TableState, positions: Positions) -> Index | None:
        """The index of some rows, built if there is none; ``None`` if it cannot be, or somebody else is about to."""
        with self._mutex:
            found = self._open.get(name)
        path = self._root / name
        if found is None:
            values = None
            if not path.is_dir():
                values = self._column(search, table, positions)
                if not self._build(name, values, search):
                    return None
            try:
                with reading(str(path)):
                    found = Index.open(path)
            except ArchetypeError:
                self._drop(name)
                raise
            if found.content is not None:
                # A backup may have been put in place of what was indexed, and how often words are is believed.
                values = self._column(search, table, positions) if values is None else values
                if digest_of_texts(values) != found.content:
                    self._drop(name)
                    return None
            with self._mutex:
                self._open[name] = found
                for oldest in list(self._open)[:-MOST_INDEXES]:
                    del self._open[oldest]
        with suppress(OSError):
            os.utime(path)
        return found

    def _column(self, search: Search, table: TableState, positions: Positions) -> pa.Array:
        return contiguous(self._tables.read(table, positions, [search.column]).column(0))

    def _build(self, name: str, values: pa.Array, search: Search) -> bool:
        """Make an index, unless somebody makes one at this moment."""
        with self._alone() as alone:
            if not alone:
                return False
            path = self._root / name
            if path.is_dir():
                return True
            part = self._root / f"{name}.{secrets.token_hex(4)}{_UNFINISHED}"
            try:
                build(part, values, None if isinstance(search.query, str) else search.metric)
                part.rename(path)
            except BaseException as failure:
                shutil.rmtree(part, ignore_errors=True)
                with self._mutex:
                    self._hopeless.add(name)
                if isinstance(failure, Unfit):
                    return False
                raise
            self._drop_oldest()
        return True

    # Keeping few.

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether nobody else changes what is here meanwhile, in this process or another of the machine."""
        self._root.mkdir(exist_ok=True)
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def _drop_oldest(self) -> None:
        """Remove those that were not used for longest."""
        paths = [path for path in self._root.iterdir() if path.is_dir() and path.suffix != _UNFINISHED]
        for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns)[:-MOST_INDEXES]:
            self._remove(path)

    def _drop(self, name: str) -> None:
        """Remove one that is of no use; the next search builds it anew."""
        with self._mutex:
            self._open.pop(name, None)
        with suppress(OSError), self._alone() as alone:
            if alone and (self._root / name).is_dir():
                self._remove(self._root / name)

    def _remove(self, path: Path) -> None:
        # It is gone at once, however long it takes.
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
        path.rename(part)
        shutil.rmtree(part, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what killed processes left, and more indexes than are kept."""
        with suppress(OSError):
            if not self._root.is_dir():
                return
            with self._alone() as alone:
                if alone:
                    for path in self._root.glob(f"*{_UNFINISHED}"):
                        shutil.rmtree(path, ignore_errors=True)
                    self._drop_oldest()

    def clear(self) -> None:
        """Remove all: they are of a store that was here before."""
        shutil.rmtree(self._root, ignore_errors=True)


def _scored(search: Search, rows: int) -> int | None:
    """How many rows an index is asked for; ``None`` where all are to be looked at."""
    if rows < LEAST_ROWS or (isinstance(search.query, str) and search.entity_ids is not None):
        # Texts are scored among those of the entities allowed, of which an index knows nothing.
        return None
    count = max(_TIMES * search.k, _LEAST_SCORED)
    if search.entity_ids is not None:
        # So many that enough of those allowed are among them.
        count = count * rows // max(1, len(search.entity_ids))
    return count if count <= _MOST_SCORED else None


def _fits(search: Search, table: TableState) -> bool:
    """Whether a question is one that an index of the engine can be asked."""
    if search.column not in table.schema.names:
        return False
    kind = table.schema.field(search.column).type
    if isinstance(search.query, str):
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if not (pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32()):
        return False
    length = math.hypot(*search.query)
    return search.metric in _METRICS and kind.list_size == len(search.query) and _SHORTEST < length < _LONGEST


def _name(search: Search, table: TableState, tile: Tile, tick: int) -> str:
    """The name of an index, made of all that it depends on."""
    import lance

    metric = None if isinstance(search.query, str) else search.metric
    key = (_FORMAT, lance.__version__, table.name, search.column, metric, tile.start + tick - tile.first)
    return hashlib.blake2b(repr((*key, tile.ticks, tile.live, tile.ids)).encode(), digest_size=16).hexdigest()
