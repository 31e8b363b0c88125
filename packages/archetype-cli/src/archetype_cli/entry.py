"""Where the process starts and ends. Only the standard library is imported before Ctrl-C is handled."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    # Read by Daft when it is imported; see docs/runtime.md.
    os.environ.setdefault("DO_NOT_TRACK", "true")
    try:
        from archetype_cli.boundary import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        # During the imports, when nothing has begun. Inside a command, the boundary handles it.
        code = 130
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
