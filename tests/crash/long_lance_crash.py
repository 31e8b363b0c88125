"""The Lance store without a journal keeps the crash contract; `nox -s crash-long` runs this module."""

from __future__ import annotations

from test_lance_crash import EVERYTHING

from archetype_contracts import CrashContract


class TestLanceCrash(CrashContract):
    """The Lance store alone."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_store"


class TestTendedLanceCrash(CrashContract):
    """Compaction and cleanup after every tick, so that most faults hit them."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_tended"


class TestOneHandOverCrash(CrashContract):
    """A journal that seals once per world, so that a fault is tried at every call of a seal."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_once"
