"""The generator of the sync runtime."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import sync_twin


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runtime that the generator works on."""
    copy = tmp_path / "archetype"
    shutil.copytree(sync_twin.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(sync_twin, "PACKAGE", copy)
    return copy


def test_check_compares_with_the_async_source(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new async method makes the check fail with a diff; writing the sync modules makes it pass."""
    assert sync_twin.main(["--check"]) == 0
    source = package / "world.py"
    method = '''
    @waits_for("threads")
    async def rename(self, name: str, *, quietly: bool = False) -> RuntimeWorld:
        """Rename it: ``await world.rename("x")``."""
        return self

    def as_actor('''
    source.write_text(source.read_text().replace("\n    def as_actor(", method))
    assert sync_twin.main(["--check"]) == 1
    difference = capsys.readouterr().out
    assert '+        """Rename it: ``world.rename("x")``."""' in difference
    assert "+    def rename(self, name: str, *, quietly: bool = False) -> SyncRuntimeWorld:" in difference
    assert (
        '+        return self._handle(self._call(self._original.rename(name, quietly=quietly), "threads"))'
        in difference
    )
    assert sync_twin.main([]) == 0
    assert sync_twin.main(["--check"]) == 0


def test_async_method_says_what_it_waits_for(package: Path) -> None:
    """An async method without `waits_for` stops the generator, which names it."""
    source = package / "world.py"
    source.write_text(source.read_text().replace('    @waits_for("tick")\n    async def step', "    async def step"))
    with pytest.raises(SystemExit, match="step"):
        sync_twin.main(["--check"])
