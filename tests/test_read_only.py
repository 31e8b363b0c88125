"""A copy of a history on read-only media can be read, and nothing there changes.

The tests take a place's write permission away. The child processes that then read it are without the privilege by which
root ignores permissions.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from archetype import Component, StorageReadOnly, SyncArchetypeRuntime
from archetype_core import open_store
from archetype_journal import JournaledStore, JournalStore
from archetype_journal import verify as verify_journal
from archetype_store_lance import LanceStore, verify

SCHEMES = ["journal:", "lance:"]

OBEDIENT = """
import ctypes, os, sys
drop_from_bounding_set, override_permissions = 24, 1
ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", *sys.argv[1:]])
"""
"""Runs a program without the privilege to ignore permissions, if this process has it."""

WRITER = """
import os, sys
from archetype import Component, SyncArchetypeRuntime

class Coin(Component):
    number: int = 0

runtime = SyncArchetypeRuntime(sys.argv[1])
world = runtime.world("w")
coin = world.spawn(Coin(number=1))
world.run(2)
if sys.argv[1].startswith("lance:"):
    runtime.seal()
world.update(coin, Coin(number=5))
world.run(1)  # only in the log of SQLite
world.history()  # the audit is on disk when this returns
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
runtime.shutdown()
"""

READER = """
import sys
from archetype import Component, StorageReadOnly, SyncArchetypeRuntime
from archetype.core.hooks import PreTick

class Coin(Component):
    number: int = 0

def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except StorageReadOnly as failure:
        assert sys.argv[1].partition(":")[2] in str(failure), failure
    else:
        raise AssertionError(f"{call} was not refused")

with SyncArchetypeRuntime(sys.argv[1]) as runtime:
    [info] = runtime.worlds()
    assert (info.name, info.tick) == ("w", 3)
    world = runtime.open(info.world_id)
    assert world.snapshot(Coin).to_pydict()["coin__number"] == [5]
    assert world.snapshot(Coin, at=1).to_pydict()["coin__number"] == [1]
    assert world.query(Coin).sort("tick").to_pydict()["coin__number"][-1] == 5
    assert world.diff(1, 2, Coin.c.number).to_pydict()["after"] == [5]
    before = [row["type"] for row in world.history()]
    assert "spawn" in before, before
    world.digest()
    # What is read now is in the audit too, in memory.
    assert len(world.history()) > len(before)
    refused(world.spawn, Coin())
    refused(world.update, 1, Coin())
    refused(world.despawn, 1)
    refused(world.submit_spawn, Coin())
    refused(world.step)
    refused(world.run, 2)
    refused(world.fork)
    refused(world.run_episode)
    refused(world.run_rollout)
    refused(world.destroy)
    refused(runtime.seal)
    refused(runtime.world("another").run, 1)
    world.add_hook(PreTick, print)
    branch = world.fork("branch", storage="memory:")
    branch.run(2)
    assert branch.snapshot(Coin).to_pydict()["coin__number"] == [5]
    assert world.snapshot(Coin).to_pydict()["coin__number"] == [5]
"""

CHECKER = """
import sys
from archetype_journal import read_segments, verify as verify_journal
from archetype_store_lance import verify

scheme, _, place = sys.argv[1].partition(":")
report = verify_journal(place) if scheme == "journal" else verify(place)
assert all(one.is_harmless for one in report.findings) if scheme == "lance" else report.is_sound, report
print(report)
[segment] = read_segments(place if scheme == "journal" else f"{place}/journal")
assert segment.last == 2
"""


class Coin(Component):
    number: int = 0


def run(code: str, *arguments: str, is_bound: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", *([OBEDIENT] if is_bound else []), textwrap.dedent(code), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "DO_NOT_TRACK": "true"},
    )


def contents(place: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every directory."""
    return {str(one.relative_to(place)): one.read_bytes() if one.is_file() else None for one in place.rglob("*")}


def protect(place: Path, *, writable: bool = False) -> None:
    """Take the permission to write a place and everything in it, or give it back."""
    for one in (place, *place.rglob("*")):
        one.chmod((0o700 if writable else 0o500) if one.is_dir() else (0o600 if writable else 0o400))


Written = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Histories by the scheme of their store and by how the process that wrote them ended."""
    made: dict[tuple[str, str], Path] = {}

    def master(scheme: str, ending: str) -> Path:
        if (scheme, ending) not in made:
            place = made[scheme, ending] = tmp_path_factory.mktemp("master") / "data"
            done = run(WRITER, f"{scheme}{place}", ending, is_bound=False)
            assert done.returncode == (-signal.SIGKILL if ending == "killed" else 0), done.stderr
        return made[scheme, ending]

    return master


@pytest.fixture
def written(masters: Written, tmp_path: Path) -> Written:
    """A copy of such a history, for one test."""
    return lambda scheme, ending: Path(shutil.copytree(masters(scheme, ending), tmp_path / "data"))


@pytest.mark.skipif(sys.platform != "linux" and os.geteuid() == 0, reason="root ignores permissions here")
@pytest.mark.parametrize("ending", ["closed", "killed"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_read_only_place_is_read_and_stays_as_it_is(written: Written, scheme: str, ending: str) -> None:
    """Opened, listed, queried, compared and verified; what changes it is refused; not one byte there is different (S7)."""
    place = written(scheme, ending)
    before = contents(place)
    assert any(name.endswith("-wal") for name in before) == (ending == "killed")
    protect(place)
    try:
        read = run(READER + CHECKER, f"{scheme}{place}")
        assert read.returncode == 0, read.stderr
        assert contents(place) == before
    finally:
        protect(place, writable=True)
    warnings = [line for line in read.stderr.splitlines() if "cannot be written" in line]
    assert len(warnings) == 1
    assert str(place) in warnings[0]


@pytest.mark.skipif(sys.platform != "linux" and os.geteuid() == 0, reason="root ignores permissions here")
def test_a_history_without_its_ledger_is_read(written: Written) -> None:
    """A copy without the ledger, or whose key only another user may read, has worlds all the same."""
    place = written("journal:", "closed")
    listing = "import sys; from archetype import SyncArchetypeRuntime as R\nwith R(sys.argv[1]) as r: print(r.worlds()[0].name)"
    for name in ("ledger.key", "ledger.sqlite"):
        (place / name).unlink()
        protect(place)
        before = contents(place)
        done = run(listing, f"journal:{place}")
        assert done.stdout == "w\n", done.stderr
        assert contents(place) == before
        protect(place, writable=True)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_store_opened_to_read_only_changes_nothing(written: Written, scheme: str) -> None:
    """The stores' own parameter does the same at a place that could be written, for root too."""
    place = written(scheme, "killed")
    before = contents(place)
    journal = place if scheme == "journal:" else place / "journal"
    found: JournalStore
    if scheme == "journal:":
        found = JournalStore(journal, read_only=True)
    else:
        beneath = LanceStore(place, read_only=True)
        found = front = JournaledStore(beneath, journal, read_only=True)
        for change in (front.seal, beneath.compact, beneath.sweep, beneath.publish, lambda: beneath.commit([])):
            with pytest.raises(StorageReadOnly, match=str(place)):
                change()
    assert found.is_read_only
    [world] = found.worlds()
    assert (world.name, world.tick, found.head(world.world_id).tick) == ("w", 2, 2)
    with pytest.raises(StorageReadOnly, match=str(place)):
        found.commit([])
    found.close()
    assert contents(place) == before
    assert (verify_journal if scheme == "journal:" else verify)(place)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_copy_of_the_journal_is_removed(tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing leaves nothing in the directory for temporary files."""
    place, temporary = tmp_path / "data", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with SyncArchetypeRuntime(f"{scheme}{place}") as runtime:
        world = runtime.world("w")
        world.spawn(Coin(number=1))
        world.run(1)
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    store = open_store(f"{scheme}{place}", create=False)
    assert len(list(temporary.iterdir())) == 1
    store.close()
    store.close()
    assert not list(temporary.iterdir())
    with pytest.raises(StorageReadOnly):
        open_store(f"{scheme}{place}")
    assert not list(temporary.iterdir())
