"""Sealing through the runtime: ticks leave the journal for the store behind it."""

from __future__ import annotations

from pathlib import Path

from archetype import Component, SyncArchetypeRuntime
from archetype_journal import read_segments


class Coin(Component):
    number: int = 0


def test_sealing_empties_the_journal(tmp_path: Path) -> None:
    """``seal`` returns how many ticks it moved; worlds go on, and reads see no difference."""
    with SyncArchetypeRuntime(tmp_path / "data") as runtime:
        world = runtime.world("w")
        world.spawn(Coin(number=3))
        world.run(4)
        before = world.query(Coin).to_pydict()
        assert runtime.seal() == 4
        assert runtime.seal() == 0
        assert [(one.last, one.sealed) for one in read_segments(tmp_path / "data" / "journal")] == [(3, 3)]
        assert world.query(Coin).to_pydict() == before
        world.step()
        assert runtime.seal(tmp_path / "data") == 1
