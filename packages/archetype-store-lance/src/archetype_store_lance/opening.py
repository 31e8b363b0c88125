"""What an address such as ``lance:./data`` opens."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.errors import CorruptStore
from archetype_journal import FILE, JournaledStore
from archetype_store_lance.log_files import DIRECTORY, LocalShelf
from archetype_store_lance.place import Place

JOURNAL = "journal"
"""The directory of the journal beside the tables of a local store."""


def open_lance(
    uri: str,
    cache: CacheConfig | None = None,
    *,
    journal: str | Path | None = None,
    storage_options: Mapping[str, str] | None = None,
) -> JournaledStore:
    """The Lance store of a directory or an object store, with a journal before it: every tick is durable when it returns.

    ``journal`` is where that is, ``<directory>/journal`` unless said otherwise; an object store has no such place, so it
    has to be said. ``storage_options`` are the object store's, such as ``aws_access_key_id`` and ``endpoint``.
    """
    place = Place.of(uri, storage_options)
    if journal is None:
        if place.local is None:
            raise ValueError(f"{place} is no directory: say where its journal is, with the option journal=<directory>")
        journal = place.local / JOURNAL
    if not isinstance(journal, str | PathLike):
        raise TypeError(f"journal is a directory, not {journal!r}")
    # It brings the engine along, which takes a second.
    from archetype_store_lance.store import LanceStore

    # Beside an older copy of the log, what is newer looks as if it were left behind: the journal knows.
    store = LanceStore(place.root, place.options, tidy=False)
    try:
        if place.local is not None and is_without_journal(place, Path(journal)):
            remedy = f"put it back from a backup, or remove {_sign(place.local)} to go on with what the tables have"
            raise CorruptStore(str(journal), f"it is gone, and with it all ticks that only it had; {remedy}")
        made = JournaledStore(store, journal, cache)
    except BaseException:
        store.close()
        raise
    try:
        store.tidy()
    except BaseException:
        made.close()
        raise
    _note(place, Path(journal))
    return made


def journal_of(place: Place) -> Path | None:
    """The journal that a store on this machine was last opened with, be it there or not; ``None`` if it never had one."""
    if place.local is None or not (sign := _sign(place.local)).is_file():
        return None
    return place.local / sign.read_text(errors="replace")


def is_without_journal(place: Place, journal: Path) -> bool:
    """Whether a store on this machine once had a journal in a directory that has none now."""
    if place.local is None or not (sign := _sign(place.local)).is_file():
        return False
    # In this order: what somebody makes meanwhile is the journal first, and then the sign.
    return sign.read_text(errors="replace") == _named(place.local, journal) and not (journal / FILE).exists()


def _note(place: Place, journal: Path) -> None:
    """Write down that there is a journal, so that it is missed should it be gone. A store stands without that."""
    if place.local is None:
        return
    sign, text = _sign(place.local), _named(place.local, journal)
    with suppress(OSError):
        if not sign.is_file() or sign.read_text(errors="replace") != text:
            LocalShelf(sign.parent).replace(sign.name, text.encode())


def _sign(directory: Path) -> Path:
    return directory / DIRECTORY / JOURNAL


def _named(directory: Path, journal: Path) -> str:
    """A journal as seen from the store, which may be moved with it."""
    path = journal.absolute()
    return str(path.relative_to(directory) if path.is_relative_to(directory) else path)
