"""The Lance tables of a store: read, appended to and compacted at the versions that the log names."""

from __future__ import annotations

import os
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.errors import CommitError, CorruptStore
from archetype_core.schema import ENTITY_ID
from archetype_core.store import BASE_FIELDS
from archetype_journal import make_directory, sync_directory, sync_path
from archetype_store_lance.address import Address
from archetype_store_lance.engine_errors import WriteConflict, reading, writing
from archetype_store_lance.fragments import DATA, TableVersion, split
from archetype_store_lance.limits import Limits
from archetype_store_lance.row_layout import Positions
from archetype_store_lance.state import Files, TableChange, TableState
from archetype_store_lance.stored_file import damage, digest_of, version_of

VERSIONS = "_versions"
"""The directory of a table's manifests."""
_FORMAT = "2.2"
"""The oldest file format with every type that a component can have."""
_WRITERS = 2
"""Fragments that are encoded at the same time, with their rows in memory."""
_LATEST = "latest_version_hint.json"
_CACHE_BYTES = 64 << 20
"""Metadata that Lance caches; its default is gigabytes."""
_ROWS_PER_SEEK = 1_250
"""Reading one row by itself costs as much as reading so many adjacent ones."""


def stored_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a Lance table: the base columns, then the archetype's own."""
    own = [field for field in schema if field.name != ENTITY_ID]
    return pa.schema([*BASE_FIELDS.values(), *own], schema.metadata)


class Tables:
    """All Lance tables of a store, over one Lance session. Opening it imports Lance, which takes a second."""

    def __init__(self, address: Address, limits: Limits | None = None) -> None:
        self.address = address
        self.limits = limits or Limits()
        self._lance = _import_lance()
        self._options = dict(address.options) or None
        self._lock = threading.Lock()
        self._sound: set[str] = set()
        self.forget()

    def forget(self) -> None:
        """Drop cached metadata: a failed write may leave a version number to be used again for other content."""
        with self._lock:
            self._session = self._lance.Session(
                index_cache_size_bytes=_CACHE_BYTES, metadata_cache_size_bytes=_CACHE_BYTES
            )
            self._open: dict[str, TableVersion] = {}

    def uri(self, name: str) -> str:
        """The address of a table."""
        return f"{self.address.root}/{name}.lance"

    def directory(self, name: str) -> Path | None:
        """The local directory of a table; ``None`` in an object store."""
        return self.address.local / f"{name}.lance" if self.address.local else None

    def opened(self, table: TableState) -> TableVersion:
        """The table at the version that the log names, its manifest checked."""
        with self._lock:
            cache = self._open
            found = cache.get(table.name)
            if found is not None and found.version == table.version:
                return found
        self._check(table, _manifests(table))
        with reading(self.uri(table.name)):
            made = TableVersion.of(self._dataset(table))
        with self._lock:
            # Into the cache taken above: if ``forget`` replaced it meanwhile, this entry is dropped with it.
            cache[table.name] = made
        return made

    def _dataset(self, table: TableState) -> Any:
        """A Lance dataset for the caller alone."""
        with self._lock:
            session = self._session
        uri = self.uri(table.name)
        return self._lance.dataset(uri, version=table.version, session=session, storage_options=self._options)

    def _check(self, table: TableState, names: Iterable[str], *, again: bool = False) -> None:
        """Compare files with their checksums in the log, each once per handle unless ``again``."""
        directory = self.directory(table.name)
        for name in names:
            key = f"{table.name}/{name}"
            if directory is None or (key in self._sound and not again):
                continue
            known = table.files.get(name)
            problem = "the log does not list it" if known is None else damage(directory / name, *known)
            if problem is not None:
                raise CorruptStore(str(directory / name), problem)
            self._sound.add(key)

    def read(self, table: TableState, positions: Positions, columns: Sequence[str]) -> pa.Table:
        """The rows at some positions, in that order; the files that hold them are checked once per handle."""
        opened = self.opened(table)
        names = list(columns)
        low, high = int(positions.min()), int(positions.max())
        span, count = high - low + 1, len(positions)
        runs = 1 + int(np.count_nonzero(np.diff(positions) != 1))
        scattered = span > max(_ROWS_PER_SEEK * runs, 4 * count)
        self._check(table, opened.files(positions if scattered else np.array([low, high]), between=not scattered))
        with reading(self.uri(table.name)):
            if scattered:
                found = opened.dataset.take(pa.array(positions), columns=names)
            else:
                batch_rows = self.limits.batch_rows
                scanner = opened.dataset.scanner(columns=names, offset=low, limit=span, batch_size=batch_rows)
                found = scanner.to_table()
                if found.num_rows == span and (runs > 1 or span != count):
                    found = found.combine_chunks().take(pa.array(positions - low))
            if found.num_rows != count:
                raise CorruptStore(self.uri(table.name), f"some of its rows {low} to {high} are missing")
            return found

    def rows(self, table: TableState, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows in stored order, with some columns or all of them."""
        names = None if columns is None else list(columns)
        with reading(self.uri(table.name)):
            scanner = self.opened(table).dataset.scanner(columns=names, batch_size=self.limits.batch_rows)
            yield from scanner.to_batches()

    def spans(self, table: TableState) -> dict[str, tuple[int, int]]:
        """The first position of each data file, and the one after its last; reads the manifest unchecked."""
        with reading(self.uri(table.name)):
            return TableVersion.of(self._dataset(table)).spans()

    def append(self, table: TableState, rows: Iterator[pa.RecordBatch]) -> TableChange:
        """Append rows as a new version; ``WriteConflict`` if another writer changed the table meanwhile."""
        uri = self.uri(table.name)
        schema = stored_schema(table.schema)
        with writing(uri):
            if table.version is None:
                return self._create(table, rows, schema)
            self._drop_later_versions(table)
            dataset = self.opened(table).dataset
            if dataset.latest_version != table.version:
                # In an object store, versions of failed commits stay. Restoring makes the live version the newest again.
                dataset = self._dataset(table)
                dataset.restore()
            base = dataset.version
            fragments = self._write(rows, dataset, schema, "append")
            made = self._commit(dataset, self._lance.LanceOperation.Append(fragments), base)
            return self._finished(table, made, fragments, base)

    def _create(self, table: TableState, rows: Iterator[pa.RecordBatch], schema: pa.Schema) -> TableChange:
        uri, directory = self.uri(table.name), self.directory(table.name)
        if directory is not None:
            # Left by a writer that was killed before its first commit counted.
            if directory.exists():
                shutil.rmtree(directory)
                self.forget()
            make_directory(directory)
        # In an object store such a leftover is overwritten.
        fragments = self._write(rows, uri, schema, "create" if directory else "overwrite")
        made = self._lance.LanceDataset.commit(
            uri, self._lance.LanceOperation.Overwrite(schema, fragments), storage_options=self._options
        )
        return self._finished(table, made, fragments, 0)

    def _write(self, batches: Iterable[pa.RecordBatch], where: Any, schema: pa.Schema, mode: str) -> list[Any]:
        """Write rows as new fragments, in order; two at a time, since Lance encodes a fragment on one core."""
        made: list[Any] = []
        with ThreadPoolExecutor(_WRITERS, "archetype-lance-write") as pool:
            running: deque[Future[list[Any]]] = deque()
            for part in split(batches, self.limits.fragment_rows):
                if len(running) == _WRITERS:
                    made += running.popleft().result()
                reader = pa.RecordBatchReader.from_batches(schema, part)
                running.append(pool.submit(self._write_fragment, reader, where, schema, mode))
            for one in running:
                made += one.result()
        return made

    def _write_fragment(self, reader: pa.RecordBatchReader, where: Any, schema: pa.Schema, mode: str) -> list[Any]:
        fragments: list[Any] = self._lance.fragment.write_fragments(
            reader,
            where,
            schema=schema,
            mode=mode,
            data_storage_version=_FORMAT,
            max_rows_per_file=self.limits.fragment_rows,
            storage_options=self._options,
        )
        return fragments

    def _commit(self, dataset: Any, operation: Any, base: int) -> Any:
        """Commit exactly the version after ``base``."""
        made = self._lance.LanceDataset.commit(dataset, operation, read_version=base, storage_options=self._options)
        if made.version != base + 1:
            raise WriteConflict
        return made

    def _finished(
        self, table: TableState, made: Any, fresh: Iterable[Any], base: int, removed: Iterable[str] = ()
    ) -> TableChange:
        """Sync the files of a new version, and describe it for the log."""
        added = self._sync(table.name, [file for one in fresh for file in one.files], base, made.version)
        opened = TableVersion.of(made)
        with self._lock:
            self._open[table.name] = opened
        return TableChange(made.version, int(opened.ends[-1]), added, (*removed, *_manifests(table)))

    def _sync(self, name: str, files: Iterable[Any], base: int, version: int) -> Files:
        """Sync new files and their directories; their sizes and checksums."""
        directory = self.directory(name)
        if directory is None:
            return {f"{DATA}/{file.path}": (file.file_size_bytes, "") for file in files}
        added: dict[str, tuple[int, str]] = {}
        for file in files:
            path = directory / DATA / file.path
            sync_path(path)
            size = path.stat().st_size
            # Lance does not notice when the last write of a file fails.
            if size != file.file_size_bytes:
                raise CommitError(f"{path} has {size} of {file.file_size_bytes} bytes; is the disk full?")
            added[f"{DATA}/{file.path}"] = (size, digest_of(path))
        versions = directory / VERSIONS
        for path in versions.iterdir():
            number = version_of(path)
            if number is not None and base < number <= version:
                sync_path(path)
                if number == version:
                    added[f"{VERSIONS}/{path.name}"] = (path.stat().st_size, digest_of(path))
        self._sound.update(f"{name}/{one}" for one in added)
        for place in (directory / DATA, versions, directory / "_transactions", directory):
            if place.is_dir():
                sync_directory(place)
        return added

    def _drop_later_versions(self, table: TableState) -> None:
        """Remove local versions after the live one; the writers' lock excludes other writers."""
        directory = self.directory(table.name)
        if directory is None or table.version is None:
            return
        for path in (directory / VERSIONS).iterdir():
            number = version_of(path)
            if number is None or number > table.version:
                if path.name == _LATEST and path.read_bytes() == b'{"version":%d}' % table.version:
                    continue
                path.unlink(missing_ok=True)
                if number is not None:
                    self.forget()

    def mergeable(self, table: TableState, *, whole: bool = False) -> slice | None:
        """Adjacent fragments that compaction should merge next, if there are any; with ``whole`` also those not yet due."""
        return self.opened(table).mergeable(self.limits, whole=whole)

    def compact(self, table: TableState, which: slice) -> TableChange:
        """Merge adjacent fragments, as a new version with the same rows in the same order.

        Lance's own compaction moves merged fragments to the end, which would change the positions of rows.
        """
        schema = stored_schema(table.schema)
        with writing(self.uri(table.name)):
            self._drop_later_versions(table)
            dataset = self.opened(table).dataset
            if dataset.latest_version != table.version:
                raise WriteConflict
            fragments = dataset.get_fragments()
            chosen = fragments[which]
            removed = [f"{DATA}/{file.path}" for one in chosen for file in one.data_files()]
            # Checked again: damage since the first check must not get a new, valid checksum.
            self._check(table, removed, again=True)
            scanner = dataset.scanner(columns=schema.names, fragments=chosen, batch_size=self.limits.batch_rows)
            fresh = self._write_fragment(scanner.to_reader(), dataset, schema, "append")
            parts = [one.metadata for one in fragments]
            parts[which] = fresh
            for one in parts:
                # Lance sorts fragments by id, and assigns ids in the given order where there are none.
                one.id = 0
            made = self._commit(dataset, self._lance.LanceOperation.Overwrite(schema, parts), dataset.version)
            change = self._finished(table, made, fresh, dataset.version, removed)
            if change.rows != table.rows:
                raise CommitError(f"compaction of {self.uri(table.name)} made {change.rows} rows of {table.rows}")
            return change

    def sweep(self, table: TableState, grace: timedelta) -> None:
        """Remove all versions but the live one, and files that it does not use.

        Locally that is immediate: the lock excludes writers, and readers of an older version continue in this one. In an
        object store others may be writing, so only what Lance knows to be unused for longer than ``grace`` is removed.
        """
        directory = self.directory(table.name)
        if table.version is None or (directory is not None and not directory.is_dir()):
            return
        with writing(self.uri(table.name)):
            if directory is None:
                dataset = self.opened(table).dataset
                if dataset.latest_version == table.version:
                    dataset.cleanup_old_versions(older_than=grace)
                return
            self._drop_later_versions(table)
            for path in (directory / DATA).iterdir():
                if f"{DATA}/{path.name}" not in table.files:
                    path.unlink(missing_ok=True)
            for path in (directory / VERSIONS).iterdir():
                if (version_of(path) or table.version) < table.version:
                    path.unlink(missing_ok=True)
            for path in (directory / "_transactions").glob("*"):
                # Lance uses these to resolve conflicts of concurrent writers, which the lock excludes.
                if not path.name.startswith(f"{table.version - 1}-"):
                    path.unlink(missing_ok=True)

    def has_leftovers(self, table: TableState) -> bool:
        """Whether a local table has files that the log does not list."""
        directory = self.directory(table.name)
        if directory is None or table.version is None:
            return False
        if not (directory / DATA).is_dir() or not (directory / VERSIONS).is_dir():
            return False
        if not {f"{DATA}/{path.name}" for path in (directory / DATA).iterdir()} <= table.files.keys():
            return True
        return any((version_of(path) or 0) > table.version for path in (directory / VERSIONS).iterdir())

    @contextmanager
    def forgetting_on_failure(self) -> Iterator[None]:
        """Call ``forget`` if the block fails."""
        try:
            yield
        except BaseException:
            self.forget()
            raise


def _import_lance() -> Any:
    # Lance logs to standard error what it also raises.
    os.environ.setdefault("LANCE_LOG", "error")
    import lance

    return lance


def _manifests(table: TableState) -> tuple[str, ...]:
    return tuple(name for name in table.files if name.startswith(VERSIONS))
