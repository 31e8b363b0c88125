"""Python blocks of the documentation run as they stand.

The blocks of one file share a namespace, in order, in a process and an empty directory of their own. Shell blocks are
prose here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("contracts/README.md")),
]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")


def program(page: str) -> str:
    """The python blocks of a page, each line where it stands, so that a traceback points into the page."""
    lines: list[str] = []
    indent: str | None = None
    is_python = False
    for line in page.splitlines():
        fence = FENCE.match(line)
        kept = ""
        if indent is None and fence:
            indent = fence["indent"]
            is_python = fence["info"].split() == ["python"]
            if fence["info"].startswith("python") and not is_python:
                raise ValueError(f"a python block takes no options: {line!r}")
        elif fence and not fence["info"].strip():
            indent = None
        elif indent is not None and is_python:
            kept = line.removeprefix(indent)
        lines.append(kept)
    if indent is not None:
        raise ValueError("a code block is not closed")
    return "\n".join(lines) + "\n"


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


def with_programs() -> list[Path]:
    """The pages that have something to run."""
    return [page for page in PAGES if program(page.read_text()).strip()]


@pytest.mark.parametrize("page", with_programs(), ids=lambda page: str(page.relative_to(ROOT)))
def test_page_runs(page: Path, tmp_path: Path) -> None:
    """The python blocks of the page run without an error or a warning."""
    name = str(page.relative_to(ROOT))
    done = run(program(page.read_text()), name, tmp_path)
    assert done.returncode == 0, f"{name} does not run\n{done.stdout}{done.stderr}"


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
