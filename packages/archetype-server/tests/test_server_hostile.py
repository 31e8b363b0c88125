"""Hostile input: one problem each, in the four hundreds, and nothing of the server's inside in it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import TIMEOUT_S, Serving, config, serving

from archetype_server import Limits


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the server's files."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Serving]:
    """A server with a world."""
    with serving(replace(config(place), limits=Limits(body_s=2))) as here:
        here.world("demo")
        here.ok("POST", "/worlds/demo/entities", {"components": [{"type": "Position"}]})
        here.ok("POST", "/worlds/demo/step")
        yield here


def raw(server: Serving, request: bytes) -> bytes:
    """Send bytes to the server and return all that it answers."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), TIMEOUT_S) as connection:
        connection.sendall(request)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
        return b"".join(parts)


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    """A request as bytes, which no client has tidied."""
    lines = [f"{method} {path} HTTP/1.1", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


HOST = "Host: localhost"
DEEP = "[" * 100_000
BODIES = [
    DEEP,
    '{"a":' * 100_000,
    DEEP + "]" * 100_000,
    f'{{"components":[{{"type":"Health","hp":{10**23}}}]}}',
    f'{{"components":[{{"type":"Health","hp":{2**63}}}]}}',
    '{"components":[{"type":"Position","x":1e999}]}',
    '{"components":[{"type":"Position","z":1}]}',
    '{"components":[{"type":"Position","x":"a"}]}',
    '{"components":[{"type":"Position","x":[]}]}',
    '{"components":[{"type":"Nothing"}]}',
    '{"components":[{"type":7}]}',
    '{"components":[{}]}',
    '{"components":[]}',
    '{"components":{}}',
    '{"components":[null]}',
    '{"components":[{"type":"Position"}],"more":1}',
    '{"components":[{"type":"Position","type":"Health","x":1}]}',
    "[]",
    "null",
    '"',
    "{",
    "\x00",
    '{"components":[{"type":"Position","x":NaN}]}',
    '{"components":[{"type":"\\ud800"}]}',
]


@pytest.mark.parametrize("body", BODIES, ids=[one[:40] for one in BODIES])
@pytest.mark.parametrize("path", ["/worlds/demo/entities", "/worlds/demo/commands"])
def test_bodies(server: Serving, path: str, body: str) -> None:
    """Whatever a body is, the answer is one problem of the client's."""
    answer = server.ask(
        "POST", path, content=body.encode("utf-8", "surrogatepass"), headers={"content-type": "application/json"}
    )
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 5000


@pytest.mark.parametrize(
    "path",
    [
        "/v1/worlds/..",
        "/v1/worlds/../livez",
        "/v1/worlds/%2e%2e",
        "/v1/worlds/..%2f..%2fetc%2fpasswd",
        "/v1/worlds/a%2fb",
        "/v1/worlds/%00",
        "/v1/worlds/demo%00",
        "/v1/worlds/%ff%fe",
        "/v1/worlds/" + "a" * 20_000,
        "/v1/worlds/demo/entities/99999999999999999999999",
        "/v1/worlds/demo/entities/-1",
        "/v1/worlds/demo/entities/1e3",
        "/v1/worlds/demo/entities/0x1",
        "/v1/worlds/demo/state?tick=%00",
        "/v1/worlds/demo/state?tick=1&tick=2",
        "/v1/worlds/demo/state?cursor=" + "A" * 10_000,
        "/v1/worlds/demo/components?components=" + "Position," * 2_000 + "x",
        "/v1//worlds",
        "//v1/worlds",
        "/v1/worlds/demo/",
        "/livez/x",
        "http://evil.example/v1/worlds",
        "*",
    ],
)
def test_paths(server: Serving, place: Path, path: str) -> None:
    """Tricks with a path find nothing: no file, no other route, no failure."""
    answer = raw(server, get(path, HOST))
    status = int(answer.split(b" ", 2)[1])
    if status == 200:
        # A path that means the same as a plain one.
        assert path in ("/v1/worlds/demo/", "/v1//worlds", "//v1/worlds", "http://evil.example/v1/worlds"), answer
    else:
        assert 400 <= status < 500, answer
    assert str(place).encode() not in answer


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        [],
        [HOST, "Host: evil.example"],
        [HOST, "Origin: http://evil.example"],
        [HOST, "Origin: null"],
        [HOST, "Authorization: Bearer x", "Authorization: Bearer y"],
        [HOST, "X-Archetype-Role: viewer", "X-Archetype-Role: admin"],
        [HOST, "X-Archetype-Role: root"],
        [HOST, "Authorization: Basic YTpi"],
        [HOST, "Authorization: Bearer " + "x" * 30_000],
        [HOST, "Content-Length: 5", "Transfer-Encoding: chunked"],
        [HOST, "Content-Length: 5", "Content-Length: 6"],
        [HOST, "Content-Length: -1"],
        [HOST, "Content-Length: 99999999999999999999"],
        [HOST, "Transfer-Encoding: gzip"],
        [HOST, "Accept: image/png"],
        [HOST, "Accept: application/json;q=high"],
        [HOST, "Last-Event-ID: x", "X: " + "y" * 70_000],
        [HOST, " folded: x"],
        [HOST, "no colon"],
    ],
)
def test_headers(server: Serving, place: Path, headers: list[str]) -> None:
    """Forged, doubled, contradicting and overlong headers are refused, and nothing after them is taken for a request."""
    answer = raw(server, get("/v1/worlds/demo/state", *headers))
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert 400 <= int(answer.split(b" ", 2)[1]) < 500, answer
    assert str(place).encode() not in answer


def test_a_smuggled_request_is_none(server: Serving) -> None:
    """What stands in the body of a request is never answered as a request of its own."""
    inner = get("/v1/worlds/demo", HOST, method="DELETE")
    request = get("/v1/me", HOST, f"Content-Length: {len(inner)}", "Content-Type: application/json") + inner
    answer = raw(server, request)
    assert answer.count(b"HTTP/1.1 ") == 1
    server.ok("GET", "/worlds/demo")


@pytest.mark.parametrize(
    "address", ["/etc", "../x", "file:///etc/passwd", "journal:/etc", "s3://bucket", "", "a" * 500]
)
def test_no_field_takes_an_address_of_a_storage(server: Serving, address: str) -> None:
    """Where worlds are stored is the operator's; a client cannot name a place."""
    for body in ({"name": "x", "storage": address}, {"name": "x", "template": address or None, "uri": address}):
        assert server.problem("POST", "/worlds", body)["status"] == 400
    assert server.ask("POST", "/worlds", {"name": f"n{address}"[:200], "template": "movement"}).status_code in (
        201,
        400,
    )


def test_no_answer_has_a_path_of_the_server(server: Serving, place: Path) -> None:
    """Audit rows of worlds that were created and refused, and failures of the store, name no path."""
    server.problem("POST", "/worlds", {"name": "demo"})
    server.ok("POST", "/worlds/demo/fork", {"name": "fork", "pending": "copy"})
    for path in (
        "/worlds/demo/history",
        "/worlds/fork/history",
        "/worlds",
        "/lineage",
        "/me",
        "/metrics",
        "/templates",
    ):
        text = server.ask("GET", path, role="viewer").text
        assert str(place) not in text
    created = server.ok("GET", "/worlds/demo/history?type=create_world", role="viewer")["items"]
    assert [one["payload"]["storage"] for one in created] == ["<storage>"]


def test_errors_of_the_store_name_no_path(place: Path) -> None:
    """What a store says about its files is shown without their place."""
    from archetype_core.errors import CorruptStore, StoreClosed
    from archetype_server.problem import document
    from archetype_server.redaction import Redaction

    redaction = Redaction(config(place))
    for address in (f"journal:{place}/data", f"{place}/data", f"{place}/data/journal/catalog.sqlite"):
        for failure in (StoreClosed(address), CorruptStore(address, f"{address} is damaged")):
            text = json.dumps(document(failure, "/v1/worlds", redaction))
            assert str(place) not in text
            assert "<storage>" in text


def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    """A client that sends its body byte by byte is answered before its time is over, and does not keep others waiting."""
    from serving import SMALL

    with serving(config(tmp_path, limits=SMALL)) as here:
        request = get("/v1/worlds", HOST, "Content-Length: 100", "Content-Type: application/json", method="POST")
        answer = raw(here, request + b'{"name":')
        assert b" 408 " in answer.splitlines()[0]
        problem: Any = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert problem["code"] == "ARC-H012"
        large = get("/v1/worlds", HOST, "Content-Length: 10000000", "Content-Type: application/json", method="POST")
        assert b" 413 " in raw(here, large).splitlines()[0]
