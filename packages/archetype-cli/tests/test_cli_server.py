"""The commands that talk to a server, against ours."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cli_scene import Command, Served, environment, in_terminal, process

pytest_plugins = ["cli_fixtures"]

MOVING = '[{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]'


def item(text: str) -> dict[str, object]:
    """The one object of a JSON answer."""
    found: dict[str, object] = json.loads(text)["item"]
    return found


def items(text: str) -> list[dict[str, object]]:
    """The rows of a JSON answer."""
    found: list[dict[str, object]] = json.loads(text)["items"]
    return found


@pytest.fixture
def world(command: Command, at: Served) -> str:
    """The name of a new world with one moving entity, after three ticks."""
    name = f"w-{uuid.uuid4().hex[:8]}"
    assert command("world", "create", name, "--seed", 1).code == 0
    assert command("entity", "spawn", name, "-c", MOVING).code == 0
    assert command("run", name, "--steps", 3).code == 0
    return name


def test_the_session_of_the_readme(tmp_path: Path, plain_server: Served) -> None:
    """Every line works against a server without flags: its first key is found on the same machine, from any directory."""

    def archetype(*words: object) -> str:
        done = process(*words, cwd=tmp_path, **plain_server.environment)
        assert (done.returncode, done.stderr) == (0, ""), words
        return done.stdout

    made = archetype("world", "create", "demo")
    world_id = next(line.split()[1] for line in made.splitlines() if line.startswith("world_id"))
    assert world_id in archetype("world", "list")
    assert (
        archetype("entity", "spawn", world_id, "--components", '[{"type":"Position","x":0,"y":0}]') == "entity_id  1\n"
    )
    assert item(archetype("run", world_id, "--steps", "10", "--json"))["final_tick"] == 9
    assert item(archetype("episode", world_id, "--max-steps", "100", "--json"))["reason"] == "max_steps"
    rollout: Any = item(archetype("rollout", world_id, "--num-episodes", "4", "--max-steps", "100", "--json"))
    assert len(rollout["episodes"]) == 4
    assert item(archetype("world", "fork", world_id, "--name", "branch-a", "--json"))["parent"] == world_id
    assert item(archetype("world", "destroy", world_id, "--json")) == {"world": world_id, "destroyed": True}
    history = items(archetype("history", world_id, "--json"))
    assert {"create_world", "spawn", "run", "run_episode", "run_rollout", "fork_world", "destroy_world"} <= {
        str(row["type"]) for row in history
    }


def test_the_life_of_an_entity(command: Command, at: Served, world: str) -> None:
    """An entity is read, updated and despawned; a tick is one step; the queue and the parts of a live world are shown."""
    found = item(command("entity", "get", world, 1, "--json").out)["components"]
    assert found == [{"type": "Position", "x": 2.0, "y": 0.0}, {"type": "Velocity", "dx": 1.0, "dy": 0.0}]
    assert command("entity", "update", world, 1, "-c", '{"type": "Velocity", "dx": 5}').code == 0
    live = item(command("world", "show", world, "--live", "--json").out)
    assert (live["pending"], live["template"]) == (1, "movement")
    assert "Movement" in json.dumps(live["processors"])
    assert item(command("step", world, "--json").out)["tick"] == 3
    assert item(command("entity", "despawn", world, 1, "--json").out) == {"entity_id": 1}
    assert command("step", world).code == 0
    assert command("entity", "get", world, 1).code == 3


@pytest.mark.parametrize("more", [{"TERM": "xterm"}, {"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_live_progress(command: Command, at: Served, world: str, tmp_path: Path, more: dict[str, str]) -> None:
    """On a terminal that can show it, ticks are counted while they are committed; the answer is the same."""
    shown, code = in_terminal(tmp_path, "run", world, "--steps", "300", **at.environment, **more)
    assert code == 0
    assert "final_tick  302" in shown
    assert ("/300" in shown) == (more["TERM"] != "dumb")
    assert ("\x1b[38" in shown or "\x1b[9" in shown) <= ("NO_COLOR" not in more)


def test_pages(command: Command, at: Served, world: str) -> None:
    """Lists that are longer than a page of the server are read to the end, or as far as is wanted."""
    assert command("run", world, "--steps", 1200).code == 0
    rows = items(command("query", world, "-c", "Position", "-t", "all", "-n", 1100, "--json").out)
    assert [row["tick"] for row in rows] == list(range(1100))
    assert len(items(command("query", world, "-c", "Position", "-t", "all", "--json").out)) == 1203
    for _ in range(2):
        command("step", world)
    assert len(items(command("history", world, "-n", 3, "--json").out)) == 3


def test_reads(command: Command, at: Served, world: str, tmp_path: Path) -> None:
    """Rows can be chosen by component, column, entity, tick and condition, and exported."""
    assert command("entity", "spawn", world, "-c", '{"type": "Position", "x": 7}').code == 0
    assert command("run", world, "-n", 2).code == 0
    rows = items(command("query", world, "-c", "Position", "-t", "1:", "-n", 3, "--json").out)
    assert [(row["tick"], row["entity_id"]) for row in rows] == [(1, 1), (2, 1), (3, 1)]
    assert list(rows[0])[:4] == ["world_id", "run_id", "entity_id", "tick"]
    asked = ("query", world, "-c", "Position", "-t", "all", "--column", "tick", "--column", "position__x", "-f", "csv")
    assert command(*asked, "-w", "position__x > 3.0 and entity_id = 1").out == "tick,position__x\n4,4.0\n"
    assert command(*asked, "-e", 2).out == "tick,position__x\n3,7.0\n4,7.0\n"
    path = tmp_path / "rows.arrow"
    assert command("export", world, "-c", "Position", "-o", path).code == 0
    assert pa.ipc.open_stream(path.read_bytes()).read_all().num_rows == 7
    assert items(command("diff", f"{world}@1", "@2", "--json").out) == [
        {"op": "changed", "entity_id": 1, "column": "position__x", "before": "1.0", "after": "2.0"}
    ]
    assert [one["name"] for one in items(command("log", "--json").out)].count(world) == 1
    tail = command("tail", world, "-n", 1, "-f", "jsonl").out.splitlines()
    assert [json.loads(line)["tick"] for line in tail] == [4]


def test_who_asks(command: Command, plain_server: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot read the first key needs one of his own, whose role decides; keys are never printed."""
    refused = command("world", "list", "--url", plain_server.url)
    assert (refused.code, "ARC-H001" in refused.err, "--token" in refused.err) == (4, True, True)
    role = command("world", "list", "--url", plain_server.url, "--role", "admin")
    assert (role.code, "--dev" in role.err) == (4, True)
    both = command("world", "list", "--url", plain_server.url, "--role", "admin", "--token", "x")
    assert (both.code, "contradict" in both.err) == (2, True)
    wrong = command("world", "list", "--url", plain_server.url, "--token", "ark_1_2")
    assert (wrong.code, "keys create" in wrong.err) == (4, True)
    made = process(
        "keys", "create", "ada", "--role", "viewer", "--storage", "journal:./archetype-data", cwd=plain_server.directory
    )
    key = made.stdout.strip()
    assert item(command("me", plain_server.url, "--token", key, "--json").out)["roles"] == ["viewer"]
    monkeypatch.setenv("ARCHETYPE_TOKEN", key)
    denied = command("world", "create", plain_server.url, "x")
    assert denied.code == 4
    assert "[ARC-G001]" in denied.err
    assert "archetype me" in denied.err
    shown = command("doctor", "--url", plain_server.url)
    assert shown.code == 0
    assert key not in shown.out + shown.err


def test_the_first_key_goes_to_its_server_alone(command: Command, at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note that names it is its user's alone, and a note of a process that is gone is not followed."""
    (note,) = (at.directory / "state" / "archetype" / "servers").glob("*.json")
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert item(command("me", "--json").out)["roles"] == ["admin"]
    text = note.read_text()
    try:
        note.write_text(json.dumps({**json.loads(text), "pid": 2**22 + 1}))
        assert command("me").code == 4
    finally:
        note.write_text(text)


def test_roles_of_developer_mode(command: Command, dev_server: Served) -> None:
    """At a server in developer mode a role is enough, and none is an admin."""
    assert item(command("me", dev_server.url, "-r", "viewer", "--json").out)["actor"] == "dev-viewer"
    assert item(command("me", dev_server.url, "--json").out)["roles"] == ["admin"]
    denied = command("world", "create", dev_server.url, "x", "-r", "viewer")
    assert (denied.code, denied.out) == (4, "")


def test_refusals(command: Command, at: Served, world: str) -> None:
    """A refusal of the server has its message, its code, and the exit code of its kind."""
    taken = command("world", "create", world)
    assert (taken.code, "[ARC-G003]" in taken.err) == (5, True)
    missing = command("world", "show", world[:-1])
    assert (missing.code, f"did you mean '{world}'?" in missing.err) == (3, True)
    column = command("query", world, "-c", "Position", "--column", "positon__x")
    assert (column.code, "did you mean 'position__x'?" in column.err) == (3, True)
    component = command("query", world, "-c", "Positon")
    assert (component.code, "Position" in component.err) == (3, True)
    field = command("entity", "spawn", world, "-c", '{"type": "Position", "z": 1}')
    assert (field.code, "z" in field.err) == (2, True)
    assert command("query", world, "-c", "Position", "--where", "x >").code == 2
    assert command("history").code == 2
    assert command("entity", "get", world, 99).code == 3
    assert command("world", "create", "").code == 2
    gone = command("world", "destroy", f"{world}-none")
    assert (gone.code, "no live world" in gone.err) == (3, True)
    later = command("query", world, "-t", "90:", "-f", "csv")
    assert (later.code, later.out.startswith("entity_id,tick,")) == (0, True)
    elsewhere = command("world", "list", "http://127.0.0.1:9")
    assert (elsewhere.code, f"your server at {at.url} runs" in elsewhere.err) == (6, True)
    unfit = command("entity", "spawn", world, "-c", '{"type": "Position", "x": "a"}')
    assert (unfit.code, "\\n" in unfit.err, "errors.pydantic.dev" in unfit.err) == (2, False, False)


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        ('[{"type": "Position" "x": 0}]', """expecting ',' delimiter at column 22, after [{"type": "Position\" """),
        ("[{type: Position, x: 0}]", "single quotes around the whole"),
        ("[1]", "item 1 is a number"),
        ('[{"type": "A"}, {"x": 1}]', 'item 2 has no "type"'),
        ("3", "a number and not a list"),
        ("[" * 100_000, "nested too deep"),
        ('[{"type": "A",\n "x": }]', "line 2, column 7"),
    ],
)
def test_components_that_are_none(command: Command, payload: str, what: str) -> None:
    """What is no list of components is refused before anything is sent, with the place of the mistake."""
    done = command("entity", "spawn", "http://127.0.0.1:9", "demo", "-c", payload)
    assert done.code == 2
    assert what.strip() in done.err
    assert len(done.err.splitlines()) == 2


def test_components_from_a_file(command: Command, at: Served, world: str, tmp_path: Path) -> None:
    """Components can come from a file."""
    (tmp_path / "one.json").write_text('{"type": "Position", "x": 1}')
    assert command("entity", "spawn", world, "-c", f"@{tmp_path / 'one.json'}").code == 0
    assert command("entity", "spawn", world, "-c", "@nothing.json").code == 3
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert command("entity", "spawn", world, "-c", f"@{tmp_path / 'binary'}").code == 2


def test_a_server_needs_no_packages_of_a_store(plain_server: Served, tmp_path: Path) -> None:
    """A command to a server imports neither Arrow nor Daft, nor any other package of ours."""
    code = (
        "import sys\nfrom archetype_cli.boundary import run\n"
        f"code = run(['world', 'list', {plain_server.url!r}])\n"
        "heavy = {'daft', 'pyarrow', 'numpy', 'archetype', 'archetype_core', 'archetype_gate', 'archetype_journal'}\n"
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment(**plain_server.environment),
        timeout=60,
    )
    assert done.stderr == "[]\n"
    assert "world_id" in done.stdout


Strange = Callable[[bytes], str]


@pytest.mark.parametrize(
    ("answer", "code", "hint"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", 6, "check the address"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 3, "check the address"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", 6, "check the address"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 6, "check the address"),
        (b"", 6, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", 6, ""),
    ],
)
def test_what_is_no_server(command: Command, strange: Strange, answer: bytes, code: int, hint: str) -> None:
    """Whatever answers at an address, the command says so in two lines."""
    done = command("world", "list", strange(answer))
    assert (done.code, done.out) == (code, "")
    assert hint in done.err
    assert len(done.err.splitlines()) <= 2


def test_addresses(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is down, an address without a scheme and one that is none are told apart."""
    down = command("world", "list", "http://127.0.0.1:9")
    assert (down.code, "archetype serve" in down.err) == (6, True)
    assert command("world", "list", "http://").code == 2
    assert command("world", "list", "http://[::1").code == 2
    bare = command("world", "list", "--url", "localhost:8000")
    assert (bare.code, "http://localhost:8000" in bare.err) == (2, True)
