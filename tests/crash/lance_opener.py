"""How the crash contract opens Lance stores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

with warnings.catch_warnings():
    # It warns of forks. These happen before anything of it runs, which it takes well.
    import lance  # noqa: F401  # reason: loaded once, for all the processes that are forked from this one
warnings.filterwarnings("ignore", message="lance is not fork-safe")

from archetype_core import CacheConfig  # noqa: E402  # reason: after the filter
from archetype_core.commit import TickCommit  # noqa: E402  # reason: likewise
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore  # noqa: E402  # reason: likewise
from archetype_core.journal import JournaledStore  # noqa: E402  # reason: likewise
from archetype_store_lance import LanceStore  # noqa: E402  # reason: likewise


def open_store(place: Path) -> LanceStore:
    """The store by itself."""
    return LanceStore(place)


class Tended(LanceStore):
    """Brings everything together after every commit, as a long life does now and then."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        # The tick is committed, whatever becomes of this.
        with suppress(CommitError, CorruptStore):
            self.compact()


def open_tended(place: Path) -> Tended:
    """The store by itself, with fragments, versions and files of the log being merged and removed all the time."""
    return Tended(place)


def open_journaled(place: Path) -> JournaledStore:
    """What an address opens, with hand-overs all the time."""
    beneath = Tended(place)
    try:
        return JournaledStore(beneath, place / "journal", CacheConfig(rows=40, idle_s=0.005))
    except BaseException:
        beneath.close()
        raise


class Once(JournaledStore):
    """Hands over after each world's fourth tick and on closing, and at no other time: so few calls that each can fail."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        if ticks and ticks[-1].tick == 3:  # reason: as said
            # The tick is committed, whatever becomes of this.
            with suppress(ArchetypeError):
                self.seal()


def open_once(place: Path) -> Once:
    """What an address opens, with a hand-over that every call of can be told from all others."""
    beneath = LanceStore(place)
    try:
        return Once(beneath, place / "journal", CacheConfig(rows=10**9, megabytes=10**6, idle_s=3600.0))
    except BaseException:
        beneath.close()
        raise
