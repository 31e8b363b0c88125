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
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore  # noqa: E402  # reason: likewise
from archetype_core.store import TickCommit  # noqa: E402  # reason: likewise
from archetype_journal import JournaledStore  # noqa: E402  # reason: likewise
from archetype_store_lance import LanceStore, log, table, upkeep  # noqa: E402  # reason: likewise


def open_store(place: Path) -> LanceStore:
    """The store by itself."""
    return LanceStore(place)


# Sizes at which a few ticks of a few rows have the life of millions: pieces are brought together side by side, between others.
CRAMPED = {
    table: {"_FRAGMENT_ROWS": 96, "_SMALL": (6, 12, 24), "MANY": 3},
    upkeep: {"MANY": 3},
    log: {"CHECKPOINT": 4, "_FAN": 2},
}


class Tended(LanceStore):
    """Brings together what is due after every commit, and now and then all there is, as a long life does."""

    commits = 0

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.commits += 1
        # The tick is committed, whatever becomes of this.
        with suppress(CommitError, CorruptStore):
            self._upkeep.run(whole=self.commits % 4 == 0)


def open_tended(place: Path) -> Tended:
    """The store by itself, with fragments, versions and files of the log being merged and removed all the time."""
    for module, sizes in CRAMPED.items():
        for name, size in sizes.items():
            setattr(module, name, size)
    return Tended(place)


def open_journaled(place: Path) -> JournaledStore:
    """What an address opens, with hand-overs all the time."""
    beneath = open_tended(place)
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
