"""The exit codes of the command, and which error has which."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the process tells its caller. The meaning of a number does not change."""

    OK = 0
    """It did what was asked."""
    FAILED = 1
    """It failed in a way that no other code names, or a check such as `diff --exit-code` says no."""
    USAGE = 2
    """An unknown command or option, or a value that is refused; nothing was done."""
    NOT_FOUND = 3
    """There is no such world, entity, tick, column, component or storage."""
    NOT_ALLOWED = 4
    """The actor's role or quota forbids it, there is no valid token, or the storage is read-only."""
    CONFLICT = 5
    """It does not fit what is there: a name in use, another writer, mutations that wait."""
    UNREACHABLE = 6
    """The server does not answer, or is not ready."""
    DAMAGED = 7
    """The storage or the audit log is damaged."""
    NOT_INSTALLED = 8
    """A package is missing; the message says what to install."""
    INTERRUPTED = 130
    """Ctrl-C."""
    PIPE_CLOSED = 141
    """Whoever read the output stopped reading, such as `head`."""
    TERMINATED = 143
    """SIGTERM."""


_BY_CODE = {
    ExitCode.USAGE: (
        "M001",
        "M002",
        "M003",
        "M004",
        "M006",
        "S007",
        "G004",
        "H003",
        "H018",
        "H004",
        "H005",
        "H006",
        "H007",
        "H008",
        "W007",
    ),
    ExitCode.NOT_FOUND: ("M005", "T001", "T007", "W001", "W002", "W004", "W006", "S009", "G007", "H002"),
    ExitCode.NOT_ALLOWED: ("G001", "G002", "S010", "H001", "H009", "H016"),
    ExitCode.CONFLICT: (
        "T003",
        "T004",
        "T006",
        "W003",
        "W005",
        "S002",
        "G003",
        "G008",
        "G009",
        "G010",
        "R002",
        "H013",
        "H014",
        "H015",
    ),
    ExitCode.UNREACHABLE: ("G006", "H011", "H012", "R001"),
    ExitCode.DAMAGED: ("S004",),
    ExitCode.NOT_INSTALLED: ("S006",),
}
_OF_CODE = {f"ARC-{code}": exit_code for exit_code, codes in _BY_CODE.items() for code in codes}


def exit_code_of(code: str) -> ExitCode:
    """Return the exit code of an error code such as ``ARC-W001``, the same for a local path and for a server."""
    return _OF_CODE.get(code, ExitCode.FAILED)
