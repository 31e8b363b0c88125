"""Every route, in every role: the status, the audit row, and nothing for those who may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from serving import ROLES, Serving, config, serving


@dataclass(frozen=True)
class Route:
    """A route, the least role that may use it, and the kind of its audit row."""

    method: str
    path: str
    least: str
    kind: str
    status: int = 200
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


MOVING = [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]
W = "/worlds/{world}"
SPAWN = {"type": "spawn", "components": MOVING}
ROUTES = [
    Route("POST", "/worlds", "admin", "create_world", 201, {"name": "{fresh}"}),
    Route("GET", "/worlds", "viewer", "list_worlds"),
    Route("GET", W, "viewer", "get_world_info"),
    Route("DELETE", "/worlds/{spare}", "operator", "destroy_world"),
    Route("POST", f"{W}/fork", "operator", "fork_world", 201, {"name": "{fresh}", "pending": "copy"}),
    Route("POST", f"{W}/entities", "player", "spawn", 201, {"components": MOVING}),
    Route("POST", f"{W}/entities/batch", "player", "spawn", 201, {"bundles": [MOVING, MOVING]}),
    Route("GET", f"{W}/entities/1", "viewer", "query_world"),
    Route("PATCH", f"{W}/entities/1", "player", "update", 200, {"components": [{"type": "Position", "x": 5.0}]}),
    Route("DELETE", f"{W}/entities/2", "player", "despawn"),
    Route("POST", f"{W}/entities/1/components", "operator", "add_component", 200, {"components": [{"type": "Health"}]}),
    Route("DELETE", f"{W}/entities/1/components?components=Velocity", "operator", "remove_component"),
    Route("GET", f"{W}/entities/1/history", "viewer", "query_world"),
    Route("POST", f"{W}/commands", "player", "spawn", 202, {"command": SPAWN}),
    Route("POST", f"{W}/commands/batch", "player", "spawn", 202, {"commands": [SPAWN, SPAWN], "tick": 99}),
    Route("GET", f"{W}/commands", "viewer", "get_audit_history"),
    Route("GET", f"{W}/history", "viewer", "get_audit_history"),
    Route("POST", f"{W}/step", "operator", "step", 200, {}),
    Route("POST", f"{W}/run", "operator", "run", 200, {"steps": 2}),
    Route("POST", f"{W}/episode", "operator", "run_episode", 200, {"max_steps": 1}),
    Route("POST", f"{W}/rollout", "operator", "run_rollout", 200, {"num_episodes": 1, "max_steps": 1}),
    Route("GET", f"{W}/processors", "viewer", "list_processors"),
    Route("GET", f"{W}/hooks", "viewer", "list_hooks"),
    Route("GET", f"{W}/resources", "viewer", "list_resources"),
    Route("GET", f"{W}/state", "viewer", "query_world"),
    Route("GET", f"{W}/components?components=Position", "viewer", "query_world"),
    Route("GET", f"{W}/diff?before=0&after=1", "viewer", "query_world"),
    Route("GET", f"{W}/messages", "viewer", "query_world"),
    Route("GET", f"{W}/aggregate?columns=Position&bins=3", "viewer", "query_world"),
    Route("GET", f"{W}/density?x=position__x&y=position__y", "viewer", "query_world"),
    Route("GET", "/metrics", "viewer", "list_worlds"),
    Route("POST", f"{W}/search", "viewer", "query_world", 200, {"column": "label__text", "query": "red ship"}),
    Route("GET", f"{W}/digest", "viewer", "query_world"),
    Route("POST", "/keys", "admin", "administer", 201, {"actor": "ada", "roles": ["viewer"]}),
    Route("GET", "/keys", "admin", "administer"),
    Route("DELETE", "/keys/none", "admin", "administer"),
    Route("GET", "/lineage", "viewer", "list_worlds"),
    Route("GET", "/me", "viewer", "get_usage"),
]
WITHOUT_WORLD = {"list_worlds", "get_usage", "create_world", "administer"}
"""Their rows belong to no world, or to a new one."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose callers choose their role."""
    place = tmp_path_factory.mktemp("server")
    (place / "labels.py").write_text(
        "from archetype_core.schema import Component\nfrom archetype_server import WorldTemplate\n"
        "from archetype_server.movement import Health, Movement\n"
        "class Label(Component):\n    text: str = 'red ship'\n"
        "MOVEMENT = WorldTemplate('movement', components=[Health, Label], processors=[Movement])\n"
    )
    with serving(config(place, load=str(place / "labels.py"))) as here:
        yield here


_names = iter(f"world-{number}" for number in range(10_000))


def auditor(server: Serving) -> str:
    """The key of the first start's admin."""
    assert server.server.first_key is not None
    return server.server.first_key.read_text().strip()


def _audited(server: Serving, world: str, actor: str, kind: str) -> list[dict[str, Any]]:
    """The rows of an actor's commands. The keyed auditor reads them, whose own rows are not among them."""
    found: list[dict[str, Any]] = server.ok(
        "GET",
        f"/worlds/{world}/history?actor={actor}&type={kind}",
        headers={"Authorization": f"Bearer {auditor(server)}"},
    )["items"]
    return found


CASES = [
    *(pytest.param(route, role, "", id=f"{route}-{role}") for route in ROUTES for role in ROLES),
    *(pytest.param(route, route.least, "/v1", id=f"{route}-v1") for route in ROUTES),
]


@pytest.mark.parametrize(("route", "role", "version"), CASES)
def test_every_route_asks_the_gate(server: Serving, route: Route, role: str, version: str) -> None:
    """A role that may gets the status of the route, any other 403 and nothing else, and both are in the audit (G1, H1, H2)."""
    name, spare, fresh = next(_names), next(_names), next(_names)
    world = server.world(name)
    for _ in range(2):
        server.ok("POST", f"/worlds/{world}/entities", {"components": MOVING})
    server.ok("POST", f"/worlds/{world}/entities", {"components": [{"type": "Label"}]})
    server.ok("POST", f"/worlds/{world}/run", {"steps": 2})
    if "{spare}" in route.path:
        world = server.world(spare)
    path = version + route.path.format(world=world, spare=world)
    body = {**route.body} if isinstance(route.body, dict) else None
    if body and body.get("name") == "{fresh}":
        body["name"] = fresh
    before = _audited(server, world, f"dev-{role}", route.kind)

    answer = server.ask(route.method, path, body, role=role)

    if ROLES.index(role) >= ROLES.index(route.least):
        assert answer.status_code == route.status, answer.text
    else:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (403, "ARC-G001")
        assert problem["command"] == route.kind
        assert world not in answer.text.replace(problem["instance"], "")
        assert name not in answer.text
        assert fresh not in server.ask("GET", "/worlds").text
    if route.kind in WITHOUT_WORLD:
        return
    rows = _audited(server, world, f"dev-{role}", route.kind)
    new = rows[: len(rows) - len(before)]
    assert len(new) == (2 if "commands/batch" in path else 1)
    assert {one["status"] for one in new} <= ({"applied", "queued"} if answer.is_success else {"rejected"})


def test_no_route_is_missing_in_the_table(server: Serving) -> None:
    """Every route of the OpenAPI document is in the table above, or tells nothing of a world (H2)."""
    described = server.ok("GET", "/openapi.json")["paths"]
    there = {(method.upper(), path.removeprefix("/v1")) for path, methods in described.items() for method in methods}
    names = {"{spare}": "{world}", "entities/1": "entities/{entity_id}", "entities/2": "entities/{entity_id}"}
    names["keys/none"] = "keys/{key_id}"
    listed = set()
    for one in ROUTES:
        path = one.path.partition("?")[0]
        for given, name in names.items():
            path = path.replace(given, name)
        listed.add((one.method, path))
    apart = {("GET", one) for one in ("/livez", "/readyz", "/templates", "/events", "/worlds/{world}/events")}
    # What is told of jobs, and to whom, is tried with them.
    apart |= {
        ("GET", "/jobs"),
        ("GET", "/jobs/{job_id}"),
        ("DELETE", "/jobs/{job_id}"),
        ("GET", "/jobs/{job_id}/events"),
    }
    assert there == listed | apart


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_without_a_key_there_is_nothing(
    tmp_path_factory: pytest.TempPathFactory, closed: Serving, route: Route
) -> None:
    """Without dev mode every route is refused to callers without a key, whatever they ask for (H2)."""
    answer = closed.ask(route.method, route.path.format(world="demo", spare="demo"), route.body)
    assert (answer.status_code, answer.json()["code"]) == (401, "ARC-H001")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that asks for keys."""
    with serving(config(tmp_path_factory.mktemp("closed"), is_dev=False)) as here:
        yield here


def test_the_session_of_the_readme(server: Serving) -> None:
    """The session that the project's first page shows works over HTTP."""
    world = server.world("session")
    entity = server.ok("POST", f"/worlds/{world}/entities", {"components": [{"type": "Position", "x": 0, "y": 0}]})
    run = server.ok("POST", f"/worlds/{world}/run", {"steps": 10})
    assert (run["first_tick"], run["final_tick"], run["steps"]) == (0, 9, 10)
    assert server.ok("POST", f"/worlds/{world}/episode", {"max_steps": 5})["reason"] == "max_steps"
    rollout = server.ok("POST", f"/worlds/{world}/rollout", {"num_episodes": 4, "max_steps": 5})
    assert [one["steps"] for one in rollout["episodes"]] == [5, 5, 5, 5]
    fork = server.ok("POST", f"/worlds/{world}/fork", {"name": "branch-a"})
    assert (fork["parent"], fork["tick"], fork["template"]) == (world, 15, "movement")
    assert server.ok("GET", f"/worlds/branch-a/entities/{entity['entity_id']}")["tick"] == 14
    assert server.ok("DELETE", "/worlds/branch-a")["destroyed"] is True
    assert server.ok("DELETE", f"/worlds/{fork['world_id']}")["destroyed"] is False
    assert [one["type"] for one in server.ok("GET", f"/worlds/{world}/history?limit=3")["items"]]


def test_processors_of_the_template_run(server: Serving) -> None:
    """A world of the built-in template moves its entities, and an update writes only the fields that it names (T2)."""
    world = server.world("moving")
    bundle = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1.0, "dy": 2.0}]}
    entity = server.ok("POST", f"/worlds/{world}/entities", bundle)["entity_id"]
    server.ok("POST", f"/worlds/{world}/run", {"steps": 3})
    server.ok("PATCH", f"/worlds/{world}/entities/{entity}", {"components": [{"type": "Position", "x": 10.0}]})
    server.ok("POST", f"/worlds/{world}/step")
    found = server.ok("GET", f"/worlds/{world}/entities/{entity}")
    assert found["components"][0] == {"type": "Position", "x": 10.0, "y": 6.0}


def test_lists_are_paged(server: Serving) -> None:
    """The pages of a list of worlds are the whole list, in order."""
    for number in range(3):
        server.world(f"listed-{number}")
    whole = [one["world_id"] for one in server.ok("GET", "/worlds?limit=10000")["items"]]
    found: list[str] = []
    page = server.ok("GET", "/worlds?limit=2")
    while page["next"] is not None:
        found += [one["world_id"] for one in page["items"]]
        page = server.ok("GET", f"/worlds?limit=2&cursor={page['next']}")
    found += [one["world_id"] for one in page["items"]]
    assert found == whole
    world = whole[0]
    assert server.ok("GET", f"/worlds/{world}/hooks?limit=1")["next"] is not None
    assert server.ok("GET", "/templates?limit=1")["next"] is None


def test_a_world_id_is_used_once(server: Serving) -> None:
    """Creating a world with the id of an existing one answers with that one (G8); another world cannot take its name."""
    first = server.ok("POST", "/worlds", {"name": "once", "world_id": "my-id"})
    again = server.ok("POST", "/worlds", {"name": "once", "world_id": "my-id"})
    assert (again["world_id"], again["run_id"]) == ("my-id", first["run_id"])
    assert server.problem("POST", "/worlds", {"name": "once"})["code"] == "ARC-G003"
    assert len(server.ok("GET", "/worlds/my-id/hooks")["items"]) == 2
    assert len(server.ok("GET", "/worlds/my-id/processors")["items"]) == 1


def test_a_destroyed_world_is_opened_again_by_its_id(server: Serving) -> None:
    """Its history goes on, and its template's processors run (G8)."""
    body = {"name": "phoenix", "world_id": "phoenix-id"}
    server.ok("POST", "/worlds", body)
    entity = server.ok("POST", "/worlds/phoenix/entities", {"components": MOVING})["entity_id"]
    server.ok("POST", "/worlds/phoenix/run", {"steps": 2})
    server.ok("DELETE", "/worlds/phoenix")
    assert server.ok("POST", "/worlds", body)["tick"] == 2
    server.ok("POST", "/worlds/phoenix/step")
    assert server.ok("GET", f"/worlds/phoenix/entities/{entity}")["components"][0]["x"] == 2.0


def test_a_world_may_have_any_id(server: Serving) -> None:
    """``Location`` leads to a world whatever characters its id has."""
    answer = server.ask("POST", "/worlds", {"name": "späte Welt", "world_id": "ä 1?%/\U0006d5dc"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == "/v1/worlds/%C3%A4%201%3F%25%2F%F1%AD%97%9C"
    other = server.ask("POST", "/worlds", {"name": "Ödland", "world_id": "welt ü"})
    assert server.ok("GET", other.headers["location"])["world_id"] == "welt ü"


def test_a_missing_world_names_those_there_are(server: Serving) -> None:
    """The problem about a world that does not exist has the names that the caller may see."""
    server.world("neverland")
    for method, path in (
        ("GET", "/worlds/neverlnd"),
        ("POST", "/worlds/neverlnd/step"),
        ("GET", "/worlds/neverlnd/state"),
    ):
        found = server.problem(method, path)
        assert (found["status"], found["code"], found["world"]) == (404, "ARC-W001", "neverlnd")
        assert "neverland" in found["known"]
