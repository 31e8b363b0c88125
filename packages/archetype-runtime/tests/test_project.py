"""The project that a user starts from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archetype.project import create_project


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a project."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_project_runs_and_goes_on(tmp_path: Path) -> None:
    """The simulation runs as it stands, and goes on when it runs again; its tests pass."""
    create_project(tmp_path / "new")
    for tick in (20, 40):
        done = python(tmp_path / "new", "-W", "error", "simulation.py")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"tick {tick}\n")
    tested = python(tmp_path / "new", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "2 passed" in tested.stdout


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """If one of its files is there, that is named and nothing is written."""
    (tmp_path / "simulation.py").write_text("mine")
    with pytest.raises(FileExistsError) as caught:
        create_project(tmp_path)
    assert caught.value.filename == str(tmp_path / "simulation.py")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("simulation.py", "mine")]


def test_name_of_the_project(tmp_path: Path) -> None:
    """A directory's name becomes a valid name of a distribution."""
    create_project(tmp_path / "Große Welt {1}")
    assert 'name = "gro-e-welt-1"' in (tmp_path / "Große Welt {1}" / "pyproject.toml").read_text()
