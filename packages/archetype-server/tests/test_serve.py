"""The server as a process: ready, stopped, killed, started again, and refused beside another one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from server_process import PROGRAM, child
from serving import TIMEOUT_S, config, serving

from archetype_core.config import StorageConfig
from archetype_server import Limits, NotBound, SecondServer, Server, ServerConfig

MOVING = {"components": [{"type": "Position"}, {"type": "Velocity", "dx": 1.0}]}


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_success(tmp_path: Path, number: signal.Signals) -> None:
    """SIGTERM and Ctrl-C end open streams, close the stores and exit with 0; nothing is printed but talk."""
    with child(tmp_path, "--dev") as server:
        assert any("admin.key" in line for line in server.said)
        assert any("dev mode" in line for line in server.said)
        world = server.ok("POST", "/worlds", {"name": "demo"})["world_id"]
        with server.http.stream("GET", f"/worlds/{world}/events") as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(number)
            assert [line for line in lines if line] == []
        assert server.process.wait(TIMEOUT_S) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_server_brings_its_worlds_back(tmp_path: Path, number: signal.Signals) -> None:
    """After a stop, or a kill, worlds and forks go on, with processors, queue and what was answered (R5, H3)."""
    with child(tmp_path, "--dev") as server:
        server.ok("POST", "/worlds", {"name": "demo", "seed": 5})
        entity = server.ok("POST", "/worlds/demo/entities", MOVING)["entity_id"]
        server.ok("POST", "/worlds/demo/run", {"steps": 3})
        server.ok("POST", "/worlds/demo/fork", {"name": "branch"})
        later = server.ok("POST", "/worlds/demo/commands", {"command": {"type": "spawn", **MOVING}, "tick": 5})
        staged = server.ok("POST", "/worlds/demo/entities", {"components": [{"type": "Health"}]})["entity_id"]
        server.end(number)
    with child(tmp_path, "--dev") as server:
        assert not any("admin.key" in line for line in server.said)
        found = {one["name"]: one for one in server.ok("GET", "/worlds")["items"]}
        assert {name: (one["tick"], one["template"], one["is_live"]) for name, one in found.items()} == {
            "demo": (3, "movement", True),
            "branch": (3, "movement", True),
        }
        for name in ("demo", "branch"):
            server.ok("POST", f"/worlds/{name}/run", {"steps": 3})
            moved = server.ok("GET", f"/worlds/{name}/entities/{entity}")["components"][0]
            assert moved == {"type": "Position", "x": 5.0, "y": 0.0}
        assert server.ok("GET", f"/worlds/demo/entities/{staged}")["components"][0]["type"] == "Health"
        assert server.ok("GET", f"/worlds/demo/entities/{later['entity_ids'][0]}")["tick"] == 5


@pytest.mark.thorough
def test_a_second_server_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    """Two servers on one storage would fight over its worlds; the second one is told who has it."""
    with child(tmp_path) as server:
        other = subprocess.run(
            [sys.executable, "-c", PROGRAM, "--port", "0", "--storage", f"journal:{tmp_path / 'data'}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        assert other.returncode != 0
        assert f"process {server.process.pid} at {server.url}" in other.stderr
        assert "Traceback" not in other.stderr
        assert server.http.get("/readyz").status_code == 200


def test_a_second_server_of_one_storage_is_refused(tmp_path: Path) -> None:
    """Neither a state directory of its own nor another name of the storage makes two servers of one storage."""
    (tmp_path / "other-name").symlink_to(tmp_path / "data")
    linked = StorageConfig(uri=f"journal:{tmp_path / 'other-name'}")
    with serving(config(tmp_path, state=tmp_path / "mine")):
        others = (
            config(tmp_path, state=tmp_path / "other"),
            config(tmp_path, state=tmp_path / "other", storage=linked),
            config(tmp_path, state=tmp_path / "mine", storage=StorageConfig(uri=f"journal:{tmp_path / 'free'}")),
        )
        for number, chosen in enumerate(others):
            told = asyncio.run(_refused(chosen, SecondServer))
            assert f"process {os.getpid()}" in told
            assert ("the storage journal:" in told) == (number < 2)
        with serving(
            config(tmp_path, storage=StorageConfig(uri=f"journal:{tmp_path / 'apart'}"), state=tmp_path / "s")
        ):
            pass
    with serving(config(tmp_path, storage=linked)):
        pass


async def _refused(chosen: ServerConfig, kind: type[Exception]) -> str:
    with pytest.raises(kind) as refusal:
        await Server(chosen).start()
    return str(refusal.value)


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    """A port that is taken is an error with host and port, and leaves nothing locked."""
    with serving(config(tmp_path)) as here:
        port = int(here.url.rpartition(":")[2])
        chosen = config(tmp_path / "other", port=port)
        assert f"port {port}" in asyncio.run(_refused(chosen, NotBound))
        assert f"process {os.getpid()}" in asyncio.run(_refused(config(tmp_path), SecondServer))
    with serving(config(tmp_path / "other")) as here:
        assert here.ask("GET", "/readyz").status_code == 200


def test_a_request_that_takes_too_long_is_given_up_by_a_stop(tmp_path: Path) -> None:
    """A run that is not done when the server has waited for it is answered 503; the ticks that it committed stay."""
    answers: list[httpx2.Response] = []
    with serving(config(tmp_path, limits=replace(Limits(), drain_s=0.1))) as here:
        here.world("demo")
        here.ok("POST", "/worlds/demo/entities", MOVING)
        here.ok("POST", "/worlds/demo/step")

        def run() -> None:
            answers.append(httpx2.post(f"{here.url}/worlds/demo/run", json={"steps": 100_000}, timeout=TIMEOUT_S))

        client = threading.Thread(target=run)
        client.start()
        while here.ok("GET", "/worlds/demo")["tick"] == 1:
            pass
    client.join(TIMEOUT_S)
    (answer,) = answers
    assert (answer.status_code, answer.json()["code"]) == (503, "ARC-H011")
    with serving(config(tmp_path)) as here:
        assert here.ok("GET", "/worlds/demo")["tick"] > 1


def test_a_world_whose_template_is_gone_is_reported(tmp_path: Path) -> None:
    """A server without the template of a world says so, and serves the others."""
    source = tmp_path / "two_towns.py"
    source.write_text("from archetype_server import WorldTemplate\nA = WorldTemplate('a')\nB = WorldTemplate('b')\n")
    with serving(config(tmp_path, load=str(source))) as here:
        here.world("first", template="a")
        here.world("second", template="b")
    source.write_text("from archetype_server import WorldTemplate\nB = WorldTemplate('b')\n")
    with serving(config(tmp_path, load=str(source))) as here:
        assert here.server.failed == {"first": "no template 'a'"}
        assert [(one["name"], one["is_live"]) for one in here.ok("GET", "/worlds")["items"]] == [
            ("first", False),
            ("second", True),
        ]
        assert here.problem("POST", "/worlds/first/step")["code"] == "ARC-W001"


@pytest.mark.parametrize("storage", ["memory:", "s3://bucket/data", "lance:s3://bucket"])
def test_a_storage_without_a_place_needs_a_state_directory(tmp_path: Path, storage: str) -> None:
    """The server's own files need a directory; one in memory serves with it, and other roles than dev need a key."""
    with pytest.raises(ValueError, match="state="):
        _ = ServerConfig(storage=StorageConfig(uri=storage)).state_directory
    assert ServerConfig(storage=StorageConfig(uri=storage), state=tmp_path).state_directory == tmp_path


def test_usage_reports_of_the_engine_are_off() -> None:
    """Importing the server turns Daft's reports off, before it is imported itself."""
    plain = {name: value for name, value in os.environ.items() if name != "DO_NOT_TRACK"}
    program = "import sys, os, archetype_server; print(os.environ['DO_NOT_TRACK'], 'daft' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["true", "False"]


def test_dev_mode_is_refused_where_others_can_reach_it() -> None:
    """Everybody is admin in dev mode, so it needs a loopback address (H2)."""
    with pytest.raises(ValueError, match="loopback"):
        ServerConfig(host="0.0.0.0", is_dev=True)  # noqa: S104  # reason: it is refused
    with pytest.raises(ValueError, match="loopback"):
        ServerConfig(host="sim.example", is_dev=True)
    assert ServerConfig(host="::1", is_dev=True).hosts >= {"[::1]", "localhost"}
