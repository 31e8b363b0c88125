"""The error of a command: what happened, what to do, and the exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from archetype_cli.exit_code import ExitCode


class Failure(Exception):
    """A command cannot go on. ``hint`` says in one line what to do."""

    def __init__(self, what: str, hint: str = "", exit_code: ExitCode = ExitCode.FAILED) -> None:
        self.what, self.hint, self.exit_code = what, hint, exit_code
        super().__init__(what)


class UnderWay(Failure):
    """The server is still doing what an earlier request with the same key has asked for."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C after the request was sent; the text says what the server goes on with."""


class PipeClosed(Exception):
    """Whoever reads the output has stopped reading."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one most likely means, if there is one."""
    names = list(known)
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if found:
        return found[0]
    folded = {one.casefold(): one for one in names}
    return folded.get(name.casefold())


def meant(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return the hint for an unknown name: the one that it most likely means, or ``otherwise``."""
    found = nearest(name, known)
    return f"did you mean {found!r}?" if found else otherwise
