"""``verify`` names every problem of a store, and no loss of a file goes unnoticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hooked_files import HookedLogFiles, Once

from archetype_contracts.sample import SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_core import CacheConfig
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_core.store import IS_ACTIVE, Scan
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, Limits, LocalLogFiles, compact, open_lance, verify
from archetype_store_lance.journal_marker import JournalMarker


def script_of(store: LanceStore, commits: int = 3) -> Script:
    """Commit a world in two tables, two ticks at a time."""
    script = Script()
    for number in range(commits):
        store.commit([script.tick(spots({1: float(number), 2: None})), script.tick(mottos({3: ("a", b"b", number)}))])
    return script


def read_all(place: Path, script: Script) -> list[object]:
    """Read every tick of every table with a new handle."""
    store = LanceStore(place)
    try:
        timeline = store.timeline(script.segment.world_id)
        (span,) = timeline.spans
        rows: list[object] = [span.last, store.head(script.segment.world_id).live]
        for name, schema in timeline.tables.items():
            scan = Scan(name, span.segment, span.first, span.last, (*schema.names, IS_ACTIVE, "tick"))
            rows.append(store.scan(scan).read_all().to_pylist())
        return rows
    finally:
        store.close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory for a store."""
    return tmp_path / "store"


def test_a_sound_store_is_sound(place: Path) -> None:
    """A store that was closed is sound and counted, and ``progress`` reaches its total."""
    store = LanceStore(place)
    script_of(store)
    store.close()
    steps: list[tuple[int, int]] = []
    report = verify(place, progress=lambda done, total: steps.append((done, total)))
    assert report.is_sound, str(report)
    assert not report.findings
    assert (report.worlds, report.segments, report.ticks, report.tables) == (1, 1, 6, 2)
    assert steps[-1][0] == steps[-1][1] == len(steps)
    assert "is sound: 1 worlds" in str(report)


def test_verify_of_no_store_is_not_sound(tmp_path: Path) -> None:
    """An empty directory is not a sound store, and a missing one is an error."""
    report = verify(tmp_path)
    assert not report.is_sound
    assert "there is no log" in str(report)
    with pytest.raises(CommitError):
        verify(tmp_path / "nothing")


@pytest.mark.thorough
@pytest.mark.parametrize("compacted", [False, True])
def test_no_loss_of_a_file_goes_unnoticed(place: Path, tmp_path: Path, compacted: bool) -> None:
    """Whichever file is deleted, cut or changed, reads give the same rows, or are refused and ``verify`` names it."""
    store = LanceStore(place)
    script = script_of(store)
    if compacted:
        store.compact()
    store.close()
    expected = read_all(place, script)
    files = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
    assert len(files) > 5
    for number, name in enumerate(files):
        for how in ("delete", "cut", "change"):
            copy = tmp_path / f"{number} {how}"
            shutil.copytree(place, copy)
            if how == "delete":
                (copy / name).unlink()
            elif how == "cut":
                data = (copy / name).read_bytes()
                (copy / name).write_bytes(data[: len(data) // 2])
            else:
                flipped = bytearray((copy / name).read_bytes())
                if flipped:
                    flipped[len(flipped) // 2] ^= 0x40
                (copy / name).write_bytes(bytes(flipped))
            report = verify(copy)
            try:
                found = read_all(copy, script)
            except ArchetypeError:
                assert not report.is_sound, f"{how} {name} was not named"
            else:
                assert found == expected, f"{how} {name} changed what is read"


def test_damage_names_the_ticks_it_touches(place: Path) -> None:
    """A damaged data file is named with the world and ticks whose rows it holds."""
    store = LanceStore(place)
    script = script_of(store, commits=2)
    store.close()
    # The second commit's: its ticks are 2 and 3.
    newest = max((place / f"{SPOT.name}.lance" / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:-1])
    (finding,) = verify(place).findings
    assert finding.world == script.segment.name
    assert finding.ticks == (2, 2)
    assert newest.name in finding.place
    assert "bytes of" in finding.problem


def test_a_store_without_its_log_is_refused(place: Path) -> None:
    """Tables without a log are not an empty store."""
    store = LanceStore(place)
    script_of(store)
    store.close()
    shutil.rmtree(place / "_log")
    with pytest.raises(CorruptStore):
        LanceStore(place)
    assert not verify(place).is_sound


def test_a_store_that_lost_sealed_ticks_is_refused(place: Path) -> None:
    """Ticks that the journal has sealed and the store does not have: ``verify`` names them, and opening is refused."""
    store = open_lance(str(place), CacheConfig(rows=10**6, idle_s=1e6))
    script = Script()
    store.commit([script.tick(spots({1: 1.0}))])
    store.seal()
    shutil.copytree(place / "_log", place / "earlier log")
    store.commit([script.tick(spots({1: 2.0}))])
    store.seal()
    store.close()
    assert verify(place).is_sound
    shutil.rmtree(place / "_log")
    (place / "earlier log").rename(place / "_log")
    findings = [one for one in verify(place).findings if not one.is_harmless]
    assert [one.ticks for one in findings] == [(1, 1)]
    files = sorted(path for path in place.rglob("*.lance") if path.is_file())
    for refused in (lambda: open_lance(str(place)), lambda: compact(place)):
        with pytest.raises(CorruptStore, match="older copy"):
            refused()
    # The newer files are kept, in case the missing half is restored.
    assert sorted(path for path in place.rglob("*.lance") if path.is_file()) == files


def test_log_files_in_one_anothers_place_are_refused(place: Path) -> None:
    """A log file in another's place is damage although its own checksum matches: it is named, and no row is read by it."""
    store, script = LanceStore(place), Script()
    for _ in range(3):
        store.commit([script.tick(spots({1: float(script.last + 1)})) for _ in range(5)])
        store.compact()
    store.close()
    expected = read_all(place, script)
    first, second, _ = sorted((place / "_log").glob("*.index"))
    kept = first.read_bytes(), second.read_bytes()
    for one, two in (kept[::-1], (kept[0], kept[0])):
        first.write_bytes(one)
        second.write_bytes(two)
        assert not verify(place).is_sound
        with pytest.raises(CorruptStore):
            read_all(place, script)
    first.write_bytes(kept[0])
    second.write_bytes(kept[1])
    assert read_all(place, script) == expected
    (newest,) = (place / "_log").glob("*.state")
    newest.rename(newest.with_name(f"{int(newest.stem) + 3:020}.state"))
    with pytest.raises(CorruptStore):
        read_all(place, script)
    assert not verify(place).is_sound


def test_verify_beside_a_writer_finds_no_damage(place: Path) -> None:
    """A sound store is reported as sound, whatever is committed, sealed, compacted and removed meanwhile."""
    store, script = open_lance(str(place), CacheConfig(rows=10**6, idle_s=1e6)), Script()
    beneath = store.beneath
    assert isinstance(beneath, LanceStore)

    def beside(done: int = 0, total: int = 0) -> None:
        del done, total
        for _ in range(3):
            store.commit([script.tick(spots({1: 1.0, 2: 2.0}), mottos({3: ("a", b"", script.last + 1)}))])
            store.seal()
        beneath.compact()

    for _ in range(3):
        beside()
        report = verify(place, progress=beside)
        assert report.is_sound, str(report)
    store.close()


def test_verify_beside_a_checkpoint_finds_no_damage(place: Path) -> None:
    """Row indexes that a checkpoint merges after ``verify`` read the state are found in their new file."""
    # With these, ``compact(whole=False)`` makes a checkpoint and does nothing else.
    limits = Limits(checkpoint_records=1, merge_fragments=1_000_000)
    store, script = LanceStore(place, background=False, limits=limits), Script()
    for tick in range(8):
        store.commit([script.tick(spots({1: float(tick)}))])
        if tick < 7:
            store.compact(whole=False)
    files = HookedLogFiles(LocalLogFiles(place / "_log"))
    checkpoint = Once(files, "read", ".index", lambda: store.compact(whole=False))
    report = verify(place, log_files=files)
    assert report.is_sound, str(report)
    assert checkpoint.is_done
    store.close()


def test_compaction_gives_damage_no_new_checksum(place: Path) -> None:
    """A file that was damaged after this process wrote and read it is not merged with others."""
    store, script = LanceStore(place), Script()
    draw = np.random.default_rng(1)
    for _ in range(3):
        store.commit([script.tick(spots(dict(enumerate(draw.normal(size=1_000).tolist(), 1))))])
    read_all(place, script)
    path = min(place.glob("*.lance/data/*"), key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptStore, match=path.name):
        store.compact()
    store.close()
    assert [one.problem for one in verify(place).findings] == ["its checksum does not match its bytes"]


def test_leftovers_are_harmless_and_removed(place: Path) -> None:
    """Leftovers of a killed writer are reported as harmless, and removed when the store is opened."""
    store = LanceStore(place)
    script_of(store)
    store.close()
    left = place / f"{SPOT.name}.lance" / "data" / "0101.lance"
    left.write_bytes(b"half")
    report = verify(place)
    assert report.is_sound
    assert [one.is_harmless for one in report.findings] == [True]
    LanceStore(place).close()
    assert not left.exists()
    assert not verify(place).findings


def test_compaction_leaves_little(place: Path) -> None:
    """After ``compact`` there are few files and the same rows."""
    store = LanceStore(place)
    script = script_of(store, commits=40)
    store.close()
    before = read_all(place, script)
    steps: list[tuple[int, int]] = []
    assert compact(place, progress=lambda done, total: steps.append((done, total))) == 2
    assert steps == [(1, 2), (2, 2)]
    assert read_all(place, script) == before
    assert sum(path.is_file() for path in place.rglob("*")) <= 15
    assert verify(place).is_sound
    assert compact(place) == 0


def test_a_damaged_file_is_not_rewritten_and_delays_no_other_table(place: Path) -> None:
    """Compaction leaves a table with a damaged file as it is, and raises after the other tables are done."""
    # Without compaction in the background, which would leave the file behind.
    store, script = LanceStore(place, background=False), Script()
    for tick in range(20):
        store.commit([script.tick(spots({1: float(tick)}), mottos({2: ("a", b"", tick)}))])
    store.close()
    directory, other = sorted(place.glob("*.lance"))
    damaged = min((directory / "data").iterdir())
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 0x40
    damaged.write_bytes(bytes(data))
    with pytest.raises(CorruptStore, match=damaged.name):
        compact(place)
    assert damaged.read_bytes() == bytes(data)
    assert len(list((other / "data").iterdir())) == 1
    assert not any(path.suffix == ".commit" for path in (place / "_log").iterdir())
    assert [one.problem for one in verify(place).findings] == ["its checksum does not match its bytes"]


@pytest.mark.thorough
def test_a_scan_survives_compaction_by_another_handle(place: Path) -> None:
    """A scan continues after the files that it reads were merged and removed."""
    store = LanceStore(place)
    script = Script()
    for tick in range(40):
        store.commit([script.tick(spots(dict.fromkeys(range(1, 4_000), float(tick))))])
    reader = LanceStore(place)
    batches = iter(reader.scan(Scan(SPOT.name, script.segment, 0, 39, ("tick", "spot__x"))))
    found = [next(batches)]
    store.compact()
    found += batches
    values = [(tick, x) for batch in found for tick, x in zip(*(column.to_pylist() for column in batch), strict=True)]
    assert values == [(tick, float(tick)) for tick in range(40) for _ in range(3_999)]
    reader.close()
    store.close()


def test_the_journal_is_verified_as_well(place: Path) -> None:
    """Problems of the journal are reported beside those of the store."""
    store = open_lance(str(place))
    assert isinstance(store, JournaledStore)
    store.commit([Script().tick(spots({1: 1.0}))])
    store.close()
    for path in (place / "journal").glob("*.sqlite"):
        path.write_bytes(path.read_bytes()[:100])
    findings = verify(place).findings
    assert any("journal" in one.place for one in findings)
    assert any("repair" in one.remedy for one in findings)


def test_a_lost_journal_is_refused(place: Path) -> None:
    """A store whose journal is lost does not open until the user removes the marker (S4)"""
    store, script = open_lance(str(place)), Script()
    store.commit([script.tick(spots({1: 1.0}))])
    store.close()
    moved = place.with_name("moved")
    place.rename(moved)
    open_lance(str(moved)).close()
    shutil.rmtree(moved / "journal")
    assert not verify(moved).is_sound
    with pytest.raises(CorruptStore, match="journal is missing"):
        open_lance(str(moved))
    (moved / "_log" / "journal").unlink()
    store = open_lance(str(moved))
    assert [record.tick for record in store.worlds()] == [0]
    store.close()
    assert verify(moved).is_sound


def test_a_journal_that_another_process_makes_is_not_lost(place: Path) -> None:
    """A store that another process opens for the first time between two reads of the place is not damaged (S4)"""
    files = HookedLogFiles(LocalLogFiles(place / "_log"))
    marker = JournalMarker(files, place)
    another = Once(files, "read", "journal", lambda: open_lance(str(place)).close())
    assert not marker.is_lost(place / "journal")
    assert another.is_done
    assert marker.journal() == place / "journal"


def test_unsealed_ticks_are_counted(place: Path) -> None:
    """A report counts sealed and unsealed ticks, and a path with two slashes before it is the same path."""
    store, script = open_lance(str(place), CacheConfig(idle_s=3600.0)), Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(3)])
    store.seal()
    store.commit([script.tick(spots({1: 3.0}))])
    assert verify(place).ticks == 4
    report = verify(f"/{place}")
    assert (report.is_sound, report.ticks) == (True, 4)
    store.close()
