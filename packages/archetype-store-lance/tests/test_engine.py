"""Errors of the engine become ours by what they say, whatever the directories are called that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from archetype_contracts.sample import SPOT, spots
from archetype_contracts.script import Script
from archetype_core.errors import CommitError, CorruptStore
from archetype_core.store import Scan
from archetype_store_lance import LanceStore
from archetype_store_lance.engine import Overtaken, writing

NAMES = ["plain", "no permission", "timed out", "conflict"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_gone_is_damage_anywhere(tmp_path: Path, name: str) -> None:
    """A data file that vanished under an open store is ``CorruptStore``, also where a directory is called like an error."""
    store, script = LanceStore(tmp_path / name), Script()
    store.commit([script.tick(spots({1: 1.0}))])
    for path in (tmp_path / name).glob("*.lance/data/*"):
        path.unlink()
    with pytest.raises(CorruptStore):
        list(store.scan(Scan(SPOT.name, script.segment, 0, 0, ("entity_id", "spot__x"))))
    store.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_write_is_no_other_writer_anywhere(tmp_path: Path, name: str) -> None:
    """Only what the engine says tells of another writer, not where it happened."""
    place = tmp_path / name
    with pytest.raises(CommitError, match="could not be written"), writing(f"{place} log 1"):
        raise OSError(5, "Input/output error", str(place / "file"))
    with pytest.raises(Overtaken), writing(str(place)):
        raise OSError(
            f"Commit conflict for version 2: {place}/file exists, /rustc/library/core/src/ops/function.rs:250:5"
        )
