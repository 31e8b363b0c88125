"""The Lance store keeps the store contract, by itself and behind its journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cramped import cramped

from archetype_contracts import Capability, StoreContract
from archetype_core import CacheConfig
from archetype_core.store import Store, TickCommit
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, open_lance

_: type[Store] = LanceStore

EVERYTHING = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE, Capability.SHARED, Capability.SEARCH})


class TestLanceStore(StoreContract):
    """A commit is an insert per table and a file of the log."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Tables and log in a directory."""
        store = LanceStore(place)
        try:
            yield store
        finally:
            store.close()


class TestJournaledLance(StoreContract):
    """What an address opens; hand-overs after every commit or two, so that most reads cross the line."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """The directory of an address, with its journal."""
        store = open_lance(f"lance:{place}", CacheConfig(rows=40, idle_s=0.01))
        try:
            yield store
        finally:
            store.close()


class _Tended(LanceStore):
    """Does what is due after every commit, and now and then all there is."""

    commits = 0

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.commits += 1
        self._upkeep.run(whole=self.commits % 5 == 0)


class _Eager(JournaledStore):
    """Hands over after every commit, so that all reads are answered from beneath."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.seal()


class TestSealedLance(StoreContract):
    """All reads are answered by Lance, over fragments and files of the log that were merged; appends come through the journal."""

    capabilities = EVERYTHING
    examples = 10

    @asynccontextmanager
    async def open_store(self, place: Path) -> AsyncIterator[Store]:
        """Two directories."""
        with cramped():
            store = _Eager(_Tended(place / "beneath"), place / "journal", CacheConfig(rows=3, idle_s=60.0))
            try:
                yield store
            finally:
                store.close()
