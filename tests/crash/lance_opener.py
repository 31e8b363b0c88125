"""How the crash contract opens Lance stores."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

with warnings.catch_warnings():
    # Lance warns of forks. These happen before any of it runs, which is safe.
    import lance  # noqa: F401  # reason: loaded once, for all processes that are forked from this one
warnings.filterwarnings("ignore", message="lance is not fork-safe")

from archetype_core import CacheConfig  # noqa: E402  # reason: after the filter
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore  # noqa: E402  # reason: likewise
from archetype_core.store import TickCommit  # noqa: E402  # reason: likewise
from archetype_journal import JournaledStore  # noqa: E402  # reason: likewise
from archetype_store_lance import LanceStore, Limits  # noqa: E402  # reason: likewise

# So small that a few ticks of a few rows reach every merge that millions of rows reach.
SMALL = Limits(fragment_rows=96, small_fragments=(6, 12, 24), merge_fragments=3, checkpoint_records=4, merge_indexes=2)


def open_store(place: Path) -> LanceStore:
    """The store without a journal."""
    return LanceStore(place)


class CompactingStore(LanceStore):
    """Does the compaction that is due after every commit, and all of it after every fourth, as in a long life."""

    commits = 0

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.commits += 1
        # The tick is committed, even if compaction fails.
        with suppress(CommitError, CorruptStore):
            self.compact(whole=self.commits % 4 == 0)


def open_tended(place: Path) -> CompactingStore:
    """The store without a journal, with fragments, versions and log files merged and removed all the time."""
    return CompactingStore(place, limits=SMALL)


def open_journaled(place: Path) -> JournaledStore:
    """The store of an address, sealing and compacting all the time."""
    beneath = open_tended(place)
    try:
        return JournaledStore(beneath, place / "journal", CacheConfig(rows=40, idle_s=0.005))
    except BaseException:
        beneath.close()
        raise


class SealingOnce(JournaledStore):
    """Seals after each world's fourth tick and on closing, and at no other time: so few calls that each can fail."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        if ticks and ticks[-1].tick == 3:
            # The tick is committed, even if sealing fails.
            with suppress(ArchetypeError):
                self.seal()


def open_once(place: Path) -> SealingOnce:
    """The store of an address, sealing so rarely that a fault can hit each call of it."""
    beneath = LanceStore(place)
    try:
        return SealingOnce(beneath, place / "journal", CacheConfig(rows=10**9, megabytes=10**6, idle_s=3600.0))
    except BaseException:
        beneath.close()
        raise
