"""Run a command of uv with what its cache holds, which `uv run nox` has filled, and with the registry if that is not enough.

Versions are pinned, so both do the same; a registry that is slow for a moment is not waited for.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main(arguments: list[str]) -> int:
    """Run it; the exit code is uv's."""
    command = [os.environ.get("UV", "uv"), "--quiet", *arguments]
    cached = subprocess.run([*command, "--offline"], capture_output=True, check=False)
    if cached.returncode == 0:
        return 0
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
