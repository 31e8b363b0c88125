"""Event streams: every tick and every settled command once, also after a break; a slow reader holds up nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import TIMEOUT_S, Serving, config, serving

from archetype_core.command import AuditRow
from archetype_server import Limits
from archetype_server.audit_feed import AuditFeed
from archetype_server.event_stream import Place
from archetype_server.redaction import Redaction

SHIP = {"components": [{"type": "Position"}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        yield here


class Reader:
    """Follows an event stream in a thread."""

    def __init__(self, server: Serving, path: str, last_id: str | None = None, role: str = "viewer") -> None:
        self.events: list[dict[str, Any]] = []
        self.begun = threading.Event()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._server, self._path = server, path
        self._headers = {"X-Archetype-Role": role, **({} if last_id is None else {"Last-Event-ID": last_id})}
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()
        assert self.begun.wait(TIMEOUT_S)

    def _follow(self) -> None:
        # The client is closed while the stream is read.
        with contextlib.suppress(httpx2.HTTPError, OSError):
            self._read()

    def _read(self) -> None:
        event: dict[str, Any] = {}
        with self._server.http.stream("GET", self._path, headers=self._headers) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                self.begun.set()
                name, _, value = line.partition(": ")
                if name in ("id", "event"):
                    event[name] = value
                elif name == "data":
                    with self._changed:
                        self.events.append({**event, **json.loads(value)})
                        self._changed.notify_all()
                if self._stop.is_set():
                    return

    def wait_for(self, is_there: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Wait until the events are so, and return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_there(self.events), TIMEOUT_S), self.events
            return list(self.events)

    def stop(self) -> None:
        """Take no more events."""
        self._stop.set()


def commands(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The types and states of the commands among events."""
    return [(one["type"], one["status"]) for one in events if one["event"] == "command"]


def test_ticks_and_commands_are_told(server: Serving) -> None:
    """A stream of both has every tick, and every command when it is settled: at its tick, or when it was refused."""
    world = server.world("both")
    reader = Reader(server, f"/v1/worlds/{world}/events?kinds=tick,command")
    server.ok("POST", f"/worlds/{world}/commands", {"command": {"type": "spawn", **SHIP}, "tick": 1})
    server.problem("POST", f"/worlds/{world}/step", role="viewer")
    server.ok("GET", f"/worlds/{world}/state")
    server.ok("POST", f"/worlds/{world}/run", {"steps": 2})
    events = reader.wait_for(
        lambda seen: ("run", "applied") in commands(seen) and ("spawn", "applied") in commands(seen)
    )
    assert sorted(commands(events)) == [("run", "applied"), ("spawn", "applied"), ("step", "rejected")]
    assert [one["tick"] for one in events if one["event"] == "tick"] == [0, 1]
    (spawned,) = [one for one in events if one.get("type") == "spawn"]
    assert (spawned["tick"], spawned["payload"]["components"][0]["type"]) == (1, "Position")
    reader.stop()


def test_a_break_loses_nothing_and_doubles_nothing(server: Serving) -> None:
    """With the last id, a reader goes on exactly where it stopped, also with what it missed when nobody listened (H3)."""
    world = server.world("breaks")
    told: list[tuple[str, Any]] = []
    last: str | None = None
    for number in range(4):
        reader = Reader(server, f"/v1/worlds/{world}/events?kinds=command,tick&types=spawn", last)
        server.ok("POST", f"/worlds/{world}/entities", SHIP)
        server.ok("POST", f"/worlds/{world}/step")
        wanted = 2 * number + 1

        def is_there(seen: list[dict[str, Any]], wanted: int = wanted) -> bool:
            ticks = [one["tick"] for one in seen if one["event"] == "tick"]
            return ticks[-1:] == [wanted - 1] and len(commands(seen)) >= (1 if wanted == 1 else 2)

        events = reader.wait_for(is_there)
        told += [(one["event"], one.get("command_id", one["tick"])) for one in events]
        last = events[-1]["id"]
        reader.stop()
        # Nobody listens, and a tick goes by.
        server.ok("POST", f"/worlds/{world}/entities", SHIP)
        server.ok("POST", f"/worlds/{world}/step")
    assert len(told) == len(set(told))
    assert [one for kind, one in told if kind == "tick"] == list(range(7))
    assert sum(kind == "command" for kind, _ in told) == 7


def test_types_choose_commands_and_reads_can_be_followed(server: Serving) -> None:
    """Only the types that were asked for are told; reads only if they are named."""
    world = server.world("types")
    reader = Reader(server, f"/v1/worlds/{world}/events?kinds=command&types=query_world,step")
    server.ok("POST", f"/worlds/{world}/step")
    server.ok("POST", f"/worlds/{world}/run", {"steps": 1})
    server.ok("GET", f"/worlds/{world}/digest")
    assert commands(reader.wait_for(lambda seen: len(seen) == 2)) == [("step", "applied"), ("query_world", "applied")]
    reader.stop()


def test_all_worlds_are_followed_by_one_stream(server: Serving) -> None:
    """One stream has the commands of every world, those that create and destroy worlds among them."""
    reader = Reader(server, "/v1/events?types=create_world,destroy_world,step")
    world = server.world("one of all")
    server.ok("POST", f"/worlds/{world}/step")
    server.ok("DELETE", f"/worlds/{world}", role="operator")
    events = reader.wait_for(lambda seen: ("destroy_world", "applied") in commands(seen))
    mine = [one for one in events if one["world_id"] == world]
    assert commands(mine) == [("create_world", "applied"), ("step", "applied"), ("destroy_world", "applied")]
    assert mine[0]["payload"]["storage"] == "<storage>"
    reader.stop()


def test_a_stream_ends_with_its_world(server: Serving) -> None:
    """The last event is the command that destroyed the world."""
    world = server.world("ends")
    reader = Reader(server, f"/v1/worlds/{world}/events?kinds=tick,command")
    server.ok("DELETE", f"/worlds/{world}")
    reader.thread.join(TIMEOUT_S)
    assert not reader.thread.is_alive()
    assert commands(reader.events)[-1] == ("destroy_world", "applied")


@pytest.mark.parametrize(
    ("path", "last_id", "status"),
    [
        ("/worlds/demo/events", "x", 400),
        ("/worlds/demo/events", "1-2-3", 400),
        ("/worlds/demo/events", "9" * 30, 400),
        ("/worlds/demo/events?kinds=everything", None, 400),
        ("/worlds/demo/events?types=step", None, 422),
        ("/worlds/nowhere/events?kinds=command", None, 404),
    ],
)
def test_wrong_streams_are_refused(server: Serving, path: str, last_id: str | None, status: int) -> None:
    """A wrong id, kind or world is a problem, not an empty stream."""
    with contextlib.suppress(AssertionError):
        server.world("demo")
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    assert server.problem("GET", path, headers=headers)["status"] == status


@given(tick=st.none() | st.integers(0, 10**17), seq=st.none() | st.integers(0, 10**17))
def test_places_are_read_as_they_are_written(tick: int | None, seq: int | None) -> None:
    """The id of an event names the place that it stands for."""
    assert Place.of(str(Place(tick, seq))) == Place(tick, seq)


def _row(seq: int) -> AuditRow:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return AuditRow(seq, str(seq), "w", "ada", ("player",), "spawn", "{}", "applied", "", 1, moment, moment, 0.0)


def test_a_feed_has_a_bound_and_tells_who_is_too_slow(tmp_path: Any) -> None:
    """The feed keeps so many rows; a place before them is known to be gone, a place within them has all that follows."""
    rows = [_row(seq) for seq in range(1, 31)]

    async def read(after: int | None, limit: int) -> tuple[AuditRow, ...]:
        return (_row(0),) if after is None else tuple(one for one in rows if one.seq > after)[:limit]

    async def main() -> None:
        feed, wake = AuditFeed(read, Redaction(config(tmp_path)), rows=10), asyncio.Event()
        async with feed.listen(wake):
            async with asyncio.timeout(TIMEOUT_S):
                await wake.wait()
            assert feed.since(0) is None
            assert feed.since(19) is None
            kept = feed.since(20)
            assert kept is not None
            assert [one.seq for one in kept] == list(range(21, 31))
            assert feed.since(30) == []
        assert feed._reading is None

    asyncio.run(main())


def test_who_reads_nothing_is_cut_off_and_holds_up_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A connection whose client reads nothing is closed; meanwhile others get their events."""
    with serving(config(tmp_path_factory.mktemp("slow"), limits=replace(Limits(), send_s=0.5))) as here:
        world = here.world("w")
        for _ in range(3):
            here.ok("POST", f"/worlds/{world}/entities/batch", {"bundles": [[{"type": "Position"}]] * 20_000})
        here.ok("POST", f"/worlds/{world}/step")
        path = f"/v1/worlds/{world}/components?components=Position"
        with socket.create_connection(("127.0.0.1", int(here.url.rpartition(":")[2]))) as slow:
            accept = "application/x-ndjson"
            slow.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
            reader = Reader(here, f"/v1/worlds/{world}/events")
            here.ok("POST", f"/worlds/{world}/run", {"steps": 3})
            reader.wait_for(lambda seen: seen[-1:] != [] and seen[-1]["tick"] == 3)
            # The reader's stream and this request are what is left in the end.
            waited = threading.Event()
            for _ in range(100):
                if "archetype_http_requests_in_flight 2\n" in here.ask("GET", "/metrics").text:
                    break
                waited.wait(0.1)
            else:
                pytest.fail("the connection was not closed")
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := slow.recv(1 << 20):
                    received = received[-100:] + part
            assert not received.endswith(b"0\r\n\r\n")
            reader.stop()
