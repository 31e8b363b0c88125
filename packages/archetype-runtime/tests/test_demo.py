"""The demo, as a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from archetype import plot


def archetype(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command's part of this package in a directory, without a terminal."""
    code = "import sys; from archetype.commands import demo; demo(sys.argv[2:], prog_name='archetype demo')"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


SMALL = ("demo", "--agents", "60", "--days", "8")


@pytest.mark.thorough
def test_demo_twice(tmp_path: Path) -> None:
    """The demo runs without a terminal, twice in the same directory, and the program that it suggests runs."""
    first, again = (archetype(tmp_path, *SMALL) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert (again.returncode, again.stderr) == (0, "")
    assert first.stdout.startswith("town-1: 60 people")
    assert again.stdout.startswith("town-2: 60 people")
    assert "The diff of the two branches: " in first.stdout
    assert "480 rows of town-1 alone, 2 worlds" in first.stdout
    assert "480 rows of town-2 alone, 4 worlds" in again.stdout
    assert "\x1b" not in first.stdout
    hint = "\n".join(line[4:] for line in again.stdout.splitlines() if line.startswith("    ") and "|" not in line)
    hint = hint[hint.index("from archetype") :]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", hint], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "health__state" in done.stdout


@pytest.mark.thorough
def test_demo_in_a_narrow_terminal_without_unicode(tmp_path: Path) -> None:
    """A terminal of 24 columns with ASCII alone gets a plot and tables."""
    done = archetype(tmp_path, *SMALL, COLUMNS="24", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a as it was" in done.stdout
    plotted = [line for line in done.stdout.splitlines() if " |" in line]
    assert max(map(len, plotted)) <= 24


@pytest.mark.thorough
def test_demo_says_what_is_wrong(tmp_path: Path) -> None:
    """A number out of range is refused before anything is written."""
    assert archetype(tmp_path, "demo", "--agents", "1").returncode == 2
    assert archetype(tmp_path, "demo", "--seed", "-1").returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_help(tmp_path: Path) -> None:
    """Help names the options and their defaults."""
    shown = archetype(tmp_path, "demo", "--help")
    assert shown.returncode == 0
    assert "[default: archetype-demo]" in shown.stdout


@pytest.mark.parametrize(("given", "kept"), [(None, "true"), ("false", "false")])
def test_usage_reports_are_off_by_default(given: str | None, kept: str) -> None:
    """Importing this package turns Daft's reports off before Daft is imported, unless the user has set the variable."""
    code = "import sys, archetype, os; assert 'daft' not in sys.modules; print(os.environ['DO_NOT_TRACK'])"
    environment = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    if given is not None:
        environment["DO_NOT_TRACK"] = given
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == kept


def test_curves_fit_where_they_are_drawn() -> None:
    """A plot has the width and height asked for, the highest value on its axis, and a mark for each series."""
    series = {"up": [0.0, 1.0, 2.0, 40.0], "flat": [3.0, 3.0]}
    for is_plain in (True, False):
        lines = [line.plain for line in plot.curves(series, width=30, height=5, is_plain=is_plain)]
        assert len(lines) == 6
        assert {len(line) for line in lines[:-1]} == {30}
        assert lines[0].startswith("40 |")
        assert lines[4].startswith(" 0 |")
        assert "up" in lines[-1]
        assert all(line.isascii() for line in lines) == is_plain
    rising = [line.plain for line in plot.curves({"up": [0.0, 1.0]}, width=6, height=3, is_plain=True)]
    assert rising == ["1 |  a", "  | a ", "0 |a  ", "   a up  "]


@pytest.mark.parametrize("series", [{}, {"none": []}, {"zero": [0.0]}])
def test_curves_of_nothing(series: dict[str, list[float]]) -> None:
    """No series, an empty series and a series of zeros can be drawn."""
    assert len(plot.curves(series, width=10, height=2)) == 3
