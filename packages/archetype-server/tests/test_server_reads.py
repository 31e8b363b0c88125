"""Reads over HTTP: exact values, pages that later ticks do not change, and other formats than JSON."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from serving import Serving, config, serving

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
TEMPLATE = """
from datetime import datetime
from archetype_core.engine import Processor
from archetype_core.schema import Component, Vector
from archetype_server import WorldTemplate

class Odd(Component):
    number: float = 0.0
    text: str = ""
    data: bytes = b""
    big: int = 0
    maybe: int | None = None
    when: datetime | None = None
    many: list[float] = []

class Memory(Component):
    text: str = ""
    place: Vector(2) = [0.0, 0.0]

class Tag(Component):
    pass

class Ping(Component):
    to: int = 0

class Send(Processor):
    components = (Ping,)
    def process(self, df, messages, tick):
        for row in df.to_pylist():
            messages.send(row["ping__to"], {"tick": tick}, sender=row["entity_id"], kind="ping")

ODD = WorldTemplate("odd", components=[Odd, Tag])
PINGS = WorldTemplate("pings", processors=[Send])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with odd components."""
    place = tmp_path_factory.mktemp("server")
    (place / "odd_world.py").write_text(TEMPLATE)
    with serving(config(place, load=str(place / "odd_world.py"))) as here:
        here.world("odd")
        yield here


PAYLOADS = st.fixed_dictionaries(
    {
        "type": st.just("Odd"),
        "number": st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["NaN", "Infinity", "-Infinity"]),
        "text": st.text(st.characters(codec="utf-8"), max_size=20),
        "data": st.sampled_from(["", "AAE=", "/w=="]),
        "big": st.integers(-(2**63), 2**63 - 1),
        "maybe": st.none() | st.integers(0, 9),
        "when": st.none() | st.just("2026-01-31T12:00:00.000001"),
        "many": st.lists(st.sampled_from([0.0, 1.5, "NaN", "-Infinity"]), max_size=3),
    }
)


@settings(max_examples=25)
@given(payload=PAYLOADS)
def test_every_value_comes_back_as_it_was_sent(server: Serving, payload: dict[str, Any]) -> None:
    """What a component's payload holds survives the way in and out, in the state and in rows (M7)."""
    entity = server.ok("POST", "/worlds/odd/entities", {"components": [payload]})["entity_id"]
    server.ok("POST", "/worlds/odd/step")
    found = server.ok("GET", f"/worlds/odd/entities/{entity}")["components"]
    assert found == [payload]
    assert repr(found[0]["number"]) == repr(payload["number"])
    (row,) = server.ok("GET", f"/worlds/odd/components?components=Odd&entity_id={entity}")["items"]
    assert {name: row[f"odd__{name}"] for name in ("number", "text", "data", "big", "maybe", "many")} == {
        name: payload[name] for name in ("number", "text", "data", "big", "maybe", "many")
    }


@pytest.fixture(scope="module")
def crowd(server: Serving) -> str:
    """A world of seven entities in two tables, five ticks old."""
    world = server.world("crowd")
    for number in range(7):
        components: list[dict[str, Any]] = [{"type": "Odd", "big": number}]
        components += [{"type": "Tag"}] if number % 2 else []
        server.ok("POST", f"/worlds/{world}/entities", {"components": components})
    server.ok("POST", f"/worlds/{world}/run", {"steps": 5})
    return world


def _pages(server: Serving, path: str, between: Any = lambda: None) -> list[list[Any]]:
    """All pages of a list; ``between`` is called after the first."""
    pages, cursor = [], None
    while True:
        more = "" if cursor is None else f"{'&' if '?' in path else '?'}cursor={cursor}"
        page = server.ok("GET", path + more)
        pages.append(page["items"])
        if len(pages) == 1:
            between()
        cursor = page["next"]
        if cursor is None:
            return pages


@pytest.mark.parametrize(
    "path",
    [
        "/state?limit=3",
        "/components?components=Odd&limit=3",
        "/components?components=Odd&first_tick=1&limit=3",
        "/components?components=Odd&first_tick=1&last_tick=2&limit=3",
        "/entities/2/history?components=Odd&limit=2",
        "/diff?before=0&after=4&limit=1",
    ],
)
def test_pages_are_of_one_moment(server: Serving, path: str) -> None:
    """A tick between two pages changes no page: together they are what one answer would have been."""
    world = server.world(f"paged{path}")
    for number in range(7):
        server.ok("POST", f"/worlds/{world}/entities", {"components": [{"type": "Odd", "big": number}]})
    server.ok("POST", f"/worlds/{world}/run", {"steps": 4})
    server.ok("PATCH", f"/worlds/{world}/entities/1", {"components": [{"type": "Odd", "big": 9}]})
    server.ok("PATCH", f"/worlds/{world}/entities/3", {"components": [{"type": "Odd", "big": 9}]})
    server.ok("POST", f"/worlds/{world}/step")
    whole = (
        f"/worlds/{world}{path}".replace("limit=3", "limit=1000")
        .replace("limit=2", "limit=1000")
        .replace("limit=1&", "&")
    )
    (expected,) = _pages(server, whole.replace("limit=1", "limit=1000") if whole.endswith("limit=1") else whole)

    def step() -> None:
        server.ok("DELETE", f"/worlds/{world}/entities/7")
        server.ok("POST", f"/worlds/{world}/step")

    pages = _pages(server, f"/worlds/{world}{path}", step)
    assert len(pages) > 1
    assert [one for page in pages for one in page] == expected


def test_a_state_has_every_entity_with_all_its_components(server: Serving, crowd: str) -> None:
    """The entities of all tables, by id, at the last tick or at an earlier one (Q2)."""
    found = server.ok("GET", f"/worlds/{crowd}/state")
    assert (found["tick"], [one["entity_id"] for one in found["items"]]) == (4, list(range(1, 8)))
    assert [one["type"] for one in found["items"][1]["components"]] == ["Odd", "Tag"]
    assert found["items"][1]["components"][0]["big"] == 1
    past = server.ok("GET", f"/worlds/{crowd}/state?tick=0")
    assert (past["tick"], past["items"]) == (0, found["items"])
    assert server.ok("GET", f"/worlds/{server.world('empty')}/state")["items"] == []


def test_rows_come_in_the_accepted_format(server: Serving, crowd: str) -> None:
    """Arrow, Parquet, CSV and NDJSON have the rows that JSON has, with their types."""
    path = f"/worlds/{crowd}/components?components=Odd&first_tick=0"
    expected = server.ok("GET", path)["items"]
    assert len(expected) == 35

    def fetch(form: str) -> bytes:
        answer = server.ask("GET", path, headers={"accept": f"image/png;q=1, {form};q=0.9, */*;q=0.1"})
        assert answer.headers["content-type"].partition(";")[0] == form
        return answer.content

    arrow = pa.ipc.open_stream(fetch(ARROW)).read_all()
    assert arrow.schema.field("odd__big").type == pa.int64()
    assert arrow.column("odd__big").to_pylist() == [one["odd__big"] for one in expected]
    assert parquet.read_table(io.BytesIO(fetch(PARQUET))).column("tick").to_pylist() == [
        one["tick"] for one in expected
    ]
    assert csv.read_csv(io.BytesIO(fetch("text/csv"))).column("entity_id").to_pylist() == [
        one["entity_id"] for one in expected
    ]
    assert [json.loads(line) for line in fetch("application/x-ndjson").splitlines()] == expected
    wide = server.ask("GET", f"/worlds/{crowd}/state", headers={"accept": ARROW}).content
    assert pa.ipc.open_stream(wide).read_all().num_rows == 7


def test_too_many_rows_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An answer that would be larger than the limit is refused before it is built."""
    from dataclasses import replace

    from archetype_server import Limits

    with serving(config(tmp_path_factory.mktemp("small"), limits=replace(Limits(), rows=5))) as here:
        world = here.world("demo")
        here.ok("POST", f"/worlds/{world}/entities/batch", {"bundles": [[{"type": "Health"}]] * 3})
        here.ok("POST", f"/worlds/{world}/run", {"steps": 2})
        assert len(here.ok("GET", f"/worlds/{world}/components?components=Health")["items"]) == 3
        found = here.problem("GET", f"/worlds/{world}/components?components=Health&first_tick=0")
        assert (found["status"], found["code"]) == (422, "ARC-H018")


def test_messages_are_read(server: Serving) -> None:
    """Messages between entities are history, filtered and in the order of sending (G7)."""
    world = server.world("pings", template="pings")
    for to in (2, 1):
        server.ok("POST", f"/worlds/{world}/entities", {"components": [{"type": "Ping", "to": to}]})
    server.ok("POST", f"/worlds/{world}/run", {"steps": 3})
    found = server.ok("GET", f"/worlds/{world}/messages")["items"]
    assert found[0] == {"recipient": 2, "sender": 1, "kind": "ping", "body": {"tick": 1}, "tick": 1}
    assert len(found) == 4
    assert [one["tick"] for one in server.ok("GET", f"/worlds/{world}/messages?recipient=1")["items"]] == [1, 2]
    assert [len(page) for page in _pages(server, f"/worlds/{world}/messages?limit=3")] == [3, 1]


def test_the_nearest_are_found(server: Serving) -> None:
    """A search has the best first, by words or by vectors (Q2)."""
    world = server.world("memories")
    for text, place in (("a red ship", [1.0, 0.0]), ("a blue ship", [0.0, 1.0]), ("a red sail, red", [0.6, 0.8])):
        server.ok(
            "POST", f"/worlds/{world}/entities", {"components": [{"type": "Memory", "text": text, "place": place}]}
        )
    server.ok("POST", f"/worlds/{world}/step")

    def found(**query: Any) -> list[int]:
        return [one["entity_id"] for one in server.ok("POST", f"/worlds/{world}/search", query)["items"]]

    assert found(column="memory__text", query="red sail", k=1) == [3]
    assert found(column="memory__place", query=[0.0, 1.0], k=2) == [2, 3]
    assert found(column="memory__place", query=[[1.0, 0.0], [0.0, 1.0]], k=1, metric="l2") == [1, 2]
    assert (
        server.problem("POST", f"/worlds/{world}/search", {"column": "memory__plaice", "query": "x"})["status"] == 404
    )


def test_equal_ticks_have_equal_digests(server: Serving, crowd: str) -> None:
    """The digest is that of the tick's contents, whatever world has them (R3)."""
    ours = server.ok("GET", f"/worlds/{crowd}/digest?tick=2")["digest"]
    assert ours == server.ok("GET", f"/worlds/{crowd}/digest?tick=3")["digest"]
    assert ours != server.ok("GET", "/worlds/odd/digest")["digest"]


def test_forks_are_compared_and_shown_as_a_tree(server: Serving, crowd: str) -> None:
    """A fork is below its source, and a difference of the two has what was changed in one (R3)."""
    fork = server.ok("POST", f"/worlds/{crowd}/fork", {"name": "other"})["world_id"]
    server.ok("PATCH", f"/worlds/{fork}/entities/1", {"components": [{"type": "Odd", "big": 99}]})
    server.ok("POST", f"/worlds/{fork}/step")
    (row,) = server.ok("GET", f"/worlds/{crowd}/diff?before=4&after=5&other=other")["items"]
    assert (row["entity_id"], row["column"], row["before"], row["after"]) == (1, "odd__big", "0", "99")
    (tree,) = [one for one in server.ok("GET", "/lineage")["items"] if one["world_id"] == crowd]
    assert [one["world_id"] for one in tree["children"]] == [fork]


def test_committed_ticks_are_told_as_they_come(server: Serving) -> None:
    """An event stream has one event for each committed tick, those since ``Last-Event-ID`` first, and ends with the world."""
    world = server.world("told")
    server.ok("POST", f"/worlds/{world}/run", {"steps": 3})
    told: list[str] = []
    begun, stepped = threading.Event(), threading.Event()

    def follow() -> None:
        with server.http.stream("GET", f"/v1/worlds/{world}/events", headers={"Last-Event-ID": "0"}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    told.append(line)
                if line == "id: 2":
                    begun.set()
                if line == "id: 4":
                    stepped.set()

    follower = threading.Thread(target=follow)
    follower.start()
    assert begun.wait(30)
    server.ok("POST", f"/worlds/{world}/run", {"steps": 2})
    assert stepped.wait(30)
    server.ok("DELETE", f"/worlds/{world}")
    follower.join(30)
    assert not follower.is_alive()
    assert told == ["id: 1", "id: 2", "id: 3", "id: 4"]


def test_streams_are_counted(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A stream above the limit is refused; a stop of the server ends those that are open."""
    from serving import SMALL

    with serving(config(tmp_path_factory.mktemp("small"), limits=SMALL)) as here:
        here.world("demo")
        with here.http.stream("GET", "/worlds/demo/events") as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith(":")
            found = here.problem("GET", "/worlds/demo/events")
            assert (found["status"], found["code"]) == (503, "ARC-H011")
