"""Fixtures: a stored history, the command, and servers. A plugin, as test modules load it."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_scene import Command, Served, make_history, served


@pytest.fixture(scope="session", autouse=True)
def _interrupts() -> Iterator[None]:
    """Commands that tests start take Ctrl-C, also where the tests run in the background and ignore it."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no-state"))
    return Command(capsys)


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without flags but for its port and a store that opens fast."""
    with served(tmp_path_factory.mktemp("plain"), "--storage", "journal:./archetype-data") as running:
        yield running


@pytest.fixture(scope="session")
def dev_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in developer mode with worlds of many types."""
    template = str(Path(__file__).with_name("racing.py"))
    with served(tmp_path_factory.mktemp("dev"), "--dev", "--storage", "journal:./data", "--load", template) as running:
        yield running


@pytest.fixture
def at(command: Command, plain_server: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The plain server, for commands of the same user."""
    for name, value in plain_server.environment.items():
        monkeypatch.setenv(name, value)
    return plain_server


@pytest.fixture
def strange() -> Iterator[Callable[[bytes], str]]:
    """A function that makes an address at which everybody gets the same bytes."""
    with contextlib.ExitStack() as stack:

        def listen(answer: bytes) -> str:
            bound = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

            def answer_all() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        peer, _ = bound.accept()
                        with peer:
                            peer.recv(65_536)
                            peer.sendall(answer)

            threading.Thread(target=answer_all, daemon=True).start()
            return f"http://127.0.0.1:{bound.getsockname()[1]}"

        yield listen
