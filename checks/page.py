"""The Python blocks of the documentation, each line where it stands in its page."""

from __future__ import annotations

import re
from pathlib import Path

from members import ROOT

GLOBS = ("README.md", "docs/**/*.md", "packages/*/README.md", "contracts/README.md")
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")


def pages(root: Path = ROOT) -> list[Path]:
    """Every page whose blocks run as tests."""
    return [page for glob in GLOBS for page in sorted(root.glob(glob))]


def program(page: str, language: str = "python") -> str:
    """The blocks of a language in a page's text, with line numbers kept; refuses a block with options or without an end."""
    lines: list[str] = []
    indent: str | None = None
    is_wanted = False
    for line in page.splitlines():
        fence = FENCE.match(line)
        kept = ""
        if indent is None and fence:
            indent = fence["indent"]
            is_wanted = fence["info"].split() == [language]
            if fence["info"].startswith(language) and not is_wanted:
                raise ValueError(f"a {language} block takes no options: {line!r}")
        elif fence and not fence["info"].strip():
            indent = None
        elif indent is not None and is_wanted:
            kept = line.removeprefix(indent)
        lines.append(kept)
    if indent is not None:
        raise ValueError("a code block is not closed")
    return "\n".join(lines) + "\n"


def programs(root: Path = ROOT) -> dict[Path, str]:
    """The program of every page that has one."""
    texts = {page: program(page.read_text()) for page in pages(root)}
    return {page: text for page, text in texts.items() if text.strip()}
