"""A commit to a local Lance store whose disk fails: certainly nothing, or in doubt until the disk works again (T7)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from archetype_contracts.sample import SPOT, spots
from archetype_contracts.script import Script
from archetype_core.errors import CommitError, CommitUncertain, TickConflict
from archetype_core.store import Scan
from archetype_store_lance import LanceStore, log_files, verify


class FailingDisk:
    """Makes the log's syncs of files or of names fail, as often as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = {"sync_path": 0, "sync_directory": 0}
        for name in self.failures:
            monkeypatch.setattr(log_files, name, self._failing(name, getattr(log_files, name)))

    def _failing(self, name: str, sync: Callable[[Path], None]) -> Callable[[Path], None]:
        def replacement(path: Path) -> None:
            if self.failures[name]:
                self.failures[name] -= 1
                raise OSError(5, "the disk failed")
            sync(path)

        return replacement


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """Return a disk that works until it is told to fail."""
    return FailingDisk(monkeypatch)


class Versions:
    """A store of one tick, and two versions of the next."""

    def __init__(self, place: Path) -> None:
        self.place, self.script = place, Script()
        self.store = LanceStore(place, background=False)
        self.store.commit([self.script.tick(spots({1: 0.0}))])
        self.tried = self.script.draft(spots({1: 1.0}), attempt="tried")
        self.other = self.script.draft(spots({1: -1.0}), attempt="other")

    def check(self, attempt: str, value: float) -> None:
        """Require that three handles have this version of the tick, and take no other."""
        for store in [self.store, LanceStore(self.place), LanceStore(self.place)]:
            head = store.head(self.script.segment.world_id)
            rows = store.scan(Scan(SPOT.name, self.script.segment, 1, 1, ("spot__x",))).read_all()
            assert (head.tick, head.attempt, rows.column(0).to_pylist()) == (1, attempt, [value])
            for commit in (self.tried, self.other):
                with pytest.raises(TickConflict):
                    store.commit([commit])
            store.close()
        assert verify(self.place).is_sound


def test_a_record_that_was_not_written_is_certain(tmp_path: Path, disk: FailingDisk) -> None:
    """If the record's bytes cannot be synced, the commit certainly failed, and the tick takes other rows."""
    versions = Versions(tmp_path)
    disk.failures["sync_path"] = 1
    with pytest.raises(CommitError) as caught:
        versions.store.commit([versions.tried])
    assert not isinstance(caught.value, CommitUncertain)
    assert versions.store.head(versions.script.segment.world_id).tick == 0
    versions.store.commit([versions.other])
    versions.check("other", -1.0)


def test_a_name_that_was_synced_again_counts(tmp_path: Path, disk: FailingDisk) -> None:
    """If the record's name cannot be synced at first, it is written again, and the commit succeeds."""
    versions = Versions(tmp_path)
    disk.failures["sync_directory"] = 1
    versions.store.commit([versions.tried])
    versions.check("tried", 1.0)


def test_a_name_that_cannot_be_synced_is_in_doubt(tmp_path: Path, disk: FailingDisk) -> None:
    """While the record's name may be lost, nobody is told that the tick is there or not; afterwards it is there."""
    versions = Versions(tmp_path)
    disk.failures["sync_directory"] = 10
    with pytest.raises(CommitUncertain) as caught:
        versions.store.commit([versions.tried])
    assert (caught.value.world_id, caught.value.tick) == (versions.script.segment.world_id, 1)
    for call in (
        lambda: versions.store.head(versions.script.segment.world_id),
        lambda: versions.store.commit([versions.other]),
    ):
        with pytest.raises(CommitError) as refused:
            call()
        assert not isinstance(refused.value, TickConflict)
    disk.failures["sync_directory"] = 0
    versions.check("tried", 1.0)
