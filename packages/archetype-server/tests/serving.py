"""A real server on a loopback address, in a thread of its own, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

from archetype_core.config import StorageConfig
from archetype_server import Limits, Server, ServerConfig

ROLES = ("viewer", "player", "operator", "admin")
TIMEOUT_S = 60


def config(place: Path, **changes: Any) -> ServerConfig:
    """A configuration of a server whose files are all below a directory."""
    plain = ServerConfig(port=0, storage=StorageConfig(uri=f"journal:{place / 'data'}"), is_dev=True)
    return replace(plain, **changes)


class Serving:
    """A server that runs in a thread, and a client for it."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.url = server.url
        self.http = httpx2.Client(base_url=server.url, timeout=TIMEOUT_S)

    def ask(self, method: str, path: str, body: Any = None, *, role: str = "admin", **more: Any) -> httpx2.Response:
        """Send a request in a role, with a JSON body if one is given."""
        headers = {"X-Archetype-Role": role, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.http.request(method, path, headers=headers, **more)

    def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Send a request that must succeed, and return its answer's data."""
        answer = self.ask(method, path, body, **more)
        assert answer.is_success, answer.text
        return answer.json()

    def problem(self, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """Send a request that must not succeed, and return its problem."""
        answer = self.ask(method, path, body, **more)
        assert not answer.is_success, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = answer.json()
        assert found["status"] == answer.status_code
        return found

    def world(self, name: str, **more: Any) -> str:
        """Create a world and return its id."""
        found: str = self.ok("POST", "/worlds", {"name": name, **more})["world_id"]
        return found


@contextlib.contextmanager
def serving(chosen: ServerConfig) -> Iterator[Serving]:
    """Run a server for the block, and stop it as a signal would."""
    runner = asyncio.Runner()
    loop = runner.get_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = Server(chosen)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(TIMEOUT_S)
        here = Serving(server, loop)
        try:
            yield here
        finally:
            here.http.close()
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(TIMEOUT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        runner.close()


SMALL = Limits(body_bytes=2000, body_depth=8, body_s=0.5, rows=50, steps=20, entities=5, streams=1, drain_s=1.0)
