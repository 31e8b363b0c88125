"""``Idempotency-Key``: a request that is sent again does nothing more, and has the same answer (H3)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import Serving, config, serving

SHIP = [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]
W = "/worlds/demo"
REQUESTS: list[tuple[str, str, Any]] = [
    ("POST", "/worlds", {"name": "demo"}),
    ("POST", f"{W}/entities", {"components": SHIP}),
    ("POST", f"{W}/entities/batch", {"bundles": [SHIP, SHIP]}),
    ("POST", f"{W}/step?expected_tick=0", None),
    ("PATCH", f"{W}/entities/1", {"components": [{"type": "Position", "x": 5.0}]}),
    ("POST", f"{W}/entities/1/components", {"components": [{"type": "Health"}]}),
    ("DELETE", f"{W}/entities/2/components?components=Velocity", None),
    ("DELETE", f"{W}/entities/3", None),
    ("POST", f"{W}/commands", {"command": {"type": "spawn", "components": SHIP}}),
    ("POST", f"{W}/commands/batch", {"commands": [{"type": "spawn", "components": SHIP}] * 2}),
    ("POST", f"{W}/run", {"steps": 3}),
    ("POST", f"{W}/episode", {"max_steps": 2}),
    ("POST", f"{W}/fork", {"name": "branch"}),
    ("POST", f"{W}/rollout", {"num_episodes": 2, "max_steps": 2}),
    ("DELETE", "/worlds/branch", None),
]


def send(server: Serving, number: int, *, version: str = "", **more: Any) -> httpx2.Response:
    """Send a request of the list with its key."""
    method, path, body = REQUESTS[number]
    return server.ask(method, version + path, body, headers={"Idempotency-Key": f"key-{number}"}, **more)


def state(server: Serving) -> tuple[Any, ...]:
    """What must not change: the world, and how many commands of the caller are on record."""
    rows = server.ok("GET", f"{W}/history?limit=1000&actor=dev-admin")["items"]
    changes = [one for one in rows if not one["type"].startswith(("get_", "query_", "list_"))]
    return server.ok("GET", W), server.ok("GET", f"{W}/state"), len(changes)


def test_everything_that_is_sent_again_has_the_same_answer(tmp_path: Path) -> None:
    """Every kind of request is done once, with one answer, also by the server that is started next."""
    answers: list[tuple[int, bytes]] = []
    with serving(config(tmp_path)) as server:
        for number in range(len(REQUESTS)):
            first = send(server, number)
            assert first.is_success, first.text
            answers.append((first.status_code, first.content))
            before = state(server)
            for version in ("", "/v1"):
                again = send(server, number, version=version)
                assert (again.status_code, again.content) == answers[number]
                assert again.headers.get("location") == first.headers.get("location")
            assert state(server) == before
        assert [one["name"] for one in server.ok("GET", "/worlds")["items"]] == ["demo"]
        assert server.ok("GET", W)["tick"] == 6
    with serving(config(tmp_path)) as server:
        before = state(server)
        for number in range(len(REQUESTS)):
            again = send(server, number)
            assert (again.status_code, again.content) == answers[number], REQUESTS[number]
        assert state(server) == before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a world."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        here.world("demo")
        yield here


def keyed(key: str) -> dict[str, Any]:
    """The header with a key."""
    return {"headers": {"Idempotency-Key": key}}


def test_another_request_with_the_key_is_refused(server: Serving) -> None:
    """Another body, address, method or precondition is another request; another actor's key is another key."""
    server.ok("POST", f"{W}/entities", {"components": SHIP}, **keyed("used"))
    others: list[tuple[str, str, Any]] = [
        ("POST", f"{W}/entities", {"components": SHIP[:1]}),
        ("POST", f"{W}/entities?expected_tick=0", {"components": SHIP}),
        ("POST", f"{W}/step", None),
        ("POST", "/worlds", {"name": "other"}),
        ("DELETE", W, None),
    ]
    before = server.ok("GET", W)
    for method, path, body in others:
        problem = server.problem(method, path, body, **keyed("used"))
        assert (problem["status"], problem["code"], problem["is_running"]) == (409, "ARC-G010", False)
    assert server.ok("GET", W) == before
    entity = server.ok("POST", f"{W}/entities", {"components": SHIP}, role="player", **keyed("used"))["entity_id"]
    assert (
        entity == server.ok("POST", f"{W}/entities", {"components": SHIP}, role="player", **keyed("used"))["entity_id"]
    )


def test_what_was_refused_leaves_the_key_free(server: Serving) -> None:
    """After a problem the key can be used for what is right."""
    for path, body in (
        (f"{W}/step?expected_tick=999", None),
        (f"{W}/run", {"steps": -1}),
        ("/worlds", {"name": "demo"}),
    ):
        server.problem("POST", path, body, **keyed("again"))
    server.problem("POST", f"{W}/step", None, role="viewer", **keyed("again"))
    tick = server.ok("POST", f"{W}/step", **keyed("again"))["tick"]
    assert server.ok("POST", f"{W}/step", **keyed("again"))["tick"] == tick


def test_of_requests_at_once_one_is_done(server: Serving) -> None:
    """The others are 409 while it is under way, or have its answer."""
    before = server.ok("GET", W)["tick"]
    found: list[tuple[int, bytes]] = []

    def run() -> None:
        with httpx2.Client(base_url=server.url, timeout=60) as http:
            answer = http.post(f"{W}/run", json={"steps": 20}, headers={"Idempotency-Key": "at-once"})
            found.append((answer.status_code, answer.content))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert {status for status, _ in found} <= {200, 409}
    assert len({body for status, body in found if status == 200}) == 1
    assert server.ok("GET", W)["tick"] == before + 20


def test_odd_keys(server: Serving) -> None:
    """A key is 1 to 255 visible characters; quotes around it do not count."""
    for odd in ("", "x" * 256, "two words", '"'):
        assert server.problem("POST", f"{W}/step", **keyed(odd))["code"] == "ARC-H003"
    tick = server.ok("POST", f"{W}/step", **keyed("quoted"))["tick"]
    assert server.ok("POST", f"{W}/step", **keyed('"quoted"'))["tick"] == tick
