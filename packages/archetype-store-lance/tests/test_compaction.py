"""Compaction keeps files few and every row at its position, and ``verify`` notices where it did not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_limits import SMALL

from archetype_contracts.sample import SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_core.store import Scan
from archetype_store_lance import Address, LanceStore, verify
from archetype_store_lance.log import Log
from archetype_store_lance.log_files import log_files_of
from archetype_store_lance.record import CommitRecord
from archetype_store_lance.state import TableChange
from archetype_store_lance.stored_file import digest_of, version_of


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


def count(path: Path) -> int:
    """Count the files in a directory."""
    return sum(one.is_file() for one in path.rglob("*"))


@pytest.mark.thorough
def test_files_do_not_pile_up(place: Path) -> None:
    """Compaction keeps the files of hundreds of commits few, and every tick can be read."""
    store, script = LanceStore(place), Script()
    most = 0
    for tick in range(300):
        store.commit([script.tick(spots({1: float(tick), 2: None}), mottos({3: ("a", b"", tick % 100)}))])
        if tick % 20 == 0:
            store.compact(whole=False)
            most = max(most, count(place))
    store.close()
    assert most < 320
    reader = LanceStore(place)
    rows = reader.scan(Scan(SPOT.name, script.segment, 0, 299, ("tick", "spot__x"))).read_all()
    assert rows.column(1).to_pylist()[::2] == [float(tick) for tick in range(300)]
    reader.close()
    assert verify(place).is_sound


def check_rows(place: Path, script: Script, sizes: list[int]) -> None:
    """Check that every tick has its entities with their values, and that the store is sound."""
    reader = LanceStore(place)
    rows = reader.scan(Scan(SPOT.name, script.segment, 0, len(sizes) - 1, ("tick", "entity_id", "spot__x"))).read_all()
    expected = [(tick, number, tick + number / 8) for tick, size in enumerate(sizes) for number in range(1, size + 1)]
    assert list(zip(*(column.to_pylist() for column in rows.columns), strict=True)) == expected
    reader.close()
    report = verify(place)
    assert report.is_sound, str(report)


def write(store: LanceStore, script: Script, tick: int, size: int) -> None:
    """Commit one tick with so many entities."""
    store.commit([script.tick(spots({number: tick + number / 8 for number in range(1, size + 1)}))])


def test_rows_keep_their_positions_between_small_and_large_commits(place: Path) -> None:
    """Compaction merges small fragments between large ones without moving them."""
    store, script = LanceStore(place), Script()
    sizes = [3, *[2] * 20, 5_000, *[1] * 20, 6_000, 5, 4]
    for tick, size in enumerate(sizes):
        write(store, script, tick, size)
    before = count(place)
    store.compact()
    assert count(place) < before - 30
    store.close()
    check_rows(place, script, sizes)


@given(sizes=st.lists(st.one_of(st.integers(1, 5), st.integers(1, 40)), min_size=1, max_size=40), data=st.data())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.thorough
def test_rows_keep_their_positions_whatever_is_compacted(
    sizes: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Commits of any sizes, with due or whole compaction between any of them."""
    place = tmp_path_factory.mktemp("turns") / "store"
    store, script = LanceStore(place, limits=SMALL), Script()
    for tick, size in enumerate(sizes):
        write(store, script, tick, size)
        if data.draw(st.booleans()):
            store.compact(whole=data.draw(st.booleans()))
    store.close()
    check_rows(place, script, sizes)


@pytest.mark.parametrize("forked", [False, True])
def test_verify_names_rows_at_other_positions(place: Path, forked: bool) -> None:
    """A store whose fragments are intact but in another order than the log says is not sound."""
    store, script = LanceStore(place), Script()
    write(store, script, 0, 30)
    if forked:
        for one in (Script("b", first_tick=1, after=(script, 0)), script):
            write(store, one, 1, 30)
    else:
        for tick, size in enumerate([20, 10], 1):
            write(store, script, tick, size)
    store.close()
    lance = pytest.importorskip("lance")
    log = Log(log_files_of(Address.parse(place)), str(place))
    state = log.state()
    (table,) = state.tables
    directory = place / f"{table.name}.lance"
    dataset = lance.dataset(str(directory), version=table.version)
    parts = [one.metadata for one in dataset.get_fragments()]
    parts = [parts[0], parts[2], parts[1]]
    for one in parts:
        one.id = 0
    operation = lance.LanceOperation.Overwrite(dataset.schema, parts)
    made = lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)
    (manifest,) = (one for one in (directory / "_versions").iterdir() if version_of(one) == made.version)
    added = {f"_versions/{manifest.name}": (manifest.stat().st_size, digest_of(manifest))}
    removed = tuple(name for name in table.files if name.startswith("_versions"))
    change = TableChange(made.version, table.rows, added, removed)
    assert log.append(state, {"tables": [[0, change.to_json()]]}, CommitRecord.of_header({})) is not None
    report = verify(place)
    assert not report.is_sound
    assert "not at the positions that the log gives" in str(report)
