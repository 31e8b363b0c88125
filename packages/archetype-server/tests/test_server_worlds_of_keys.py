"""Keys over HTTP, and keys with worlds of their own: for their holders other worlds do not exist."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from serving import Serving, config, serving

SHIP = [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that asks for keys."""
    with serving(config(tmp_path_factory.mktemp("server"), is_dev=False)) as here:
        yield here


class Holder:
    """A client with a key."""

    def __init__(self, server: Serving, key: str) -> None:
        self.server, self.key = server, key

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        """Send a request with the key."""
        sent = {"Authorization": f"Bearer {self.key}", **headers}
        return self.server.http.request(method, path, headers=sent, **({} if body is None else {"json": body}))

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed."""
        answer = self.ask(method, path, body)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def admin(server: Serving) -> Holder:
    """The admin of the first start."""
    assert server.server.first_key is not None
    return Holder(server, server.server.first_key.read_text().strip())


def holder(admin: Holder, actor: str, roles: list[str], worlds: list[str] | None = None) -> Holder:
    """A new actor with a key."""
    made = admin.ok("POST", "/keys", {"actor": actor, "roles": roles, "worlds": worlds})
    return Holder(admin.server, made["key"])


def test_a_key_is_made_listed_and_revoked(admin: Holder) -> None:
    """A key works at once, is shown once, and ends at once; each of that is in the audit log."""
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"actor": "ada", "roles": ["player"], "worlds": ["demo"], "expires_at": until}
    made = admin.ok("POST", "/v1/keys", body)
    ada = Holder(admin.server, made["key"])
    assert ada.ok("GET", "/me")["actor"] == "ada"
    listed = admin.ask("GET", "/keys?limit=1000")
    assert made["info"] in listed.json()["items"]
    assert made["key"] not in listed.text
    assert (made["info"]["worlds"], made["info"]["revoked_at"]) == (["demo"], None)
    key_id = made["info"]["key_id"]
    assert admin.ok("DELETE", f"/keys/{key_id}") == {"key_id": key_id, "revoked": True}
    assert ada.ask("GET", "/me").status_code == 401
    assert admin.ok("DELETE", f"/keys/{key_id}")["revoked"] is False
    assert admin.ok("DELETE", "/keys/unknown")["revoked"] is False


@pytest.mark.parametrize("role", ["viewer", "player", "operator"])
def test_only_admins_make_keys(admin: Holder, role: str) -> None:
    """Others are refused by the gate, and an admin with worlds of its own too: it could make a key with more."""
    for who in (holder(admin, f"a-{role}", [role]), holder(admin, f"own-{role}", ["admin"], ["demo"])):
        for method, path, body in (
            ("POST", "/keys", {"actor": "eve", "roles": ["admin"]}),
            ("GET", "/keys", None),
            ("DELETE", "/keys/x", None),
        ):
            answer = who.ask(method, path, body)
            assert (answer.status_code, answer.json()["code"]) == (403, "ARC-G001")
    assert "eve" not in admin.ask("GET", "/keys?limit=1000").text


def test_wrong_keys_are_not_made(admin: Holder) -> None:
    """Unknown roles, no roles, the server's own name and times without a zone are refused."""
    for body in (
        {"actor": "eve", "roles": ["root"]},
        {"actor": "eve", "roles": []},
        {"actor": "", "roles": ["admin"]},
        {"actor": "eve", "roles": ["admin"], "expires_at": "2030-01-01T00:00:00"},
        {"actor": "eve", "roles": ["admin"], "secret": "mine"},
    ):
        answer = admin.ask("POST", "/keys", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "ARC-H003")
    answer = admin.ask("POST", "/keys", {"actor": "server", "roles": ["admin"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "ARC-H018")


@dataclass
class Owner:
    """A holder with a world of its own, and what must not be told to others."""

    holder: Holder
    world: str
    name: str
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def owners(admin: Holder) -> tuple[Owner, Owner]:
    """Two administrators, each with one world; the first one has it by id, the second one by name."""
    found = []
    for number, name in enumerate(("harbour", "glacier")):
        world = admin.ok("POST", "/worlds", {"name": name})["world_id"]
        for _ in range(2):
            admin.ok("POST", f"/worlds/{world}/entities", {"components": SHIP})
        admin.ok("POST", f"/worlds/{world}/run", {"steps": 3})
        only = [world] if name == "harbour" else [name]
        found.append(Owner(holder(admin, f"owner-{number}", ["admin"], only), world, name, (world, name)))
    return found[0], found[1]


W = "/worlds/{}"
EVERYTHING: list[tuple[str, str, Any]] = [
    ("GET", W, None),
    ("DELETE", W, None),
    ("POST", f"{W}/fork", {}),
    ("POST", f"{W}/fork", {"at_tick": 1}),
    ("POST", f"{W}/entities", {"components": SHIP}),
    ("POST", f"{W}/entities/batch", {"bundles": [SHIP]}),
    ("GET", f"{W}/entities/1", None),
    ("PATCH", f"{W}/entities/1", {"components": [{"type": "Position", "x": 1}]}),
    ("DELETE", f"{W}/entities/1", None),
    ("POST", f"{W}/entities/1/components", {"components": [{"type": "Health"}]}),
    ("DELETE", f"{W}/entities/1/components?components=Velocity", None),
    ("GET", f"{W}/entities/1/history", None),
    ("POST", f"{W}/commands", {"command": {"type": "despawn", "entity_id": 1}}),
    ("POST", f"{W}/commands/batch", {"commands": [{"type": "despawn", "entity_id": 1}]}),
    ("GET", f"{W}/commands", None),
    ("GET", f"{W}/history", None),
    ("POST", f"{W}/step", None),
    ("POST", f"{W}/run", {"steps": 1}),
    ("POST", f"{W}/episode", {"max_steps": 1}),
    ("POST", f"{W}/rollout", {"num_episodes": 1, "max_steps": 1}),
    ("GET", f"{W}/processors", None),
    ("GET", f"{W}/hooks", None),
    ("GET", f"{W}/resources", None),
    ("GET", f"{W}/state", None),
    ("GET", f"{W}/state?tick=1", None),
    ("GET", f"{W}/components?components=Position", None),
    ("GET", f"{W}/diff?before=0&after=1", None),
    ("GET", f"{W}/aggregate?columns=position__x", None),
    ("GET", f"{W}/aggregate?columns=position__x&first_tick=0&bins=5", None),
    ("GET", f"{W}/density?x=position__x&y=position__y", None),
    ("GET", f"{W}/messages", None),
    ("POST", f"{W}/search", {"column": "position__x", "query": "x"}),
    ("GET", f"{W}/digest", None),
    ("GET", f"{W}/events", None),
    ("GET", f"{W}/events?kinds=tick,command", None),
]


@pytest.mark.parametrize(("method", "path", "body"), EVERYTHING, ids=[f"{one[0]} {one[1]}" for one in EVERYTHING])
def test_swapped_worlds_leak_nothing(
    owners: tuple[Owner, Owner], admin: Holder, method: str, path: str, body: Any
) -> None:
    """With the id or name of the other's world every route is 404, tells nothing of it, and changes nothing."""
    for mine, other in (owners, owners[::-1]):
        before = admin.ok("GET", f"/worlds/{other.world}")
        for given in other.secrets:
            for more in ({}, {"Idempotency-Key": f"{method}-{given[-8:]}"}):
                answer = mine.holder.ask(method, path.format(given), body, **more)
                assert (answer.status_code, answer.json()["code"]) == (404, "ARC-W001"), answer.text
                told = answer.text.replace(given, "?")
                missing = mine.holder.ask(method, path.format("no-such"), body, **more).text.replace("no-such", "?")
                assert told == missing
                assert not any(secret in told for secret in other.secrets)
        assert admin.ok("GET", f"/worlds/{other.world}") == before


def test_every_route_of_a_world_is_tried(admin: Holder) -> None:
    """The table above has every route of a world."""
    paths = admin.ok("GET", "/openapi.json")["paths"]
    there = {
        (method.upper(), path.removeprefix("/v1").replace("{entity_id}", "1").replace("{world}", "{}"))
        for path, methods in paths.items()
        for method in methods
        if "{world}" in path
    }
    assert there == {(method, path.partition("?")[0]) for method, path, _ in EVERYTHING}


@pytest.mark.parametrize(
    "path",
    [
        "/diff?before=0&after=1&other={}",
        "/aggregate?columns=position__x&others={}",
        "/aggregate?columns=position__x&first_tick=0&last_tick=2&others={}",
    ],
)
def test_a_second_world_is_hidden_too(owners: tuple[Owner, Owner], path: str) -> None:
    """A read of one's own world that names the other's is answered as for a world that nobody has."""
    for mine, other in (owners, owners[::-1]):
        for given in other.secrets:
            answer = mine.holder.ask("GET", f"/worlds/{mine.name}{path.format(given)}")
            assert (answer.status_code, answer.json()["code"]) == (404, "ARC-W001"), answer.text
            missing = mine.holder.ask("GET", f"/worlds/{mine.name}{path.format('no-such')}")
            assert answer.text.replace(given, "?") == missing.text.replace("no-such", "?")


def test_the_stream_of_all_worlds_is_not_for_holders_of_some(owners: tuple[Owner, Owner]) -> None:
    """Whoever has worlds of its own follows them one by one."""
    for mine in owners:
        answer = mine.holder.ask("GET", "/events")
        assert (answer.status_code, answer.json()["code"]) == (403, "ARC-G001"), answer.text


def test_lists_leak_nothing(owners: tuple[Owner, Owner]) -> None:
    """Lists, lineage, differences, usage and names tell nothing of the other's world."""
    for mine, other in (owners, owners[::-1]):
        told = [mine.holder.ask("GET", path) for path in ("/worlds", "/lineage", "/me", f"/worlds/{mine.name}")]
        assert all(one.is_success for one in told)
        texts = [one.text for one in told]
        # What was refused has the words of whoever asked, and nothing more.
        rows = mine.holder.ok("GET", f"/worlds/{mine.name}/history?limit=1000")["items"]
        texts += [str(row) for row in rows if row["status"] != "rejected"]
        assert [one for secret in other.secrets for one in texts if secret in one] == []
        assert [one["name"] for one in mine.holder.ok("GET", "/worlds")["items"]] == [mine.name]
        diff = f"/worlds/{mine.world}/diff?before=0&after=1&other="
        answer = mine.holder.ask("GET", f"{diff}{other.name}")
        text = answer.text + mine.holder.ask("GET", f"/worlds/{mine.world}/history?limit=1").text
        assert (answer.status_code, other.world in text) == (404, False)
        answer = mine.holder.ask("GET", f"{diff}{other.world}")
        assert (answer.status_code, other.name in answer.text) == (404, False)
        taken = mine.holder.ask("POST", "/worlds", {"name": other.name})
        assert (taken.status_code, taken.json()["code"]) == (409, "ARC-G003")
        assert other.world not in taken.text
        squat = mine.holder.ask("POST", "/worlds", {"name": "squat", "world_id": other.world})
        assert squat.status_code == 409
        assert other.name not in squat.text


def test_a_holder_has_what_it_makes(owners: tuple[Owner, Owner], admin: Holder) -> None:
    """A fork of an own world, and a world that it creates, are its own; the other holder has not."""
    mine, other = owners
    fork = mine.holder.ok("POST", f"/worlds/{mine.world}/fork", {"name": "my fork"})
    made = mine.holder.ok("POST", "/worlds", {"name": "my new world"})
    for world in (fork, made):
        mine.holder.ok("POST", f"/worlds/{world['world_id']}/step")
        assert other.holder.ask("GET", f"/worlds/{world['world_id']}").status_code == 404
    names = {one["name"] for one in mine.holder.ok("GET", "/worlds")["items"]}
    assert names == {mine.name, "my fork", "my new world"}
    for world in (fork, made):
        admin.ok("DELETE", f"/worlds/{world['world_id']}")
