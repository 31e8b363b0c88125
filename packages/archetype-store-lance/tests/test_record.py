"""The log's file format."""

from __future__ import annotations

from pathlib import Path

import pytest

from archetype_contracts.sample import spots
from archetype_contracts.script import Script
from archetype_core.errors import CommitError
from archetype_store_lance import LanceStore, open_lance, verify
from archetype_store_lance.record import FORMAT, CommitRecord, decode, encode


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
def test_a_log_of_another_format_is_refused(place: Path, version: int) -> None:
    """A log of an unknown format is a ``CommitError`` that names both formats, and nothing is changed."""
    store, script = LanceStore(place), Script()
    store.commit([script.tick(spots({1: 1.0}))])
    store.compact()
    store.close()
    (path,) = (place / "_log").glob("*.state")
    header = dict(decode(path.read_bytes(), "").header)
    path.write_bytes(encode(CommitRecord.of_header({**header, "format": version})))
    before = {one: one.read_bytes() for one in place.rglob("*") if one.is_file()}
    for use in (lambda: LanceStore(place), lambda: open_lance(str(place)), lambda: verify(place)):
        with pytest.raises(CommitError, match=f"log format {version}; .* reads format {FORMAT}") as caught:
            use()
        assert caught.value.code == "ARC-S001"
    assert {one: one.read_bytes() for one in place.rglob("*") if one.is_file()} == before
