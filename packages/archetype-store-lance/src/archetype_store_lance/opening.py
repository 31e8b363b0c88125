"""What an address such as ``lance:./data`` opens."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from archetype_core.config import CacheConfig
from archetype_core.errors import CorruptStore
from archetype_core.journal import JournaledStore
from archetype_core.journal.database import FILE
from archetype_store_lance.place import Place
from archetype_store_lance.shelf import DIRECTORY

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
    # It brings the engine along, which takes a second.
    from archetype_store_lance.store import LanceStore

    store = LanceStore(place.root, place.options)
    try:
        if is_without_journal(place, Path(journal)):
            remedy = f"put it back from a backup, or remove {_sign(place)} to go on with what the tables have"
            raise CorruptStore(str(journal), f"it is gone, and with it all ticks that only it had; {remedy}")
        made = JournaledStore(store, journal, cache)
    except BaseException:
        store.close()
        raise
    _note(place, Path(journal))
    return made


def is_without_journal(place: Place, journal: Path) -> bool:
    """Whether a store once had a journal in a directory that has none now."""
    sign = _sign(place)
    if sign is None or (journal / FILE).exists():
        return False
    return sign.is_file() and sign.read_text(errors="replace") == str(_named(place, journal))


def _note(place: Place, journal: Path) -> None:
    """Write down that there is a journal, so that it is missed should it be gone. A store stands without that."""
    sign = _sign(place)
    text = str(_named(place, journal))
    if sign is not None:
        with suppress(OSError):
            if not sign.is_file() or sign.read_text(errors="replace") != text:
                sign.write_text(text)


def _sign(place: Place) -> Path | None:
    return None if place.local is None else place.local / DIRECTORY / JOURNAL


def _named(place: Place, journal: Path) -> Path:
    """A journal as seen from the store, which may be moved with it."""
    assert place.local is not None
    path = journal.absolute()
    return path.relative_to(place.local) if path.is_relative_to(place.local) else path
