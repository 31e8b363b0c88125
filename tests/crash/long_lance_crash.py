"""The Lance store without a journal keeps the crash contract too: `nox -s crash-long` runs this."""

from __future__ import annotations

from test_lance_crash import EVERYTHING

from archetype_contracts import CrashContract


class TestLanceCrash(CrashContract):
    """Every tick is a few inserts and one file of the log."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_store"


class TestTendedLanceCrash(CrashContract):
    """Compaction and cleaning after every tick, so that most faults meet them."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_tended"


class TestOneHandOverCrash(CrashContract):
    """Few calls beside those of a hand-over, each of which is killed at, and fails, in the usual order of things."""

    capabilities = EVERYTHING
    opener = "lance_opener:open_once"
