"""The commands that talk to a server, against one that answers as the wire contract says."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from cli_scene import Command, environment
from stand_in import StandIn

pytest_plugins = ["cli_fixtures"]


def item(text: str) -> dict[str, object]:
    """The one object of a JSON answer."""
    found: dict[str, object] = json.loads(text)["item"]
    return found


def items(text: str) -> list[dict[str, object]]:
    """The rows of a JSON answer."""
    found: list[dict[str, object]] = json.loads(text)["items"]
    return found


@pytest.fixture
def at(command: Command, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The server, as the environment names it."""
    monkeypatch.setenv("ARCHETYPE_URL", server.url)
    return server


def test_the_session_of_the_readme(command: Command, at: StandIn) -> None:
    """Create, list, spawn, run, episode, rollout, fork, history, destroy: each is one request that says what was asked."""
    assert item(command("world", "create", "demo", "--json").out)["name"] == "demo"
    assert [one["name"] for one in items(command("world", "list", "--json").out)] == ["demo"]
    payload = '[{"type":"Position","x":0,"y":0}]'
    assert item(command("entity", "spawn", "id-0", "--components", payload, "--json").out) == {"entity_id": 1}
    assert item(command("run", "id-0", "--steps", 10, "--json").out)["final_tick"] == 9
    assert item(command("step", "demo", "--json").out)["final_tick"] == 10
    assert item(command("episode", "id-0", "--max-steps", 100, "--json").out)["steps"] == 100
    rollout = item(command("rollout", "id-0", "--num-episodes", 4, "--max-steps", 100, "--json").out)
    assert rollout["rollout_id"] == "r"
    assert item(command("world", "fork", "id-0", "--name", "branch-a", "--json").out)["parent"] == "id-0"
    assert len(items(command("history", "id-0", "--json").out)) == 5
    assert item(command("entity", "update", "demo", 1, "-c", '{"type":"Position","x":5}', "--json").out)
    assert item(command("entity", "despawn", "demo", 1, "--json").out)
    assert item(command("world", "destroy", "id-0", "--json").out) == {"world_id": "id-0", "destroyed": True}
    sent = [(method, path.partition("?")[0], body) for method, path, _, body in at.requests if method != "GET"]
    assert sent == [
        ("POST", "/v1/worlds", {"name": "demo"}),
        ("POST", "/v1/worlds/id-0/entities", {"components": [{"type": "Position", "x": 0, "y": 0}]}),
        ("POST", "/v1/worlds/id-0/run", {"steps": 10}),
        ("POST", "/v1/worlds/demo/step", {}),
        ("POST", "/v1/worlds/id-0/episode", {"max_steps": 100}),
        ("POST", "/v1/worlds/id-0/rollout", {"num_episodes": 4, "max_steps": 100}),
        ("POST", "/v1/worlds/id-0/fork", {"name": "branch-a"}),
        ("PATCH", "/v1/worlds/demo/entities/1", {"components": [{"type": "Position", "x": 5}]}),
        ("DELETE", "/v1/worlds/demo/entities/1", None),
        ("DELETE", "/v1/worlds/id-0", None),
    ]


def test_reads(command: Command, at: StandIn, tmp_path: Path) -> None:
    """Rows, diffs, trees and entities have the columns that they have for a local place."""
    for name in ("one", "two", "three"):
        at.create(name, tick=3)
    at.create("fork", parent="id-0", tick=3)
    at.entities["id-0"] = {1: [{"type": "Position", "x": 1.5}], 2: [{"type": "Position", "x": 2.5}]}
    assert [one["name"] for one in items(command("world", "list", "--json").out)] == ["one", "two", "three", "fork"]
    shown = items(command("query", "one", "--json").out)
    assert [row["position__x"] for row in shown] == [1.5, 2.5]
    assert list(shown[0])[:4] == ["world_id", "run_id", "entity_id", "tick"]
    assert command("query", "one", "-e", 2, "--column", "tick", "-t", "0:2", "-f", "csv").out == "tick\n0\n1\n"
    rows = items(command("query", "one", "-c", "Position", "-t", "1:", "-n", 3, "--json").out)
    assert [(row["tick"], row["entity_id"]) for row in rows] == [(1, 1), (1, 2), (2, 1)]
    path = tmp_path / "rows.arrow"
    assert command("export", "one", "-o", path, "-t", "all").code == 0
    assert pa.ipc.open_stream(path.read_bytes()).read_all().num_rows == 6
    assert item(command("entity", "get", "one", 2, "--json").out)["components"] == [{"type": "Position", "x": 2.5}]
    assert command("entity", "get", "one", 9).code == 3
    assert items(command("diff", "one@1", "@2", "--json").out)[0]["column"] == "spot__x"
    assert [one["parent"] for one in items(command("log", "--json").out)] == [None, "id-0", None, None]
    assert command("history", "one", "-n", 3, "-f", "csv").out.count("spawn") == 3
    tail = command("tail", "one", "-n", 3, "-f", "jsonl").out.splitlines()
    assert [json.loads(line)["tick"] for line in tail] == [2, 3, 4]


def test_who_asks(command: Command, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role and a token are sent as the flags say; a token in the environment is sent too, and never printed."""
    server.token = str.join("-", ["some", "secret"])
    refused = command("world", "list", "--url", server.url)
    assert refused.code == 4
    assert "--token" in refused.err
    assert command("world", "list", "--url", server.url, "--token", server.token).code == 0
    monkeypatch.setenv("ARCHETYPE_TOKEN", server.token)
    denied = command("world", "create", server.url, "x", "-r", "viewer")
    assert denied.code == 4
    assert denied.err.startswith("error: viewer may not do this [ARC-G001]")
    assert server.requests[-1][2]["x-archetype-role"] == "viewer"
    shown = command("doctor", "--url", server.url)
    assert shown.code == 0
    assert "some-secret" not in shown.out + shown.err


def test_refusals(command: Command, at: StandIn) -> None:
    """A refusal of the server has its message, its code, and the exit code of its kind."""
    command("world", "create", "a/b c")
    assert command("world", "show", "a/b c").code == 0
    taken = command("world", "create", at.url, "a/b c")
    assert (taken.code, taken.err) == (5, "error: there is a world 'a/b c' [ARC-G003]\n")
    missing = command("world", "show", "nothing")
    assert missing.code == 3
    assert "archetype world list" in missing.err
    assert command("query", "a/b c", "--where", "x > 1").code in (2, 3)
    assert command("history").code == 2


def test_a_server_that_is_none(command: Command, at: StandIn) -> None:
    """What is no Archetype server is told from one, and so is a place where nothing listens."""
    at.answers_html = True
    assert command("world", "list").code == 6
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        silent = command("world", "list", f"http://127.0.0.1:{free.getsockname()[1]}")
    assert silent.code == 6
    assert "archetype serve" in silent.err
    assert command("world", "list", "http://").code == 2


@pytest.mark.parametrize("payload", ["{", "[1]", '[{"x": 1}]', "3"])
def test_components_that_are_none(command: Command, at: StandIn, payload: str) -> None:
    """What is no list of components is refused before anything is sent."""
    done = command("entity", "spawn", "demo", "-c", payload)
    assert done.code == 2
    assert "write it as" in done.err
    assert at.requests == []


def test_components_from_a_file(command: Command, at: StandIn, tmp_path: Path) -> None:
    """Components can come from a file."""
    at.create("demo")
    (tmp_path / "one.json").write_text('{"type": "Position", "x": 1}')
    assert command("entity", "spawn", "demo", "-c", f"@{tmp_path / 'one.json'}").code == 0
    assert command("entity", "spawn", "demo", "-c", "@nothing.json").code == 3


def test_a_server_needs_no_packages_of_a_store(server: StandIn) -> None:
    """A command to a server imports neither Arrow nor Daft, nor any other package of ours."""
    server.create("demo")
    code = (
        "import sys\nfrom archetype_cli.boundary import run\n"
        f"code = run(['world', 'list', {server.url!r}])\n"
        "heavy = {'daft', 'pyarrow', 'numpy', 'archetype', 'archetype_core', 'archetype_gate', 'archetype_journal'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment(), timeout=60
    )
    assert done.stderr == "[]\n"
    assert "demo" in done.stdout
