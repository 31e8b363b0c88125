"""The reference of the server is what its OpenAPI document says."""

from __future__ import annotations

import subprocess
import sys

from members import ROOT


def test_reference_is_current() -> None:
    """Every route, parameter and field is on the page, as the document describes it."""
    command = [sys.executable, str(ROOT / "checks" / "api_page.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
