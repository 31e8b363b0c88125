"""Opens the Lance store of an address, with a journal in front of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from os import PathLike
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.errors import CommitError, CorruptStore, OtherStore, StorageNotFound, StorageReadOnly
from archetype_journal import IN_FRONT, JournaledStore, is_journal, is_journal_writable, is_writable
from archetype_store_lance.address import Address
from archetype_store_lance.engine_errors import reading
from archetype_store_lance.journal_marker import JournalMarker
from archetype_store_lance.log_files import DIRECTORY, log_files_of
from archetype_store_lance.store import LanceStore


def open_lance(
    uri: str,
    cache: CacheConfig | None = None,
    *,
    create: bool = True,
    journal: str | Path | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> JournaledStore:
    """Open a store in a directory or an object store, with a journal in front that makes every tick durable.

    ``journal`` is the journal's directory: ``<directory>/journal`` by default, and required for an object store.
    ``storage_options`` go to the object store, such as ``aws_access_key_id`` and ``endpoint``. ``CorruptStore`` if the journal
    that the store was last opened with is lost, or if one of the two is an older copy. ``StorageNotFound`` with ``create=False``
    if there is neither a store nor a journal; then nothing is created. A local place that cannot be written is opened to read
    only, with ``create=False``, and is ``StorageReadOnly`` otherwise. ``OtherStore`` if the directory itself is a journal.
    """
    address = Address.parse(uri, storage_options)
    if journal is None:
        if address.local is None:
            raise ValueError(f"{address} has no room for a journal: name a local one with journal=<directory>")
        journal = address.local / IN_FRONT
    if not isinstance(journal, str | PathLike):
        raise TypeError(f"journal must be a directory, not {journal!r}")
    if address.local is not None and is_journal(address.local) and not _exists(address, Path(journal)):
        raise OtherStore(uri, f"journal:{address.local}")
    if not create and not _exists(address, Path(journal)):
        raise StorageNotFound(str(address))
    read_only = _is_read_only(address, Path(journal))
    if read_only and create:
        raise StorageReadOnly(str(address))
    marker = marker_of(address)
    # Beside an older copy of the log, newer files look like leftovers. The journal finds that out before they are removed.
    store = LanceStore(address.root, address.options, read_only=read_only, sweep=False)
    try:
        if marker is not None and marker.is_lost(Path(journal)):
            remedy = f"restore it from a backup, or remove {marker.path} to continue with what the tables have"
            raise CorruptStore(
                str(journal), f"the journal is missing, and with it the ticks that only it had; {remedy}"
            )
        made = JournaledStore(store, journal, cache, read_only=read_only)
    except BaseException:
        store.close()
        raise
    if read_only:
        return made
    try:
        store.sweep()
        # A killed process may have sealed ticks that it did not publish. If this fails, the next sealing tries again.
        with suppress(CommitError):
            store.publish()
    except BaseException:
        made.close()
        raise
    if marker is not None:
        marker.write(Path(journal))
    return made


def _exists(address: Address, journal: Path) -> bool:
    """Whether a store or its journal is there, also damaged ones."""
    if is_journal(journal) or (address.local is not None and any(address.local.glob("*.lance"))):
        return True
    with reading(f"{address} log"):
        return bool(log_files_of(address).names())


def _is_read_only(address: Address, journal: Path) -> bool:
    """Whether a store is there that this process may read and not write."""
    local = address.local
    if local is None or (is_writable(local, local / DIRECTORY) and is_journal_writable(journal)):
        return False
    return _exists(address, journal)


def compact(
    uri: str | Path,
    *,
    storage_options: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Merge a store's small files and remove unused ones; the number of tables in which files were merged.

    An open store does this by itself in small steps. This does all there is, also beside open handles. ``progress`` is called
    with the number of finished steps and of all steps.
    """
    address = Address.parse(uri, storage_options)
    marker = marker_of(address)
    journal = None if marker is None else marker.journal()
    if journal is None:
        with closing(LanceStore(address.root, address.options)) as store:
            return store.compact(progress)
    with closing(open_lance(address.root, journal=journal)) as journaled:
        beneath = journaled.beneath
        assert isinstance(beneath, LanceStore)
        return beneath.compact(progress)


def marker_of(address: Address) -> JournalMarker | None:
    """The journal marker of a local store; ``None`` for an object store."""
    return None if address.local is None else JournalMarker(log_files_of(address), address.local)
