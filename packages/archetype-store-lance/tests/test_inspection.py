"""``verify`` names what is wrong with a store, and no loss of a file goes unnoticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from archetype_contracts.sample import SPOT, mottos, spots
from archetype_contracts.script import Script
from archetype_core import CacheConfig
from archetype_core.errors import ArchetypeError, CommitError, CorruptStore
from archetype_core.store import IS_ACTIVE, Scan
from archetype_journal import JournaledStore
from archetype_store_lance import LanceStore, compact, open_lance, verify
from archetype_store_lance.log import Log
from archetype_store_lance.row_index import Block
from archetype_store_lance.state import BlockRef


def script_of(store: LanceStore, commits: int = 3) -> Script:
    """A world in two tables, a tick or two at a time."""
    script = Script()
    for number in range(commits):
        store.commit([script.tick(spots({1: float(number), 2: None})), script.tick(mottos({3: ("a", b"b", number)}))])
    return script


def read_all(place: Path, script: Script) -> list[object]:
    """Every tick of every table, over a handle of its own."""
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
    """What was committed and closed is sound, counted, and the walk tells how far it is."""
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


def test_no_store_is_said_so(tmp_path: Path) -> None:
    """An empty directory is no sound store, and a place that is not there is an error."""
    report = verify(tmp_path)
    assert not report.is_sound
    assert "there is no log" in str(report)
    with pytest.raises(CommitError):
        verify(tmp_path / "nothing")


@pytest.mark.thorough
@pytest.mark.parametrize("tended", [False, True])
def test_no_loss_of_a_file_goes_unnoticed(place: Path, tmp_path: Path, tended: bool) -> None:
    """Whichever file is deleted, cut or changed: all is as it was, or it is refused and named; never an empty world."""
    store = LanceStore(place)
    script = script_of(store)
    if tended:
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
    """A damaged data file is named with the world and ticks whose rows lie in it."""
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
    """Tables whose log is gone are no empty store."""
    store = LanceStore(place)
    script_of(store)
    store.close()
    shutil.rmtree(place / "_log")
    with pytest.raises(CorruptStore):
        LanceStore(place)
    assert not verify(place).is_sound


def test_a_store_that_lost_what_the_journal_handed_over_is_named(place: Path) -> None:
    """Ticks that the journal let go of and the store does not have are missing: verify says which, and nobody goes on."""
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
    # All that is newer is there for whoever puts the other half right.
    assert sorted(path for path in place.rglob("*.lance") if path.is_file()) == files


def test_files_of_the_log_that_are_whole_but_others_are_refused(place: Path) -> None:
    """A file in another's place is damage, also where its own checksum fits: it is named, and no row is read by it."""
    store, script = LanceStore(place), Script()
    for _ in range(3):
        store.commit([script.tick(spots({1: float(len(script.ticks))})) for _ in range(5)])
        store.compact()
    store.close()
    expected = read_all(place, script)
    first, second, _ = sorted((place / "_log").glob("*.block"))
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


def test_a_walk_beside_a_writer_finds_no_damage(place: Path) -> None:
    """Whatever is committed, handed over, brought together and removed meanwhile, a sound store is told to be one."""
    store, script = open_lance(str(place), CacheConfig(rows=10**6, idle_s=1e6)), Script()
    beneath = store.beneath
    assert isinstance(beneath, LanceStore)

    def beside(done: int = 0, total: int = 0) -> None:
        del done, total
        for _ in range(3):
            store.commit([script.tick(spots({1: 1.0, 2: 2.0}), mottos({3: ("a", b"", len(script.ticks))}))])
            store.seal()
        beneath.compact()

    for _ in range(3):
        beside()
        report = verify(place, progress=beside)
        assert report.is_sound, str(report)
    store.close()


def test_a_walk_beside_a_checkpoint_finds_no_damage(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the log that were merged since the walk read what there is are looked for where they went."""
    store, script = LanceStore(place), Script()
    for tick in range(8):
        store.commit([script.tick(spots({1: float(tick)}))])
        if tick < 7:
            store._log.checkpoint()
    block = Log.block

    def late(log: Log, ref: BlockRef) -> Block:
        if log is not store._log:
            monkeypatch.setattr(Log, "block", block)
            store._log.checkpoint()
        return block(log, ref)

    monkeypatch.setattr(Log, "block", late)
    report = verify(place)
    assert report.is_sound, str(report)
    assert Log.block is block
    store.close()


def test_compaction_gives_damage_no_checksum_of_its_own(place: Path) -> None:
    """A file that went bad after it was written, and read, by this very process is not brought together with others."""
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
    assert [one.problem for one in verify(place).findings] == ["its checksum does not fit its bytes"]


def test_leftovers_are_harmless_and_removed(place: Path) -> None:
    """What a killed writer left beside what counts is named as harmless, and gone once the store was opened."""
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
    """After compact a table has one version, few files, and the same rows."""
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


def test_a_damaged_file_is_not_written_again_and_holds_nothing_else_up(place: Path) -> None:
    """Bringing together reads only what is as it was written; what it cannot is told of, after all others are done."""
    store, script = LanceStore(place), Script()
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
    assert [one.problem for one in verify(place).findings] == ["its checksum does not fit its bytes"]


@pytest.mark.thorough
def test_a_scan_survives_compaction_by_somebody_else(place: Path) -> None:
    """A reader in the middle of a scan goes on where the files that it read from were brought together and removed."""
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


def test_the_journal_is_looked_at_as_well(place: Path) -> None:
    """What is wrong with the journal is named beside what is wrong with the store."""
    store = open_lance(str(place))
    assert isinstance(store, JournaledStore)
    store.commit([Script().tick(spots({1: 1.0}))])
    store.close()
    for path in (place / "journal").glob("*.sqlite"):
        path.write_bytes(path.read_bytes()[:100])
    findings = verify(place).findings
    assert any("journal" in one.place for one in findings)
    assert any("repair" in one.remedy for one in findings)


def test_a_journal_that_is_gone_is_missed(place: Path) -> None:
    """Ticks that only the journal had are not forgotten silently: opening is refused until somebody says so (S4)."""
    store, script = open_lance(str(place)), Script()
    store.commit([script.tick(spots({1: 1.0}))])
    store.close()
    moved = place.with_name("moved")
    place.rename(moved)
    open_lance(str(moved)).close()
    shutil.rmtree(moved / "journal")
    assert not verify(moved).is_sound
    with pytest.raises(CorruptStore, match="it is gone"):
        open_lance(str(moved))
    (moved / "_log" / "journal").unlink()
    store = open_lance(str(moved))
    assert [record.tick for record in store.worlds()] == [0]
    store.close()
    assert verify(moved).is_sound


def test_a_journal_that_another_makes_is_not_missed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that another opens with its journal between two looks at the place is not damaged (S4)."""
    look, guests = Path.exists, ["another"]

    def exists(path: Path) -> bool:
        seen = look(path)
        if path.parent == place / "journal" and guests:
            guests.pop()
            open_lance(str(place)).close()
        return seen

    monkeypatch.setattr(Path, "exists", exists)
    open_lance(str(place)).close()
    assert not guests


def test_ticks_that_wait_in_the_journal_are_counted(place: Path) -> None:
    """A report counts ticks wherever they are, and a path with two slashes before it is the same path."""
    store, script = open_lance(str(place), CacheConfig(idle_s=3600.0)), Script()
    store.commit([script.tick(spots({1: float(tick)})) for tick in range(3)])
    store.seal()
    store.commit([script.tick(spots({1: 3.0}))])
    assert verify(place).ticks == 4
    report = verify(f"/{place}")
    assert (report.is_sound, report.ticks) == (True, 4)
    store.close()
