"""The one place where errors become a message and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import click

from archetype_cli.command_group import archetype
from archetype_cli.exit_code import ExitCode, exit_code_of
from archetype_cli.failure import Failure, PipeClosed
from archetype_cli.safe_text import shown


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. Errors are at most two lines on standard error."""
    _handle_interrupts()
    _write_any_text()
    try:
        outcome = archetype.main(list(arguments), prog_name="archetype", standalone_mode=False)
    except SystemExit as leaving:
        # The command's own, or click's when it prints help and nobody reads it.
        return leaving.code if isinstance(leaving.code, int) else ExitCode.OK
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as failure:  # noqa: BLE001  # reason: this is where every error ends
        return _report(failure)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _report(failure: Exception) -> int:
    """Print an error and return its exit code."""
    if isinstance(failure, PipeClosed):
        # Nobody reads the rest. Python would complain about it once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.PIPE_CLOSED
    if isinstance(failure, click.exceptions.Exit):
        return failure.exit_code
    known = _known(failure)
    if known is None:
        if os.environ.get("ARCHETYPE_TRACEBACK"):
            raise failure
        known = Failure(
            f"{type(failure).__name__}: {failure}", "this is a defect; ARCHETYPE_TRACEBACK=1 shows where it happened"
        )
    _say(f"error: {known.what}")
    if known.hint:
        _say(f"hint: {known.hint}")
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
        return Failure(str(failure), "", exit_code_of(code))
    if isinstance(failure, OSError):
        place = f"{failure.filename}: " if failure.filename else ""
        code_of = ExitCode.NOT_FOUND if isinstance(failure, FileNotFoundError) else ExitCode.FAILED
        code_of = ExitCode.NOT_ALLOWED if isinstance(failure, PermissionError) else code_of
        return Failure(f"{place}{failure.strerror or failure}", "", code_of)
    return None


def _say(line: str) -> None:
    click.echo(shown(line), err=True)


def _handle_interrupts() -> None:
    """Let the first Ctrl-C unwind, so that files are closed, and the second one end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        return

    def again(_signum: int, _frame: FrameType | None) -> None:
        os._exit(ExitCode.INTERRUPTED)

    def first(_signum: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, again)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, first)


def _write_any_text() -> None:
    """Let a terminal without Unicode get escapes in place of characters that it cannot show."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
