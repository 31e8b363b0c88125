"""A server in a process of its own, for tests that signal and kill it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from serving import TIMEOUT_S

PROGRAM = "from archetype_server.commands import serve; serve()"


class Child:
    """A server process that said that it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line.strip())
            if "ready on" in line:
                break
        assert self.said, "the server said nothing"
        assert "ready on" in self.said[-1], self.said
        self.url = self.said[-1].split()[-1]
        self.http = httpx2.Client(base_url=self.url, timeout=TIMEOUT_S)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed."""
        answer = self.http.request(method, path, **({} if body is None else {"json": body}))
        assert answer.is_success, answer.text
        return answer.json()

    def end(self, number: signal.Signals) -> int:
        """Send the process a signal and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@contextlib.contextmanager
def child(place: Path, *arguments: str) -> Iterator[Child]:
    """A server process below a directory."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "--port", "0", "--storage", f"journal:{place / 'data'}"]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=place,
        env={**os.environ, "XDG_STATE_HOME": str(place / "notes")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        server = Child(process)
        with server.http:
            yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(TIMEOUT_S)
        assert process.stderr is not None
        process.stderr.close()
