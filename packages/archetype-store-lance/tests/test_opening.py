"""Addresses, options and journals that ``open_lance`` accepts or refuses."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archetype_core import StorageConfig, open_store
from archetype_core.errors import CommitError, CorruptStore, StorageNotFound
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, open_lance


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


@pytest.mark.parametrize("spell", ["lance:{}", "LANCE:{}", "{}", "lance:file://{}"])
def test_addresses_open_the_store_with_its_journal(place: Path, spell: str) -> None:
    """``lance:`` and a bare path open the same store, with a journal in it."""
    store = open_store(spell.format(place))
    assert isinstance(store, JournaledStore)
    assert isinstance(store.beneath, LanceStore)
    assert store.path == place / "journal"
    store.close()


def test_options_are_checked_before_anything_is_created(place: Path) -> None:
    """Misspelt options, values of wrong types and files in the way are named, and nothing is created."""
    with pytest.raises(ValueError, match="'jornal'; its options are journal, storage_options"):
        open_store(StorageConfig(str(place), backend="lance", options={"jornal": "x"}))
    for options in ({"journal": 3}, {"storage_options": 3}):
        with pytest.raises(TypeError, match="3"):
            open_store(StorageConfig(str(place), backend="lance", options=options))
    assert not place.exists()
    place.write_text("a file")
    for path in (place, place / "below"):
        with pytest.raises(CommitError, match="a file is where a directory should be"):
            open_store(path)


def test_opening_without_creating_leaves_a_place_as_it_is(place: Path) -> None:
    """A place without a store is an error with its path, and nothing appears there. A lost part is no missing place (S7)."""
    empty = place.parent / "empty"
    empty.mkdir()
    for path in (place, empty):
        with pytest.raises(StorageNotFound, match=str(path)):
            open_store(path, create=False)
    assert list(place.parent.rglob("*")) == [empty]
    open_store(place).close()
    open_store(place, create=False).close()
    shutil.rmtree(place / "journal")
    with pytest.raises(CorruptStore, match="the journal is missing"):
        open_store(place, create=False)


def test_an_object_store_needs_a_journal() -> None:
    """The journal of an object store has to be named."""
    with pytest.raises(ValueError, match="journal="):
        open_store("lance:s3://bucket/prefix")


def test_a_directory_takes_no_storage_options(place: Path) -> None:
    """Options that would have no effect are refused, and so are addresses without a place."""
    options = {"storage_options": {"aws_region": "x"}}
    with pytest.raises(ValueError, match="storage options"):
        open_store(StorageConfig(str(place), options=options))
    with pytest.raises(ValueError, match="the address is empty"):
        open_store("lance:")
    with pytest.raises(ValueError, match=r"lance:\./data"):
        open_store("lance://data")
    with pytest.raises(ValueError, match="printed"):
        open_store(f"lance:{place}\nb")


def test_the_journal_can_be_elsewhere(place: Path, tmp_path: Path) -> None:
    """``journal=`` names the journal's directory."""
    store = open_lance(str(place), journal=tmp_path / "fast")
    assert store.path == tmp_path / "fast"
    store.close()


def test_importing_the_package_does_not_import_the_engine() -> None:
    """Lance is imported when a store is opened, and not before."""
    script = "import sys, archetype_store_lance; print('lance' in sys.modules, 'obstore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
