"""ETags by tick: reads of what is new only, and changes of what the client knows only (H1, H4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from serving import Serving, config, serving

SHIP = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose callers choose their role."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        yield here


_names = iter(f"world-{number}" for number in range(1000))


@pytest.fixture
def world(server: Serving) -> str:
    """A world that has made three ticks, with one ship."""
    name = next(_names)
    server.world(name)
    server.ok("POST", f"/worlds/{name}/entities", SHIP)
    server.ok("POST", f"/worlds/{name}/run", {"steps": 3})
    return name


def tag_of(server: Serving, path: str, **more: Any) -> str:
    """The ETag of an answer."""
    answer = server.ask("GET", path, **more)
    assert answer.is_success, answer.text
    return str(answer.headers["etag"])


@pytest.mark.parametrize("path", ["", "/state", "/entities/1", "/state?limit=1"])
def test_an_unchanged_answer_is_not_sent_again(server: Serving, world: str, path: str) -> None:
    """With ``If-None-Match`` the answer is 304 and empty until a tick is made."""
    address = f"/worlds/{world}{path}"
    tag = tag_of(server, address)
    for known in (tag, f'"other", W/{tag}', "*"):
        answer = server.ask("GET", address, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert answer.headers["cache-control"] == "private, no-cache"
    server.ok("POST", f"/worlds/{world}/step")
    answer = server.ask("GET", address, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"] == tag) == (200, False)


def test_what_is_staged_is_a_new_answer(server: Serving, world: str) -> None:
    """A world's answer says how much is staged, so its ETag changes with that; the tick of it stays the same."""
    before = tag_of(server, f"/worlds/{world}")
    server.ok("POST", f"/worlds/{world}/entities", SHIP)
    assert server.ask("GET", f"/worlds/{world}", headers={"If-None-Match": before}).status_code == 200
    assert server.ask("POST", f"/worlds/{world}/step", headers={"If-Match": before}).status_code == 200


def test_a_past_tick_never_changes(server: Serving, world: str) -> None:
    """A tick that is named is immutable, and so is a page that is pinned to one."""
    for path in ("/state?tick=1", "/entities/1?tick=1", "/state?tick=2"):
        answer = server.ask("GET", f"/worlds/{world}{path}")
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        server.ok("POST", f"/worlds/{world}/step")
        same = server.ask("GET", f"/worlds/{world}{path}", headers={"If-None-Match": answer.headers["etag"]})
        assert same.status_code == 304


def test_formats_have_tags_of_their_own(server: Serving, world: str) -> None:
    """An ETag of one format is not one of another, and both name the tick."""
    path = f"/worlds/{world}/state"
    tags = {one: tag_of(server, path, headers={"Accept": one}) for one in ("application/json", "text/csv")}
    assert len(set(tags.values())) == 2
    answer = server.ask("GET", path, headers={"Accept": "text/csv", "If-None-Match": tags["application/json"]})
    assert answer.status_code == 200
    assert server.ask("POST", f"/worlds/{world}/step", headers={"If-Match": tags["text/csv"]}).status_code == 200


def test_a_304_needs_the_right_to_read(server: Serving, world: str) -> None:
    """Whoever may not read learns nothing from an ETag: the gate is asked first (H1)."""
    tag = tag_of(server, f"/worlds/{world}/state")
    answer = server.ask("GET", f"/worlds/{world}/state", role="nobody", headers={"If-None-Match": tag})
    assert answer.status_code == 400
    rows = server.ok("GET", f"/worlds/{world}/history?type=query_world")["items"]
    server.ask("GET", f"/worlds/{world}/state", headers={"If-None-Match": tag})
    assert len(server.ok("GET", f"/worlds/{world}/history?type=query_world")["items"]) == len(rows) + 1


CHANGES = [
    ("POST", "/entities", SHIP),
    ("POST", "/entities/batch", {"bundles": [SHIP["components"]]}),
    ("PATCH", "/entities/1", {"components": [{"type": "Position", "x": 5.0}]}),
    ("DELETE", "/entities/1", None),
    ("POST", "/entities/1/components", {"components": [{"type": "Health"}]}),
    ("DELETE", "/entities/1/components?components=Velocity", None),
    ("POST", "/commands", {"command": {"type": "despawn", "entity_id": 1}}),
    ("POST", "/commands/batch", {"commands": [{"type": "despawn", "entity_id": 1}]}),
    ("POST", "/step", {}),
    ("POST", "/run", {"steps": 2}),
    ("POST", "/episode", {"max_steps": 1}),
    ("POST", "/rollout", {"num_episodes": 1, "max_steps": 1}),
    ("POST", "/fork", {}),
    ("DELETE", "", None),
]


@pytest.mark.parametrize("change", CHANGES, ids=[f"{method} {path}" for method, path, _ in CHANGES])
@pytest.mark.parametrize("by", ["header", "parameter"])
def test_a_change_of_another_tick_is_refused(
    server: Serving, world: str, change: tuple[str, str, Any], by: str
) -> None:
    """A stale ETag or tick is 412 with the tick that the world has, nothing is done, and a row says rejected (H1)."""
    method, path, body = change
    tag = tag_of(server, f"/worlds/{world}")
    address = f"/worlds/{world}{path}"
    server.ok("POST", f"/worlds/{world}/step")
    before, rows = server.ok("GET", f"/worlds/{world}"), server.ok("GET", f"/worlds/{world}/history")["items"]
    headers = {"If-Match": tag} if by == "header" else {}
    mark = "&" if "?" in address else "?"
    stale = address if by == "header" else f"{address}{mark}expected_tick=3"

    problem = server.problem(method, stale, body, headers=headers)

    assert (problem["status"], problem["code"], problem["tick"], problem["expected"]) == (412, "ARC-G009", 4, 3)
    new = server.ok("GET", f"/worlds/{world}/history")["items"][: -len(rows)]
    assert [one["status"] for one in new if one["type"] not in ("get_audit_history", "get_world_info")] == ["rejected"]
    assert server.ok("GET", f"/worlds/{world}") == before
    fresh = tag_of(server, f"/worlds/{world}")
    right = address if by == "header" else f"{address}{mark}expected_tick=4"
    assert server.ask(method, right, body, headers={"If-Match": fresh} if by == "header" else {}).is_success


def test_of_many_steps_one_is_made(server: Serving, world: str) -> None:
    """Clients that all saw one tick make one tick together."""
    tag = tag_of(server, f"/worlds/{world}")
    codes: list[int] = []

    def step() -> None:
        with serving_client(server) as http:
            codes.append(http.post(f"/worlds/{world}/step", headers={"If-Match": tag}).status_code)

    threads = [threading.Thread(target=step) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(codes) == [200, *[412] * 7]
    assert server.ok("GET", f"/worlds/{world}")["tick"] == 4


def serving_client(server: Serving) -> Any:
    """Another connection to the server."""
    import httpx2

    return httpx2.Client(base_url=server.url, timeout=60)


def test_wrong_tags(server: Serving, world: str) -> None:
    """An ETag of another world, or none of this server, changes nothing."""
    other = next(_names)
    server.world(other)
    path = f"/worlds/{world}/step"
    problem = server.problem("POST", path, headers={"If-Match": tag_of(server, f"/worlds/{other}")})
    assert (problem["status"], problem["code"]) == (412, "ARC-H015")
    tag = tag_of(server, f"/worlds/{world}")
    for wrong in ('"x"', "x", f"W/{tag}", ""):
        assert server.problem("POST", path, headers={"If-Match": wrong})["code"] == "ARC-H015"
    assert server.problem("POST", f"{path}?expected_tick=2", headers={"If-Match": tag})["code"] == "ARC-H015"
    for odd in ("-1", "x", str(2**63)):
        assert server.problem("POST", f"{path}?expected_tick={odd}")["code"] == "ARC-H003"
    assert server.problem("GET", f"/worlds/{world}/digest?expected_tick=3")["code"] == "ARC-H003"
    assert server.ok("GET", f"/worlds/{world}")["tick"] == 3
    assert server.ask("POST", path, headers={"If-Match": "*"}).status_code == 200


def test_one_tag_of_several_is_enough(server: Serving, world: str) -> None:
    """Of several ETags the latest of the world counts; with ``expected_tick`` both must be true."""
    path, tag = f"/worlds/{world}/step", tag_of(server, f"/worlds/{world}")
    server.ok("POST", f"{path}?expected_tick=3", headers={"If-Match": tag})
    old, tag = tag, tag_of(server, f"/worlds/{world}")
    assert server.problem("POST", path, headers={"If-Match": old})["code"] == "ARC-G009"
    server.ok("POST", path, headers={"If-Match": f'"x", {old}, {tag}'})
    assert server.ok("GET", f"/worlds/{world}")["tick"] == 5
