"""The one place where errors become a message and an exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import click

from archetype_cli.command_group import archetype
from archetype_cli.exit_code import ExitCode, exit_code_of
from archetype_cli.failure import Failure, Interrupted, PipeClosed
from archetype_cli.safe_text import shown

_HINTS = {
    "ARC-S009": "`archetype doctor` lists the stores in this directory",
    "ARC-S004": "`archetype verify` tells what is damaged",
}


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Errors are at most two lines on standard error."""
    _write_any_text()
    try:
        outcome = archetype.main(list(arguments), prog_name="archetype", standalone_mode=False)
    except SystemExit as leaving:
        # The command's own, click's when it prints help and nobody reads it, or that of SIGTERM.
        return leaving.code if isinstance(leaving.code, int) else ExitCode.OK
    except (KeyboardInterrupt, click.Abort) as stopped:
        _say_interrupted(stopped)
        return ExitCode.INTERRUPTED
    except Exception as failure:  # noqa: BLE001  # reason: this is where every error ends
        stop = _stop_below(failure)
        if stop is None:
            return _report(failure)
        if isinstance(stop, SystemExit):
            return ExitCode.TERMINATED
        _say_interrupted(failure)
        return ExitCode.INTERRUPTED
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _stop_below(failure: BaseException | None) -> BaseException | None:
    """Return what became an error in an import or below a compiled library: Ctrl-C or SIGTERM; ``None`` for a true error."""
    seen: set[int] = set()
    while failure is not None and id(failure) not in seen:
        seen.add(id(failure))
        if isinstance(failure, KeyboardInterrupt | SystemExit) or "KeyboardInterrupt" in str(failure):
            return failure
        failure = failure.__cause__ or failure.__context__
    return None


def _report(failure: Exception) -> int:
    """Print an error and return its exit code."""
    if isinstance(failure, PipeClosed):
        # Nobody reads the rest. Python would complain about it once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED
    if isinstance(failure, click.exceptions.Exit):
        return failure.exit_code
    if isinstance(failure, click.exceptions.NoArgsIsHelpError):
        click.echo(failure.format_message(), err=True)
        return ExitCode.USAGE
    known = _known(failure)
    if known is None:
        if os.environ.get("ARCHETYPE_TRACEBACK"):
            raise failure
        known = Failure(
            f"{type(failure).__name__}: {failure}", "this is a defect; ARCHETYPE_TRACEBACK=1 shows where it happened"
        )
    _say(f"error: {_as_line(known.what)}")
    if known.hint:
        _say(f"hint: {_as_line(known.hint)}")
    return known.exit_code


def _known(failure: Exception) -> Failure | None:
    """Return an error as one of ours; ``None`` for a defect of this program."""
    if isinstance(failure, Failure):
        return failure
    if isinstance(failure, click.UsageError):
        name = failure.ctx.command_path if failure.ctx else "archetype"
        hint = getattr(failure, "hint", "") or f"see `{name} --help`"
        return Failure(failure.format_message(), hint, ExitCode.USAGE)
    if isinstance(failure, click.ClickException):
        return Failure(failure.format_message(), "", ExitCode(failure.exit_code))
    if isinstance(failure, ExceptionGroup):
        return _known(failure.exceptions[0])
    code = getattr(failure, "code", None)
    if isinstance(code, str) and code.startswith("ARC-"):
        return Failure(str(failure), _HINTS.get(code, ""), exit_code_of(code))
    if isinstance(failure, OSError):
        place = f"{failure.filename}: " if failure.filename else ""
        code_of = ExitCode.NOT_FOUND if isinstance(failure, FileNotFoundError) else ExitCode.FAILED
        code_of = ExitCode.NOT_ALLOWED if isinstance(failure, PermissionError) else code_of
        return Failure(f"{place}{failure.strerror or failure}", "", code_of)
    return None


def _as_line(text: str) -> str:
    """A text of several lines, as libraries write them, as one, without the address of a library's own page."""
    return " ".join(re.sub(r"\s*For further information visit \S+", "", text).splitlines()).replace("\t", "")


def _say_interrupted(stopped: BaseException) -> None:
    """Say so, and what goes on elsewhere if the error tells; click puts another one around it."""
    told = stopped if isinstance(stopped, Interrupted) else stopped.__cause__
    _say(f"interrupted: {told}" if isinstance(told, Interrupted) else "interrupted")


def _say(line: str) -> None:
    click.echo(shown(line), err=True)


def _write_any_text() -> None:
    """Let a terminal without Unicode get escapes in place of characters that it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
