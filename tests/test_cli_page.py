"""The reference of the command line is what the commands say."""

from __future__ import annotations

import subprocess
import sys

from members import ROOT


def test_reference_is_current() -> None:
    """Every command, option and exit code is on the page, as the command itself describes it."""
    command = [sys.executable, str(ROOT / "checks" / "cli_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
