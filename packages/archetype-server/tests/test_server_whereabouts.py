"""The note of a running server, for commands of the same user."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from archetype_server.whereabouts import announced


def test_a_note_is_kept_while_the_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the address, the process and the state directory, only its user can read it, and it goes with the server."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with announced("http://127.0.0.1:8123", tmp_path / "state"):
        path = tmp_path / "archetype" / "servers" / "8123.json"
        told = {"url": "http://127.0.0.1:8123", "pid": os.getpid(), "state": str(tmp_path / "state")}
        assert json.loads(path.read_text()) == told
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == []


def test_without_a_place_for_notes_a_server_runs_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that cannot be written is no reason to refuse to serve."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with announced("http://127.0.0.1:8123", tmp_path):
        pass
