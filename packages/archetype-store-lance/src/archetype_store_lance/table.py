"""One Lance table: written, read and kept small at versions that the log names, whatever others lie beside them."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.schema import ENTITY_ID
from archetype_core.store import BASE_FIELDS
from archetype_journal import make_directory, sync_directory, sync_path
from archetype_store_lance.engine import Overtaken, load, reading, writing
from archetype_store_lance.place import Place
from archetype_store_lance.row_layout import Positions
from archetype_store_lance.state import Files, TableState

_FORMAT = "2.2"
"""The oldest file format that has every type that a component may have."""
_FRAGMENT_ROWS = 1 << 20
_WRITERS = 2
"""So many fragments are written at a time, and their rows are in memory meanwhile."""
_NEWEST = (1 << 64) - 1
_HINT = "latest_version_hint.json"
_DATA, _VERSIONS = "data", "_versions"
_PIECE_ROWS = 65_536
_CACHED = 64 << 20
"""Bytes of what it knows of files that the engine keeps; by itself it would keep gigabytes."""
# Reading a row that stands alone costs as much as reading so many that lie side by side.
_LONE = 1_250
_SMALL = (4_096, 65_536, _FRAGMENT_ROWS >> 2)
"""Fragments with fewer rows than one of these are brought together once there are many of them in a row, or enough."""
MANY = 16


@dataclass(frozen=True, slots=True)
class Change:
    """What a write made of a table."""

    version: int
    rows: int
    added: Files
    removed: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The change as a part of a header."""
        return {"version": self.version, "rows": self.rows, "added": self.added, "removed": self.removed}


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a Lance table: the base columns, then the archetype's own."""
    own = [field for field in schema if field.name != ENTITY_ID]
    return pa.schema([*BASE_FIELDS.values(), *own], schema.metadata)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A version of a table, and the positions at which each of its fragments ends.

    Threads share the engine's handle, so nothing that changes a handle (restore, compaction) may be asked of this one:
    meanwhile it could not even be read from.
    """

    dataset: Any
    version: int
    ends: Positions
    names: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, dataset: Any) -> _Opened:
        """Look at the fragments of a version."""
        fragments = dataset.get_fragments()
        ends: Positions = np.cumsum([one.count_rows() for one in fragments], dtype=np.int64)
        names = tuple(tuple(f"{_DATA}/{file.path}" for file in one.data_files()) for one in fragments)
        return cls(dataset, dataset.version, ends, names)

    def files(self, positions: Positions, *, between: bool) -> Iterator[str]:
        """The files that hold some positions, or all from the first to the last of them."""
        found = np.unique(np.searchsorted(self.ends, positions, side="right"))
        for index in range(int(found[0]), int(found[-1]) + 1) if between else found:
            if index < len(self.names):
                yield from self.names[index]


class Tables:
    """All Lance tables of a place, over one session of the engine."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._lance = load()
        self._options = dict(place.options) or None
        self._lock = threading.Lock()
        self._sound: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Drop what is cached of tables: a version may be made anew under a number that was used before."""
        with self._lock:
            self._session = self._lance.Session(index_cache_size_bytes=_CACHED, metadata_cache_size_bytes=_CACHED)
            self._open: dict[str, _Opened] = {}

    def uri(self, name: str) -> str:
        """Where a table is."""
        return f"{self.place.root}/{name}.lance"

    def directory(self, name: str) -> Path | None:
        """Where a table is on this machine."""
        return self.place.local / f"{name}.lance" if self.place.local else None

    # Reading.

    def at(self, table: TableState) -> Any:
        """The table as the log has it, its manifest looked at."""
        return self._opened(table).dataset

    def _opened(self, table: TableState) -> _Opened:
        with self._lock:
            cache = self._open
            found = cache.get(table.name)
            if found is not None and found.version == table.version:
                return found
        self._check(table, _manifests(table))
        with reading(self.uri(table.name)):
            made = _Opened.of(self._handle(table))
        with self._lock:
            # Where everything was forgotten meanwhile, into what is forgotten.
            cache[table.name] = made
        return made

    def _handle(self, table: TableState) -> Any:
        """A handle of the engine on the table as the log has it, for the caller alone."""
        with self._lock:
            session = self._session
        uri = self.uri(table.name)
        return self._lance.dataset(uri, version=table.version, session=session, storage_options=self._options)

    def _check(self, table: TableState, names: Iterable[str], *, anew: bool = False) -> None:
        """Compare files with what the log says of them, each once, or once more."""
        directory = self.directory(table.name)
        for name in names:
            key = f"{table.name}/{name}"
            if directory is None or (key in self._sound and not anew):
                continue
            known = table.files.get(name)
            problem = "the log does not know of it" if known is None else damage(directory / name, *known)
            if problem is not None:
                raise CorruptStore(str(directory / name), problem)
            self._sound.add(key)

    def read(self, table: TableState, positions: Positions, columns: Sequence[str]) -> pa.Table:
        """The rows at some positions, in that order; the files that they lie in are looked at once."""
        opened = self._opened(table)
        names = list(columns)
        low, high = int(positions.min()), int(positions.max())
        span, count = high - low + 1, len(positions)
        pieces = 1 + int(np.count_nonzero(np.diff(positions) != 1))
        alone = span > max(_LONE * pieces, 4 * count)
        self._check(table, opened.files(positions if alone else np.array([low, high]), between=not alone))
        with reading(self.uri(table.name)):
            if alone:
                found = opened.dataset.take(pa.array(positions), columns=names)
            else:
                scanner = opened.dataset.scanner(columns=names, offset=low, limit=span, batch_size=_PIECE_ROWS)
                found = scanner.to_table()
                if found.num_rows == span and (pieces > 1 or span != count):
                    found = found.combine_chunks().take(pa.array(positions - low))
            if found.num_rows != count:
                raise CorruptStore(self.uri(table.name), f"rows {low} to {high} are not all there")
            return found

    def rows(self, table: TableState, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Some columns of all rows, or all of them, as they lie."""
        with reading(self.uri(table.name)):
            yield from self.at(table).scanner(columns=columns, batch_size=_PIECE_ROWS).to_batches()

    def fragments(self, table: TableState) -> dict[str, tuple[int, int]]:
        """The positions of the rows of each data file, from and to."""
        with reading(self.uri(table.name)):
            opened = _Opened.of(self._handle(table))
        begins = [0, *opened.ends.tolist()]
        return {name: (begins[index], begins[index + 1]) for index, names in enumerate(opened.names) for name in names}

    # Writing.

    def append(self, table: TableState, rows: Iterator[pa.RecordBatch]) -> Change:
        """Rows after those that count, as a new version; ``Overtaken`` if somebody else wrote meanwhile."""
        uri = self.uri(table.name)
        schema = stored_schema(table.schema)
        with writing(uri):
            if table.version is None:
                return self._create(table, rows, schema)
            self._drop_leftovers(table)
            dataset = self.at(table)
            if dataset.latest_version != table.version:
                # Elsewhere than on this machine others' attempts stay; this makes what counts the newest once more.
                dataset = self._handle(table)
                dataset.restore()
            base = dataset.version
            fragments = self._write(rows, dataset, schema, "append")
            made = self._commit(dataset, self._lance.LanceOperation.Append(fragments), base)
            return self._written(table, made, fragments, base)

    def _create(self, table: TableState, rows: Iterator[pa.RecordBatch], schema: pa.Schema) -> Change:
        uri, directory = self.uri(table.name), self.directory(table.name)
        if directory is not None:
            # Of a writer that was killed before its first commit counted.
            if directory.exists():
                shutil.rmtree(directory)
                self.forget()
            make_directory(directory)
        # Elsewhere than on this machine there may be one that does not count either.
        fragments = self._write(rows, uri, schema, "create" if directory else "overwrite")
        made = self._lance.LanceDataset.commit(
            uri, self._lance.LanceOperation.Overwrite(schema, fragments), storage_options=self._options
        )
        return self._written(table, made, fragments, 0)

    def _write(self, batches: Iterable[pa.RecordBatch], where: Any, schema: pa.Schema, mode: str) -> list[Any]:
        """New fragments with some rows, in order; two at a time, since the engine encodes a fragment on one core."""
        made: list[Any] = []
        with ThreadPoolExecutor(_WRITERS, "archetype-lance-write") as pool:
            under_way: deque[Future[list[Any]]] = deque()
            for part in _parts(batches):
                if len(under_way) == _WRITERS:
                    made += under_way.popleft().result()
                reader = pa.RecordBatchReader.from_batches(schema, part)
                under_way.append(pool.submit(self._write_part, reader, where, schema, mode))
            for one in under_way:
                made += one.result()
        return made

    def _write_part(self, reader: pa.RecordBatchReader, where: Any, schema: pa.Schema, mode: str) -> list[Any]:
        """A new fragment with some rows."""
        fragments: list[Any] = self._lance.fragment.write_fragments(
            reader,
            where,
            schema=schema,
            mode=mode,
            data_storage_version=_FORMAT,
            max_rows_per_file=_FRAGMENT_ROWS,
            storage_options=self._options,
        )
        return fragments

    def _commit(self, dataset: Any, operation: Any, base: int) -> Any:
        """The version after one that is known."""
        made = self._lance.LanceDataset.commit(dataset, operation, read_version=base, storage_options=self._options)
        if made.version != base + 1:
            raise Overtaken
        return made

    def _written(
        self, table: TableState, made: Any, fresh: Iterable[Any], base: int, gone: Iterable[str] = ()
    ) -> Change:
        """What a version made of a table whose files are on disk from here on."""
        added = self._settle(table.name, [file for one in fresh for file in one.files], base, made.version)
        opened = _Opened.of(made)
        with self._lock:
            self._open[table.name] = opened
        return Change(made.version, int(opened.ends[-1]), added, (*gone, *_manifests(table)))

    def _settle(self, name: str, files: Iterable[Any], base: int, version: int) -> Files:
        """Put new files on disk, with the names that lead to them; what is known of them from then on."""
        directory = self.directory(name)
        if directory is None:
            return {f"{_DATA}/{file.path}": (file.file_size_bytes, "") for file in files}
        added: dict[str, tuple[int, str]] = {}
        for file in files:
            path = directory / _DATA / file.path
            sync_path(path)
            size = path.stat().st_size
            # The engine does not notice where the last write of a file fails.
            if size != file.file_size_bytes:
                raise CommitError(f"{path} has {size} of {file.file_size_bytes} bytes; is there room on the disk?")
            added[f"{_DATA}/{file.path}"] = (size, digest_of(path))
        versions = directory / _VERSIONS
        for path in versions.iterdir():
            number = version_of(path)
            if number is not None and base < number <= version:
                sync_path(path)
                if number == version:
                    added[f"{_VERSIONS}/{path.name}"] = (path.stat().st_size, digest_of(path))
        self._sound.update(f"{name}/{one}" for one in added)
        for place in (directory / _DATA, versions, directory / "_transactions", directory):
            if place.is_dir():
                sync_directory(place)
        return added

    def _drop_leftovers(self, table: TableState) -> None:
        """Remove versions after the one that counts; nobody else writes to a place on this machine meanwhile."""
        directory = self.directory(table.name)
        if directory is None or table.version is None:
            return
        for path in (directory / _VERSIONS).iterdir():
            number = version_of(path)
            if number is None or number > table.version:
                if path.name == _HINT and path.read_bytes() == b'{"version":%d}' % table.version:
                    continue
                path.unlink(missing_ok=True)
                if number is not None:
                    self.forget()

    # Keeping it small.

    def scattered(self, table: TableState, *, whole: bool = False) -> slice | None:
        """Fragments side by side that are worth bringing together, no more of them than make one whole fragment.

        So much is written again at a time, however large the table is, and no row more often than there are sizes.
        """
        sizes = np.diff(self._opened(table).ends, prepend=0).tolist()
        for small in (_FRAGMENT_ROWS,) if whole else _SMALL:
            for found, full in _neighbours(sizes, small):
                if whole or full or found.stop - found.start >= MANY:
                    return found if whole else slice(found.start, min(found.stop, found.start + MANY))
        return None

    def compact(self, table: TableState, which: slice) -> Change:
        """Bring fragments that lie side by side together, as a new version with the same rows in the same order.

        The engine's own compaction puts what it made behind everything else, and rows are found by where they lie.
        """
        schema = stored_schema(table.schema)
        with writing(self.uri(table.name)):
            self._drop_leftovers(table)
            dataset = self.at(table)
            if dataset.latest_version != table.version:
                raise Overtaken
            fragments = dataset.get_fragments()
            chosen = fragments[which]
            gone = [f"{_DATA}/{file.path}" for one in chosen for file in one.data_files()]
            # However sound they were before: what is written now gets a checksum of its own.
            self._check(table, gone, anew=True)
            scanner = dataset.scanner(columns=schema.names, fragments=chosen, batch_size=_PIECE_ROWS)
            fresh = self._write_part(scanner.to_reader(), dataset, schema, "append")
            parts = [one.metadata for one in fragments]
            parts[which] = fresh
            for one in parts:
                # The engine keeps fragments in the order of their numbers, and numbers those that have none.
                one.id = 0
            made = self._commit(dataset, self._lance.LanceOperation.Overwrite(schema, parts), dataset.version)
            change = self._written(table, made, fresh, dataset.version, gone)
            if change.rows != table.rows:
                raise CommitError(f"the engine made {change.rows} rows of {table.rows}")
            return change

    def sweep(self, table: TableState, grace: timedelta) -> None:
        """Remove versions but the one that counts, and files that it does not have.

        On this machine that is all at once: nobody writes meanwhile, and who reads an older version reads on in this one.
        Elsewhere others may be in the middle of writing, so it takes what the engine has known for long to be unused.
        """
        directory = self.directory(table.name)
        if table.version is None or (directory is not None and not directory.is_dir()):
            return
        with writing(self.uri(table.name)):
            if directory is None:
                dataset = self.at(table)
                if dataset.latest_version == table.version:
                    dataset.cleanup_old_versions(older_than=grace)
                return
            self._drop_leftovers(table)
            for path in (directory / _DATA).iterdir():
                if f"{_DATA}/{path.name}" not in table.files:
                    path.unlink(missing_ok=True)
            for path in (directory / _VERSIONS).iterdir():
                if (version_of(path) or table.version) < table.version:
                    path.unlink(missing_ok=True)
            for path in (directory / "_transactions").glob("*"):
                # Of how a version came to be, for writers that meet; these here never do.
                if not path.name.startswith(f"{table.version - 1}-"):
                    path.unlink(missing_ok=True)

    def is_untidy(self, table: TableState) -> bool:
        """Whether there are files of a table on this machine that the log does not know of."""
        directory = self.directory(table.name)
        if directory is None or table.version is None:
            return False
        if not (directory / _DATA).is_dir() or not (directory / _VERSIONS).is_dir():
            return False
        if not {f"{_DATA}/{path.name}" for path in (directory / _DATA).iterdir()} <= table.files.keys():
            return True
        return any((version_of(path) or 0) > table.version for path in (directory / _VERSIONS).iterdir())

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Forget what is cached where something in here fails."""
        try:
            yield
        except BaseException:
            self.forget()
            raise


def _parts(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches by the fragment that they go into."""
    part: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        while rows + batch.num_rows > _FRAGMENT_ROWS:
            yield [*part, batch.slice(0, _FRAGMENT_ROWS - rows)]
            batch = batch.slice(_FRAGMENT_ROWS - rows)  # noqa: PLW2901  # reason: what is left of it
            part, rows = [], 0
        part.append(batch)
        rows += batch.num_rows
    if rows:
        yield part


def _neighbours(sizes: Sequence[int], small: int) -> Iterator[tuple[slice, bool]]:
    """Sizes side by side that are all small and fit into one fragment; whether it is full when the next one comes."""
    begin = rows = 0
    for index, size in enumerate([*sizes, small]):
        if size >= small or rows + size > _FRAGMENT_ROWS:
            if index - begin > 1:
                yield slice(begin, index), size < small
            begin, rows = (index + 1, 0) if size >= small else (index, 0)
        if size < small:
            rows += size


def _manifests(table: TableState) -> tuple[str, ...]:
    return tuple(name for name in table.files if name.startswith(_VERSIONS))


def damage(path: Path, size: int, digest: str) -> str | None:
    """What is wrong with a file, if anything is."""
    try:
        there = path.stat().st_size
        if there != size:
            return f"it has {there} bytes of {size}"
        if digest_of(path) != digest:
            return "its checksum does not fit its bytes"
    except FileNotFoundError:
        return "it is not there"
    except OSError as failure:
        return f"it cannot be read: {failure}"
    return None


def digest_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version_of(path: Path) -> int | None:
    """The version that a manifest is of, by its name; ``None`` for other files."""
    stem, _, suffix = path.name.partition(".")
    if suffix != "manifest" or not stem.isdigit():
        return None
    return _NEWEST - int(stem) if len(stem) == 20 else int(stem)
