"""A command is done once: expected ticks, idempotency keys, connections that break, Ctrl-C while a server works."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cli_scene import Command, Served, console_script, environment

pytest_plugins = ["cli_fixtures"]

MOVING = '[{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]'
Breaking = Callable[[int], str]


def item(text: str) -> dict[str, object]:
    """The one object of a JSON answer."""
    found: dict[str, object] = json.loads(text)["item"]
    return found


@pytest.fixture
def world(command: Command, at: Served) -> str:
    """The name of a new world with one moving entity, after a tick."""
    name = f"w-{uuid.uuid4().hex[:8]}"
    assert command("world", "create", name, "--seed", 1).code == 0
    assert command("entity", "spawn", name, "-c", MOVING).code == 0
    assert command("step", name).code == 0
    return name


def whole(peer: socket.socket) -> bytes:
    """A request with its body, which arrive one after the other."""
    asked = peer.recv(1 << 20)
    length = re.search(rb"content-length: (\d+)", asked, re.IGNORECASE)
    while length is not None and len(asked.partition(b"\r\n\r\n")[2]) < int(length[1]):
        asked += peer.recv(1 << 20)
    return asked


@pytest.fixture
def breaking(at: Served) -> Iterator[Breaking]:
    """A function that makes an address of the server, where some answers to what changes a world are cut off."""
    server = urlsplit(at.url)
    assert server.hostname is not None
    with contextlib.ExitStack() as stack:

        def listen(times: int) -> str:
            bound = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            remaining = times

            def serve() -> None:
                nonlocal remaining
                with contextlib.suppress(OSError):
                    while True:
                        peer, _ = bound.accept()
                        with peer, socket.create_connection((server.hostname, server.port)) as onward:
                            asked = whole(peer)
                            onward.sendall(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                            answer = b"".join(iter(partial(onward.recv, 1 << 20), b""))
                            if remaining and not asked.startswith(b"GET"):
                                remaining -= 1
                                continue
                            peer.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            return f"http://127.0.0.1:{bound.getsockname()[1]}"

        yield listen


@pytest.fixture
def key(command: Command, at: Served) -> str:
    """A key for another address of the same server, which is not noted as this user's."""
    return command("keys", "create", "ada", "--role", "operator").out.strip()


def test_a_broken_connection(command: Command, world: str, breaking: Breaking, key: str) -> None:
    """If the answer is lost, the command asks again, and the change is made once."""
    done = command("entity", "spawn", breaking(1), world, "-c", MOVING, "--token", key, "--json")
    assert (done.code, item(done.out)) == (0, {"entity_id": 2})
    assert command("run", breaking(1), world, "-n", 2, "--token", key).code == 0
    found = item(command("world", "show", world, "--json").out)
    assert (found["entities"], found["tick"]) == (2, 3)


def test_a_connection_that_breaks_again(command: Command, world: str, breaking: Breaking, key: str) -> None:
    """If the second answer is lost, too, the message has the key with which a repetition is not done twice."""
    asked = (world, "-c", MOVING, "--token", key, "--json")
    done = command("entity", "spawn", breaking(2), *asked)
    assert (done.code, done.out) == (6, "")
    found = re.search(r"--idempotency-key (\w+)", done.err)
    assert found is not None
    again = command("entity", "spawn", *asked, "--idempotency-key", found[1])
    assert item(again.out) == {"entity_id": 2}
    assert item(command("world", "show", world, "--live", "--json").out)["pending"] == 1


def test_a_key_of_the_callers_own(command: Command, world: str) -> None:
    """With the same key, a command has the same answer and does nothing more; another command with it is refused."""
    first, second = (command("entity", "spawn", world, "-c", MOVING, "--idempotency-key", "mine") for _ in range(2))
    assert first.out == second.out
    assert item(command("world", "show", world, "--live", "--json").out)["pending"] == 1
    other = command("step", world, "--idempotency-key", "mine")
    assert (other.code, "ARC-G010" in other.err) == (5, True)
    made = [command("world", "create", f"{world}-b", "--idempotency-key", f"{world}-b", "--json") for _ in range(2)]
    assert made[0].out == made[1].out


@pytest.mark.parametrize(
    "words",
    [
        ("step", "WORLD"),
        ("run", "WORLD", "-n", 2),
        ("episode", "WORLD", "--max-steps", 2),
        ("rollout", "WORLD", "--num-episodes", 1, "--max-steps", 1),
        ("entity", "spawn", "WORLD", "-c", MOVING),
        ("entity", "update", "WORLD", 1, "-c", '{"type": "Position", "x": 1}'),
        ("entity", "despawn", "WORLD", 1),
        ("world", "fork", "WORLD"),
        ("world", "destroy", "WORLD"),
    ],
    ids=lambda words: " ".join(map(str, words[:2])),
)
def test_an_expected_tick(command: Command, world: str, words: tuple[object, ...]) -> None:
    """Nothing is done unless the world is where the caller takes it to be."""
    asked = [world if word == "WORLD" else word for word in words]
    stale = command(*asked, "--expect-tick", 7)
    assert (stale.code, stale.out, "ARC-G009" in stale.err) == (5, "", True)
    live = item(command("world", "show", world, "--live", "--json").out)
    assert (live["tick"], live["pending"], live["entities"]) == (1, 0, 1)
    assert command(*asked, "--expect-tick", 1).code == 0


def test_ctrl_c_while_a_server_runs_on(command: Command, at: Served, world: str, tmp_path: Path) -> None:
    """The message says what the server goes on with, and the same command with the key in it waits for the end."""
    with subprocess.Popen(
        [console_script(), "run", world, "-n", "400"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**at.environment),
        cwd=tmp_path,
        text=True,
    ) as running:
        while int(str(item(command("world", "show", world, "--json").out)["tick"])) < 3:
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    found = re.fullmatch(
        rf"interrupted: the server goes on with the run of '{world}'; .*--idempotency-key (\w+) .*", err.strip()
    )
    assert found is not None, err
    waited = command("run", world, "-n", 400, "--idempotency-key", found[1], "--json")
    assert item(waited.out)["final_tick"] == 400
    assert item(command("world", "show", world, "--json").out)["tick"] == 401


def test_commands_are_followed(command: Command, at: Served, world: str, tmp_path: Path) -> None:
    """Settled commands are printed as they come, as the audit log has them, from the server and from its files."""
    place = f"journal:{at.directory / 'archetype-data'}"
    asked = (["tail", world], ["tail", place, world])
    tails = [
        subprocess.Popen(
            [console_script(), *words, "--commands", "-f", "jsonl", "-n", "3"],
            stdout=subprocess.PIPE,
            env=environment(**at.environment),
            cwd=tmp_path,
            text=True,
        )
        for words in asked
    ]
    try:
        while any(one.poll() is None for one in tails):
            assert command("step", world).code == 0
            assert command("query", world).code == 0
        told = [[json.loads(line) for line in one.stdout] for one in tails if one.stdout]
    finally:
        for one in tails:
            one.kill()
            one.communicate(timeout=60)
    stored = {row["seq"]: row for row in json.loads(command("history", world, "-n", 1000, "--json").out)["items"]}
    for rows in told:
        assert len(rows) == 3
        assert all(row == stored[row["seq"]] and row["type"] == "step" for row in rows)
