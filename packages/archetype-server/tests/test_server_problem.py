"""Every answer that is no success is a problem with a stable code (H4)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import SMALL, Serving, config, serving

from archetype_core import errors
from archetype_server.problem import STATUSES, ServerError, document, status_of
from archetype_server.redaction import Redaction


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with small limits and a world."""
    with serving(config(tmp_path_factory.mktemp("server"), limits=SMALL)) as here:
        here.world("demo")
        yield here


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "request_more", "status", "code"),
    [
        ("GET", "/nowhere", {}, 404, "ARC-H002"),
        ("GET", "/v1/nowhere", {}, 404, "ARC-H002"),
        ("GET", "/worlds/demo/entities/abc", {}, 404, "ARC-H002"),
        ("PUT", "/worlds", {}, 405, "ARC-H007"),
        ("POST", "/worlds", {"content": b'{"name"', "headers": JSON}, 400, "ARC-H003"),
        ("POST", "/worlds", {"content": b"[1]", "headers": JSON}, 400, "ARC-H003"),
        ("POST", "/worlds", {"content": b"\xff", "headers": JSON}, 400, "ARC-H003"),
        ("POST", "/worlds", {}, 400, "ARC-H003"),
        ("POST", "/worlds", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "ARC-H005"),
        ("POST", "/worlds", {"content": b" " * 3000, "headers": JSON}, 413, "ARC-H004"),
        ("POST", "/worlds", {"content": iter([b" " * 1500, b" " * 1500]), "headers": JSON}, 413, "ARC-H004"),
        ("POST", "/worlds", {"content": b"[" * 9 + b"]" * 9, "headers": JSON}, 400, "ARC-H003"),
        ("POST", "/worlds", {"json": {"name": "x", "nmae": 1}}, 400, "ARC-H003"),
        ("POST", "/worlds", {"json": {"name": "x", "seed": 2**63}}, 400, "ARC-H003"),
        ("POST", "/worlds", {"json": {"name": "x", "template": "movment"}}, 404, "ARC-H002"),
        ("POST", "/worlds/demo/run", {"json": {"steps": 21}}, 422, "ARC-H018"),
        ("POST", "/worlds/demo/run", {"json": {"steps": -1}}, 400, "ARC-H003"),
        ("POST", "/worlds/demo/run", {"json": {"steps": "1"}}, 400, "ARC-H003"),
        ("POST", "/worlds/demo/run", {"json": {"steps": 1.5}}, 400, "ARC-H003"),
        ("POST", "/worlds/demo/run", {"json": {"steps": 0.0}}, 200, ""),
        ("POST", "/worlds/demo/rollout", {"json": {"num_episodes": 3, "max_steps": 7}}, 422, "ARC-H018"),
        ("POST", "/worlds/demo/rollout", {"json": {"num_episodes": 2, "max_steps": 1, "seeds": [1]}}, 422, "ARC-H018"),
        ("POST", "/worlds/demo/search", {"json": {"column": "position__x", "query": [1.0, [1.0]]}}, 422, "ARC-H018"),
        ("POST", "/worlds/demo/search", {"json": {"column": "no__column", "query": "words"}}, 404, "ARC-W006"),
        ("POST", "/worlds/demo/step", {"json": {"inputs": {"wind": 1}}}, 422, "ARC-H018"),
        ("POST", "/worlds/demo/step", {"json": {"inputs": {"wind": [{"deep": 2**64}]}}}, 422, "ARC-H018"),
        ("POST", "/worlds/demo/entities", {"json": {"components": []}}, 400, "ARC-H003"),
        ("POST", "/worlds/demo/entities", {"json": {"components": [{"type": "Position", "z": 1}]}}, 422, "ARC-M004"),
        ("POST", "/worlds/demo/entities", {"json": {"components": [{"type": "os.system"}]}}, 422, "ARC-M004"),
        ("POST", "/worlds/demo/entities", {"json": {"components": [{"x": 1}]}}, 422, "ARC-M004"),
        ("POST", "/worlds/demo/entities/batch", {"json": {"bundles": [[{"type": "Health"}]] * 6}}, 422, "ARC-H018"),
        ("PATCH", "/worlds/demo/entities/77", {"json": {"components": [{"type": "Health", "hp": 1}]}}, 404, "ARC-T001"),
        ("GET", "/worlds/demo/entities/77", {}, 404, "ARC-T001"),
        ("GET", "/worlds/demo/entities/0", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/entities/9223372036854775808", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/state?tick=5", {}, 404, "ARC-W002"),
        ("GET", "/worlds/demo/state?tikc=5", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/state?tick=null", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/state?tick=", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/state?limit=5&limit=6", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/state?cursor=nonsense", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/state", {"headers": {"accept": "image/png"}}, 406, "ARC-H006"),
        ("GET", "/worlds/demo/components?entity_id=0", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/components?components=Nothing", {}, 404, "ARC-M005"),
        ("DELETE", "/worlds/demo/entities/1/components", {}, 400, "ARC-H003"),
        ("GET", "/worlds/other", {}, 404, "ARC-W001"),
        ("GET", "/worlds/other/history", {}, 200, ""),
        ("GET", "/worlds/demo/history?since=2026-01-01T00:00:00", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/history?since=0.5", {}, 400, "ARC-H003"),
        ("GET", "/worlds/demo/history?status=odd", {}, 400, "ARC-H003"),
        ("POST", "/worlds/demo/commands", {"json": {"command": {"type": "step"}}}, 400, "ARC-H003"),
        ("POST", "/worlds/demo/commands", {"json": {"command": {"type": "custom", "name": "heal"}}}, 202, ""),
        ("GET", "/worlds?role=king", {}, 400, "ARC-H003"),
        ("GET", "/worlds", {"headers": {"host": "evil.example"}}, 421, "ARC-H008"),
        ("POST", "/worlds/demo/step", {"headers": {"origin": "http://evil.example"}}, 421, "ARC-H008"),
        ("GET", "/livez", {"headers": {"host": "evil.example"}}, 421, "ARC-H008"),
        ("GET", "/worlds", {"headers": {"authorization": "Bearer wrong"}}, 401, "ARC-H001"),
        ("GET", "/worlds", {"headers": {"authorization": "Basic YTpi"}}, 401, "ARC-H001"),
    ],
)
def test_a_wrong_request_is_a_problem(
    *, server: Serving, method: str, path: str, request_more: dict[str, Any], status: int, code: str
) -> None:
    """What is wrong with a request has a status, a code and a text, in ``application/problem+json`` (H4)."""
    answer = server.http.request(method, path, **request_more)
    assert answer.status_code == status, answer.text
    if code:
        found = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (found["code"], found["status"], found["instance"]) == (code, status, path.partition("?")[0])
        assert found["type"] == f"urn:archetype:error:{code}"
        assert found["detail"]
        assert code not in found["detail"]


def test_a_method_that_is_not_there_is_told_which_are(server: Serving) -> None:
    """405 has an ``Allow`` header."""
    assert "GET" in server.ask("PUT", "/worlds").headers["allow"]


def test_a_slow_body_is_given_up(server: Serving) -> None:
    """A client that does not send its body in time is told so, and its connection does not hang (limits)."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(
            b"POST /worlds HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
        )
        assert b"408" in wire.recv(4096).split(b"\r\n")[0]


def test_a_failing_processor_is_a_problem_with_its_facts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An error of the user's own code is 500 with the processor's name, and the tick is not there (T7)."""
    place = tmp_path_factory.mktemp("failing")
    (place / "failing_world.py").write_text(
        "from archetype_core.engine import Processor\n"
        "from archetype_core.schema import Component\n"
        "class Fuse(Component):\n    length: int = 0\n"
        "class Burn(Processor):\n    components = (Fuse,)\n"
        "    def process(self, df):\n        raise RuntimeError('too short')\n"
    )
    with serving(config(place, load=str(place / "failing_world.py"))) as here:
        here.world("demo")
        here.ok("POST", "/worlds/demo/entities", {"components": [{"type": "Fuse"}]})
        here.ok("POST", "/worlds/demo/step")
        found = here.problem("POST", "/worlds/demo/step")
        assert (found["status"], found["code"], found["processor"]) == (500, "ARC-T002", "Burn")
        assert "too short" in found["detail"]
        assert here.ok("GET", "/worlds/demo")["tick"] == 1


def _kinds(kind: type[errors.ArchetypeError]) -> Iterator[type[errors.ArchetypeError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)


def test_every_error_has_a_status_and_a_code_of_its_own() -> None:
    """Each error of the tree has one code, and the server's own begin with ARC-H."""
    kinds = [one for one in _kinds(errors.ArchetypeError) if "code" in vars(one)]
    codes = [one.code for one in kinds]
    assert len(set(codes)) == len(codes)
    assert all(one.code.startswith("ARC-H") for one in kinds if issubclass(one, ServerError))
    assert STATUSES.keys() <= set(kinds)


def test_facts_are_plain_and_do_not_replace_members(tmp_path: Path) -> None:
    """An error's attributes are members of its problem, as far as they are data, and never its status or code."""
    found = document(errors.QuotaExceeded("ada", "commands", 500, 500, 1), "/x", Redaction(config(tmp_path)))
    assert (found["limit"], found["asked"], found["status"], found["code"]) == (500, 1, 429, "ARC-G002")
    assert json.dumps(found)
    mismatch = errors.SchemaMismatch("t", ["a"])
    assert status_of(mismatch) == 409
