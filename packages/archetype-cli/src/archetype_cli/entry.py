"""Where the process starts and ends. Only the standard library is imported before signals are handled."""

from __future__ import annotations

import os
import signal
import sys
from types import AsyncGeneratorType, FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED, TERMINATED = 130, 143


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    # Read by Daft when it is imported; see docs/runtime.md.
    os.environ.setdefault("DO_NOT_TRACK", "true")
    sys.unraisablehook = _unraisable
    try:
        signal.signal(signal.SIGTERM, _unwind)
        from archetype_cli.boundary import run

        code = run(sys.argv[1:])
        # What follows is no longer worth unwinding.
        signal.signal(signal.SIGINT, _leave_at_once)
    except KeyboardInterrupt:
        # During the imports, when nothing has begun. Inside a command, the boundary handles it.
        code = INTERRUPTED
    except SystemExit:
        code = TERMINATED
    leave(code)


def leave(code: int) -> NoReturn:
    """Flush and exit. After Daft worked, its threads may abort a normal exit of the interpreter; this one runs no threads."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 141
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        code = code or 141
    os._exit(code)


def _unraisable(failure: UnraisableHookArgs) -> None:
    """Report an error that nothing can catch, but for those of streams of Daft that a signal has cut off."""
    if not isinstance(failure.object, AsyncGeneratorType):
        sys.__unraisablehook__(failure)


def _unwind(_signum: int, _frame: FrameType | None) -> NoReturn:
    """End as a program does that is told to: files are closed, and temporary ones removed."""
    # Nobody waits any more for the tasks that this cuts off, so what they raise is no news. An import may be under way, so this
    # handler imports nothing.
    logger = getattr(sys.modules.get("asyncio.log"), "logger", None)
    if logger is not None:
        logger.disabled = True
    raise SystemExit(TERMINATED)


def _leave_at_once(_signum: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)
