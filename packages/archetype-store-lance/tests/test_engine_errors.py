"""Errors of Lance are translated by their text, whatever the directories in it are called."""

from __future__ import annotations

from pathlib import Path

import pytest
from hooked_files import HookedLogFiles

from archetype_contracts.sample import SPOT, spots
from archetype_contracts.script import Script
from archetype_core.errors import CommitError, CorruptStore
from archetype_core.store import Scan
from archetype_store_lance import LanceStore, LocalLogFiles
from archetype_store_lance.engine_errors import WriteConflict, writing

NAMES = ["plain", "no permission", "timed out", "conflict"]


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_data_file_is_damage(tmp_path: Path, name: str) -> None:
    """A data file that vanishes under an open store is ``CorruptStore``, also in a directory named like another error."""
    store, script = LanceStore(tmp_path / name), Script()
    store.commit([script.tick(spots({1: 1.0}))])
    for path in (tmp_path / name).glob("*.lance/data/*"):
        path.unlink()
    with pytest.raises(CorruptStore):
        list(store.scan(Scan(SPOT.name, script.segment, 0, 0, ("entity_id", "spot__x"))))
    store.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_write_is_a_conflict_only_if_lance_says_so(tmp_path: Path, name: str) -> None:
    """The engine's words decide between ``CommitError`` and ``WriteConflict``; paths in them do not."""
    place = tmp_path / name
    with pytest.raises(CommitError, match="could not be written"), writing(f"{place} log 1"):
        raise OSError(5, "Input/output error", str(place / "file"))
    with pytest.raises(WriteConflict), writing(str(place)):
        raise OSError(
            f"Commit conflict for version 2: {place}/file exists, /rustc/library/core/src/ops/function.rs:250:5"
        )


def test_a_conflict_during_compaction_is_a_commit_error(tmp_path: Path) -> None:
    """``compact`` reports another writer's change as ``CommitError``, and works when it is called again."""
    files = HookedLogFiles(LocalLogFiles(tmp_path / "_log"))
    store, script = LanceStore(tmp_path, background=False, log_files=files), Script()
    store.commit([script.tick(spots({1: 1.0}))])

    def conflict(method: str, name: str) -> None:
        if method == "create":
            raise OSError(f"commit conflict for {name}")

    files.before = conflict
    with pytest.raises(CommitError, match="compact again"):
        store.compact()
    files.before = lambda method, name: None
    store.compact()
    assert not list((tmp_path / "_log").glob("*.commit"))
    store.close()
