"""Fixtures: a stored history, the command, and a server that stands in for ours. A plugin, as test modules load it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_scene import Command, make_history
from stand_in import StandIn


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a journal of two worlds; tests only read it."""
    place = tmp_path_factory.mktemp("race") / "data"
    make_history(f"journal:{place}")
    return place


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command, in this process, without settings of whoever runs the tests."""
    for name in ("PLACE", "URL", "TOKEN", "ROLE", "FORMAT", "TIMEOUT_S"):
        monkeypatch.delenv(f"ARCHETYPE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    return Command(capsys)


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A server on the loopback interface that answers as the wire contract says."""
    with StandIn() as standing_in:
        yield standing_in
