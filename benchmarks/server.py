"""The server as a process of its own over the journal, and a client with 16 connections on the loopback interface."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import _measure
import pyarrow as pa

CONNECTIONS = 16
SERVER = """
import asyncio, sys
from archetype_core.config import StorageConfig
from archetype_gate import Quotas
from archetype_server import Limits, ServerConfig
from archetype_server.serve import run
most = 10**12
limits = Limits(requests_per_s=most, burst=most, streams=5000)
config = ServerConfig(port=0, storage=StorageConfig("journal:" + sys.argv[1]), is_dev=True, limits=limits,
                      quotas=Quotas(commands=most, credits=most))
asyncio.run(run(config, is_json=True))
"""
BARE = """
import asyncio, json, socket, sys
import uvicorn
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind.endswith("shutdown"):
                return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"15")]
    await send({"type": "http.response.start", "status": 201, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"entity_id":7}'})
bound = socket.create_server(("127.0.0.1", 0))
print(json.dumps({"url": f"http://127.0.0.1:{bound.getsockname()[1]}"}), flush=True)
config = uvicorn.Config(app, http="httptools", loop="asyncio", log_config=None, access_log=False)
asyncio.run(uvicorn.Server(config).serve(sockets=[bound]))
"""
SHIP = [{"type": "Position", "x": 1.0, "y": 2.0}, {"type": "Velocity", "dx": 0.5, "dy": 0.25}]
ARROW = "application/vnd.apache.arrow.stream"


class Connection:
    """One HTTP connection that stays open. It parses what this server sends, and no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 24))

    def close(self) -> None:
        """End the connection."""
        self.writer.close()

    async def send(self, method: str, path: str, body: bytes = b"", accept: str = "*/*") -> dict[bytes, bytes]:
        """Send a request and return the headers of its answer, which must be a success."""
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n{kind}\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
        if not lines[0].split(b" ")[1].startswith(b"2"):
            raise RuntimeError((lines[0] + await self._body(headers)).decode())
        return headers

    async def ask(self, method: str, path: str, body: bytes = b"", accept: str = "*/*") -> bytes:
        """Send a request and return the body of its answer."""
        return await self._body(await self.send(method, path, body, accept))

    async def _body(self, headers: dict[bytes, bytes]) -> bytes:
        if b"content-length" in headers:
            return await self.reader.readexactly(int(headers[b"content-length"]))
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give the chunks of an answer as they come."""
        while size := int(await self.reader.readline(), 16):
            yield await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()


@contextlib.asynccontextmanager
async def connections(port: int, count: int) -> AsyncIterator[list[Connection]]:
    """So many open connections."""
    opened = [await Connection.open(port) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


async def repeated(port: int, count: int, work: Callable[[Connection], Awaitable[Any]]) -> tuple[float, list[float]]:
    """The seconds that so many requests take over all connections, and each of them."""
    taken: list[float] = []

    async def worker(connection: Connection, times: int) -> None:
        for _ in range(times):
            began = time.perf_counter()
            await work(connection)
            taken.append(time.perf_counter() - began)

    async with connections(port, CONNECTIONS) as opened:
        began = time.perf_counter()
        await asyncio.gather(*(worker(one, count // CONNECTIONS) for one in opened))
        return time.perf_counter() - began, taken


async def created(port: int, name: str) -> str:
    """Create a world and return its id."""
    async with connections(port, 1) as (one,):
        answer = await one.ask("POST", "/v1/worlds", json.dumps({"name": name}).encode())
    world: str = json.loads(answer)["world_id"]
    return world


async def filled(port: int, name: str, rows: int) -> str:
    """Create a world with so many entities, one tick old."""
    world = await created(port, name)
    async with connections(port, 1) as (one,):
        body = json.dumps({"bundles": [SHIP] * min(rows, 20_000)}).encode()
        for _ in range(0, rows, 20_000):
            await one.ask("POST", f"/v1/worlds/{world}/entities/batch", body)
        await one.ask("POST", f"/v1/worlds/{world}/step")
    return world


async def spawns(port: int, count: int) -> dict[str, float]:
    """Single spawns, each on disk when it is answered."""
    world = await created(port, "spawns")
    body = json.dumps({"components": SHIP}).encode()
    seconds, taken = await repeated(port, count, lambda one: one.ask("POST", f"/v1/worlds/{world}/entities", body))
    return {
        "spawns_per_s": count / seconds,
        "spawn_p50_ms": 1e3 * _measure.percentile(taken, 50),
        "spawn_p99_ms": 1e3 * _measure.percentile(taken, 99),
    }


async def constants(port: int, count: int) -> dict[str, float]:
    """The same requests to a server that answers a constant: what connections and client cost on this machine now."""
    body = json.dumps({"components": SHIP}).encode()
    seconds, _ = await repeated(port, count, lambda one: one.ask("POST", "/v1/worlds/any/entities", body))
    return {"constants_per_s": count / seconds}


async def batches(port: int, count: int) -> dict[str, float]:
    """Spawns of a thousand entities each."""
    world = await created(port, "batches")
    body = json.dumps({"bundles": [SHIP] * 1000}).encode()
    seconds, _ = await repeated(port, count, lambda one: one.ask("POST", f"/v1/worlds/{world}/entities/batch", body))
    return {"batched_entities_per_s": 1000 * count / seconds}


async def reads(port: int, world: str, rows: int, times: int) -> dict[str, float]:
    """All rows of a tick as Arrow, from memory and from the store; numbers and a density of them."""
    paths = {
        "arrow_s": (f"/v1/worlds/{world}/components?components=Position,Velocity", ARROW),
        "arrow_of_past_tick_s": (f"/v1/worlds/{world}/components?components=Position,Velocity&tick=0", ARROW),
        "aggregate_s": (f"/v1/worlds/{world}/aggregate?columns=position__x&bins=50", "*/*"),
        "density_s": (f"/v1/worlds/{world}/density?x=position__x&y=position__y&x_bins=1000&y_bins=600", ARROW),
        "page_s": (f"/v1/worlds/{world}/state?limit=100", "*/*"),
    }
    found = {}
    async with connections(port, 1) as (one,):
        await one.ask("POST", f"/v1/worlds/{world}/step")
        for name, (path, accept) in paths.items():
            taken = []
            for _ in range(times):
                began = time.perf_counter()
                answer = await one.ask("GET", path, accept=accept)
                taken.append(time.perf_counter() - began)
            if name.startswith("arrow"):
                assert pa.ipc.open_stream(answer).read_all().num_rows == rows
            found[name] = statistics.median(taken)
    return found


async def liveness(port: int, world: str, steps: int) -> dict[str, float]:
    """How long ``/livez`` takes while a large world ticks."""
    taken: list[float] = []
    async with connections(port, 2) as (stepping, asking):
        ticking = asyncio.create_task(
            stepping.ask("POST", f"/v1/worlds/{world}/run", json.dumps({"steps": steps}).encode())
        )
        while not ticking.done():
            began = time.perf_counter()
            await asking.ask("GET", "/livez")
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(0.002)
        await ticking
    return {
        "livez_p50_ms": 1e3 * _measure.percentile(taken, 50),
        "livez_p99_ms": 1e3 * _measure.percentile(taken, 99),
        "livez_max_ms": 1e3 * max(taken),
    }


async def subscribers(port: int, count: int, ticks: int) -> dict[str, float]:
    """Ticks that are told to many event streams; one of them reads nothing."""
    world = await filled(port, f"told to {count}", 100)
    heard: list[float] = []

    async def follow(connection: Connection) -> None:
        async for chunk in connection.chunks():
            if f"id: {ticks}\n".encode() in chunk:
                heard.append(time.perf_counter())
                return

    async with connections(port, count + 2) as (stepping, slow, *opened):
        for one in (slow, *opened):
            await one.send("GET", f"/v1/worlds/{world}/events")
        following = asyncio.gather(*map(follow, opened))
        began = time.perf_counter()
        await stepping.ask("POST", f"/v1/worlds/{world}/run", json.dumps({"steps": ticks}).encode())
        ended = time.perf_counter()
        await asyncio.wait_for(following, 60)
    assert len(heard) == count
    return {"told_ticks_per_s": ticks / (ended - began), "last_told_after_ms": (max(heard) - ended) * 1e3}


async def measured(port: int, is_quick: bool) -> dict[str, Any]:
    """All figures."""
    rows = 40_000 if is_quick else 1_000_000
    world = await filled(port, "large", rows)
    return {
        "rows": rows,
        "cpus": os.cpu_count(),
        **await spawns(port, 160 if is_quick else 8000),
        **await batches(port, 16 if is_quick else 320),
        **await reads(port, world, rows, 2 if is_quick else 5),
        **await liveness(port, world, 3 if is_quick else 20),
        **await subscribers(port, 50 if is_quick else 1000, 20 if is_quick else 200),
    }


BOUNDS: dict[str, _measure.Bound] = {
    "spawns_per_s": (">=", 1500),
    "batched_entities_per_s": (">=", 100_000),
    "arrow_s": ("<=", 1.0),
    "livez_p99_ms": ("<=", 100),
}


@contextlib.contextmanager
def served(program: str, place: str) -> Iterator[int]:
    """The port of a server that runs in a process of its own."""
    command = [sys.executable, "-c", program, str(Path(place) / "data")]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        print(f"server {server.pid} on {url}", file=sys.stderr)
        try:
            yield int(url.rpartition(":")[2])
        finally:
            server.terminate()


def main() -> None:
    """Start a server, measure it, and stop it."""
    wanted = _measure.arguments(__doc__ or "")
    with tempfile.TemporaryDirectory(dir=wanted.dir) as place:
        with served(BARE, place) as port:
            found = asyncio.run(constants(port, 160 if wanted.quick else 8000))
        with served(SERVER, place) as port:
            found |= asyncio.run(measured(port, wanted.quick))
    _measure.report("server", found, BOUNDS, wanted.out)


if __name__ == "__main__":
    main()
