"""Python blocks of the documentation run as they stand.

The blocks of one file share a namespace, in order, in a process and an empty directory of their own. Shell blocks are
prose here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from members import ROOT
from page import program, programs

PROGRAMS = programs()


def run(source: str, name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's program with warnings as errors; standard input is empty."""
    code = "import sys; exec(compile(sys.argv[2], sys.argv[1], 'exec'), {'__name__': '__main__'})"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, name, source],
        cwd=directory,
        env={**os.environ, "DO_NOT_TRACK": "true"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


Runs = Mapping[Path, Future[subprocess.CompletedProcess[str]]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Runs]:
    """The runs of all chosen pages, as many at a time as there are cores."""
    chosen = [item.callspec.params.get("page") for item in request.session.items if hasattr(item, "callspec")]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            page: pool.submit(run, text, str(page.relative_to(ROOT)), tmp_path_factory.mktemp("page"))
            for page, text in PROGRAMS.items()
            if page in chosen
        }


def test_quickstart_goes_on_with_its_world(tmp_path: Path) -> None:
    """The README's program runs twice in a process and again in the next, and its ball flies on from its last tick."""
    source = PROGRAMS[ROOT / "README.md"]
    twice = f"source = {source!r}\nfor _ in range(2):\n    exec(compile(source, 'README.md', 'exec'), {{'__name__': '__main__'}})"
    printed: list[str] = []
    for _ in range(2):
        done = run(twice, "README.md", tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        printed += [line for line in done.stdout.splitlines() if line.startswith("[")]
    # Each run makes three ticks before it prints, and three beside its fork.
    assert printed == [str([float(tick) for tick in range(count)]) for count in (3, 9, 15, 21)]


@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, runs: Runs) -> None:
    """The python blocks of the page run without an error or a warning."""
    name = str(page.relative_to(ROOT))
    done = runs[page].result()
    assert done.returncode == 0, f"{name} does not run\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("page", [ROOT / "docs" / "cookbook.md"], ids=lambda page: page.name)
def test_page_prints_what_it_shows(page: Path, runs: Runs) -> None:
    """The text blocks of the page are what its python blocks print."""
    shown = [line for line in program(page.read_text(), "text").splitlines() if line]
    assert runs[page].result().stdout.splitlines() == shown


def test_blocks_share_a_namespace_and_keep_their_lines(tmp_path: Path) -> None:
    """A later block sees an earlier one, and an error names the line of the page."""
    page = "# T\n```python\nx = 1\n```\n```bash\nexit 1\n```\n  ```python\n  if x:\n      raise KeyError(x)\n  ```\n"
    done = run(program(page), "page.md", tmp_path)
    assert done.returncode == 1
    assert 'File "page.md", line 10' in done.stderr
    assert done.stderr.endswith("KeyError: 1\n")


@pytest.mark.parametrize("page", ["```python no-run\nx = 1\n```\n", "```python\nx = 1\n"])
def test_blocks_cannot_hide(page: str) -> None:
    """A python block with options, or one that never ends, is refused instead of skipped."""
    with pytest.raises(ValueError, match="block"):
        program(page)
