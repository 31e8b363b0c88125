"""Long jobs: begun with ``Prefer: respond-async``, followed, cancelled between ticks, and nobody else's business."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_process import Child, child
from serving import TIMEOUT_S, Serving, config, serving

from archetype_gate import Quotas
from archetype_server import Limits
from archetype_server.job import Job
from archetype_server.job_store import JobStore

LIMITS = replace(Limits(), jobs=6, jobs_of_one=4, jobs_at_once=2)
QUOTAS = Quotas(credits=10**9)
LONG = {"steps": 90_000}
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server."""
    with serving(config(tmp_path_factory.mktemp("server"), limits=LIMITS, quotas=QUOTAS)) as here:
        yield here


def begin(server: Serving, path: str, body: Any, **more: Any) -> dict[str, Any]:
    """Begin a job."""
    answer = server.ask("POST", path, body, headers={**ASYNC, **more.pop("headers", {})}, **more)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{found['job_id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    return found


def until(read: Callable[[], dict[str, Any]], is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Read a job until it is so."""
    end = time.monotonic() + TIMEOUT_S
    while not is_so(job := read()):
        assert time.monotonic() < end, job
        time.sleep(0.02)
    return job


def ended(server: Serving, job: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Wait for the end of a job."""
    return until(lambda: server.ok("GET", f"/jobs/{job['job_id']}", **more), lambda one: one["ended_at"] is not None)


def running(server: Serving, job: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Wait until a job has made a tick."""
    read = lambda: server.ok("GET", f"/jobs/{job['job_id']}", **more)  # noqa: E731  # reason: one line
    return until(read, lambda one: one["progress"]["ticks"] > 0)


def audited(server: Serving, world: str, kind: str) -> list[tuple[str, str]]:
    """The actors and states of the commands of a type, newest first."""
    rows = server.ok("GET", f"/worlds/{world}/history?type={kind}")["items"]
    return [(one["actor"], one["status"]) for one in rows]


def test_a_run_is_a_job_if_that_is_preferred(server: Serving) -> None:
    """The answer is direct by default; with the preference it is a job, whose result is the direct answer, and one audit row."""
    world = server.world("long")
    direct = server.ok("POST", f"/worlds/{world}/run", {"steps": 2}, headers={"Prefer": "return=minimal, wait=5"})
    job = begin(
        server, f"/worlds/{world}/run", {"steps": 3}, role="operator", headers={"Prefer": "a=1, Respond-Async;x"}
    )
    assert (job["kind"], job["world_id"], job["actor"]) == ("run", world, "dev-operator")
    done = ended(server, job, role="operator")
    assert (done["state"], done["problem"]) == ("done", None)
    assert done["progress"] == {"ticks": 3, "ticks_total": 3, "episodes": None, "episodes_total": None}
    assert done["result"].keys() == direct.keys()
    assert (done["result"]["first_tick"], done["result"]["final_tick"]) == (2, 4)
    assert audited(server, world, "run") == [("dev-operator", "applied"), ("dev-admin", "applied")]
    assert done["created_at"] <= done["started_at"] <= done["ended_at"]


def test_episodes_and_rollouts_tell_their_progress(server: Serving) -> None:
    """A rollout counts ticks and episodes of its forks; its event stream ends with its end."""
    world = server.world("rolled")
    one = ended(server, begin(server, f"/worlds/{world}/episode", {"max_steps": 4}))
    assert (one["state"], one["progress"]["ticks"], one["result"]["steps"]) == ("done", 4, 4)
    job = begin(server, f"/v1/worlds/{world}/rollout", {"num_episodes": 5, "max_steps": 3, "parallel": 2})
    told = []
    with server.http.stream("GET", f"/v1/jobs/{job['job_id']}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = [json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line.startswith("data: ")]
    assert (told[-1]["state"], told[-1]["result"]) == ("done", None)
    assert told[-1]["progress"] == {"ticks": 15, "ticks_total": 15, "episodes": 5, "episodes_total": 5}
    assert [len(ended(server, job)["result"]["episodes"]), audited(server, world, "run_rollout")] == [
        5,
        [("dev-admin", "applied")],
    ]


def test_a_job_is_cancelled_between_ticks(server: Serving) -> None:
    """What it has committed stays, its audit row says how it ended, and to cancel it again changes nothing."""
    world = server.world("cancelled")
    job = begin(server, f"/worlds/{world}/run", LONG)
    running(server, job)
    over = server.ok("DELETE", f"/jobs/{job['job_id']}")
    assert (over["state"], over["result"]) == ("cancelled", None)
    info = server.ok("GET", f"/worlds/{world}")
    assert 0 < over["progress"]["ticks"] <= info["tick"] <= over["progress"]["ticks"] + 10
    assert audited(server, world, "run") == [("dev-admin", "failed")]
    assert server.ok("DELETE", f"/jobs/{job['job_id']}") == over
    # The world is free.
    assert server.ok("POST", f"/worlds/{world}/step")["tick"] == info["tick"]


def test_a_failure_is_the_problem_of_the_job(server: Serving) -> None:
    """A job whose command fails has the problem that the direct answer would be."""
    world = server.world("failing")
    server.ok("POST", f"/worlds/{world}/entities", {"components": [{"type": "Position"}]})
    direct = server.problem("POST", f"/worlds/{world}/rollout", {"max_steps": 1})
    failed = ended(server, begin(server, f"/worlds/{world}/rollout", {"max_steps": 1}))
    assert (failed["state"], failed["result"]) == ("failed", None)
    assert failed["problem"] == {**direct, "instance": f"/v1/worlds/{world}/rollout"}
    assert direct["code"] == "ARC-T004"


def test_what_is_refused_is_no_job(server: Serving) -> None:
    """Whatever the gate refuses at once is answered at once, with its audit row, and begins nothing."""
    world = server.world("refused")
    before = server.ok("GET", "/jobs?limit=10000")["items"]
    for status, path, role in (
        (403, f"/worlds/{world}/run", "player"),
        (404, "/worlds/nowhere/run", "admin"),
        (412, f"/worlds/{world}/run?expected_tick=7", "admin"),
    ):
        refused = server.problem("POST", path, {"steps": 1}, role=role, headers=ASYNC)
        assert refused["status"] == status
    many = {"num_episodes": 2**62, "max_steps": 0}
    assert server.problem("POST", f"/worlds/{world}/rollout", many)["code"] == "ARC-H018"
    assert server.ok("GET", "/jobs?limit=10000")["items"] == before
    assert audited(server, world, "run") == [("dev-admin", "rejected"), ("dev-player", "rejected")]


def test_a_key_is_one_job(server: Serving) -> None:
    """Sent again with its key, a request has its job; another request with the key is refused."""
    world = server.world("keyed")
    path, key = f"/worlds/{world}/run", {"Idempotency-Key": "once"}
    job = begin(server, path, {"steps": 5}, headers=key)
    done = ended(server, job)
    assert begin(server, path, {"steps": 5}, headers=key)["job_id"] == job["job_id"]
    assert server.ok("POST", path, {"steps": 5}, headers=key) == done["result"]
    assert server.problem("POST", path, {"steps": 6}, headers={**ASYNC, **key})["code"] == "ARC-G010"
    other = begin(server, path, {"steps": 6}, headers=key, role="operator")
    assert other["job_id"] != job["job_id"]
    assert ended(server, other)["state"] == "done"
    assert server.ok("GET", f"/worlds/{world}")["tick"] == 11


def test_jobs_are_bounded(server: Serving) -> None:
    """One actor has a number of them, and so have all; they run a few at a time, and those of who has fewest first."""
    worlds = [server.world(f"bound-{number}") for number in range(6)]
    begun = [begin(server, f"/worlds/{one}/run", LONG) for one in worlds[:4]]
    refused = server.ask("POST", f"/worlds/{worlds[4]}/run", LONG, headers=ASYNC)
    assert refused.status_code == 429, refused.text
    assert refused.json()["code"] == "ARC-H016"
    assert int(refused.headers["retry-after"]) >= 1
    others = [begin(server, f"/worlds/{one}/run", LONG, role="operator") for one in worlds[4:]]
    full = server.ask("POST", f"/worlds/{worlds[4]}/run", LONG, role="operator", headers=ASYNC)
    assert (full.status_code, full.json()["code"]) == (503, "ARC-H011")
    for one in begun[:2]:
        running(server, one)
    states = [server.ok("GET", f"/jobs/{one['job_id']}")["state"] for one in (*begun, *others)]
    assert states == ["running"] * 2 + ["queued"] * 4
    # One that waits ends without a tick; when one that runs ends, it is the other actor's turn.
    assert server.ok("DELETE", f"/jobs/{begun[3]['job_id']}")["progress"]["ticks"] == 0
    server.ok("DELETE", f"/jobs/{begun[0]['job_id']}")
    running(server, others[0])
    assert server.ok("GET", f"/jobs/{begun[2]['job_id']}")["state"] == "queued"
    for one in (*begun, *others):
        assert server.ok("DELETE", f"/jobs/{one['job_id']}")["state"] == "cancelled"


def test_lists_have_pages(server: Serving) -> None:
    """A list has the newest first; its further pages have no job twice, whatever begins meanwhile."""
    world = server.world("listed")
    begun = [ended(server, begin(server, f"/worlds/{world}/run", {"steps": 1}))["job_id"] for _ in range(3)]
    first = server.ok("GET", "/jobs?limit=2")
    ended(server, begin(server, f"/worlds/{world}/run", {"steps": 1}))
    second = server.ok("GET", f"/jobs?limit=2&cursor={first['next']}")
    assert [one["job_id"] for one in first["items"] + second["items"]][:3] == begun[::-1]
    assert all(one["result"] is None for one in first["items"])
    assert server.problem("GET", "/jobs?cursor=x")["code"] == "ARC-H003"


def test_jobs_of_others_are_hidden(tmp_path: Path) -> None:
    """Whatever id is asked for, a job is there for its actor and an admin, with worlds that they may see: 404 for all others."""
    with serving(config(tmp_path, quotas=QUOTAS)) as server:
        for name in ("north", "south"):
            server.world(name)
        keys = {
            name: server.ok("POST", "/keys", {"actor": actor, "roles": [role], "worlds": worlds})["key"]
            for name, actor, role, worlds in (
                ("ada-north", "ada", "operator", ["north"]),
                ("ada-south", "ada", "operator", ["south"]),
                ("bob", "bob", "operator", None),
                ("root", "root", "admin", None),
                ("north-root", "other", "admin", ["north"]),
            )
        }
        http = {
            name: httpx2.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S)
            for name, key in keys.items()
        }
        begun = {
            name: http[name].post(f"/worlds/{world}/run", json=LONG, headers=ASYNC).json()["job_id"]
            for name, world in (("ada-north", "north"), ("ada-south", "south"), ("bob", "south"), ("root", "north"))
        }
        sees = {
            "ada-north": {"ada-north"},
            "ada-south": {"ada-south"},
            "bob": {"bob"},
            "root": set(begun),
            "north-root": {"ada-north", "root"},
        }

        def check() -> None:
            for who, client in http.items():
                listed = {one["job_id"] for one in client.get("/jobs").json()["items"]}
                assert listed == {begun[one] for one in sees[who]}, who
                for whose, job_id in begun.items():
                    is_seen = whose in sees[who]
                    assert client.get(f"/jobs/{job_id}").is_success == is_seen, (who, whose)
                    if not is_seen:
                        told = client.get(f"/jobs/{job_id}").json()
                        assert {**told, "instance": ""} == {**client.get("/jobs/x").json(), "instance": ""}
                        for method, path in (("DELETE", ""), ("GET", "/events")):
                            assert client.request(method, f"/jobs/{job_id}{path}").status_code == 404

        check()
        # An admin ends those of others, which is on record; one with worlds of its own does not.
        assert http["north-root"].delete(f"/jobs/{begun['ada-north']}").status_code == 403
        assert http["root"].delete(f"/jobs/{begun['bob']}").json()["state"] == "cancelled"
        for name in ("ada-north", "ada-south", "root"):
            assert http[name].delete(f"/jobs/{begun[name]}").json()["state"] == "cancelled"
        for name in ("north", "south"):
            server.ok("DELETE", f"/worlds/{name}")
        # Of a world that is gone, the same key is told.
        sees["north-root"] = set()
        check()
        for one in http.values():
            one.close()


@pytest.mark.thorough
def test_a_stop_interrupts_jobs_and_the_same_call_goes_on(tmp_path: Path) -> None:
    """After SIGTERM and after a kill a job is interrupted. With its key, or the name of its rollout, the call finishes it."""
    run = ("/worlds/demo/run", {"steps": 1000}, {"Idempotency-Key": "run"})
    rollout = ("/worlds/other/rollout", {"num_episodes": 30, "max_steps": 10, "name": "named"}, dict[str, str]())
    begun: list[dict[str, Any]] = []

    def read(server: Child, number: int) -> dict[str, Any]:
        return dict(server.ok("GET", f"/jobs/{begun[number]['job_id']}"))

    def wait(server: Child, number: int, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return until(lambda: read(server, number), lambda job: is_so(job) or job["ended_at"] is not None)

    def begin_both(server: Child) -> None:
        for number, (path, body, headers) in enumerate((run, rollout)):
            answer = server.http.post(path, json=body, headers={**ASYNC, **headers})
            assert answer.status_code == 202, answer.text
            begun[number:] = [answer.json()]
            wait(server, number, lambda job: job["progress"]["ticks"] > 0)

    def check(server: Child, *numbers: int) -> None:
        for number in numbers:
            found = read(server, number)
            assert (found["state"], found["result"], found["ended_at"] is None) == ("interrupted", None, False)

    with child(tmp_path, "--dev") as server:
        for name in ("demo", "other"):
            server.ok("POST", "/worlds", {"name": name})
        begin_both(server)
        assert server.end(signal.SIGTERM) == 0
    first = [one["job_id"] for one in begun]
    with child(tmp_path, "--dev") as server:
        check(server, 0, 1)
        begin_both(server)
        assert [one["job_id"] == before for one, before in zip(begun, first, strict=True)] == [True, False]
        wait(server, 1, lambda job: job["progress"]["episodes"] > 3)
        server.end(signal.SIGKILL)
    with child(tmp_path, "--dev") as server:
        # The run may have been done by then.
        check(server, 1)
        begin_both(server)
        whole, rolled = (wait(server, number, lambda _: False) for number in range(2))
        assert (whole["state"], whole["result"]["steps"], whole["progress"]["ticks"]) == ("done", 1000, 1000)
        assert server.ok("GET", "/worlds/demo")["tick"] == 1000
        assert (rolled["state"], len(rolled["result"]["episodes"])) == ("done", 30)
        # The episodes that were finished before are not made again.
        assert rolled["progress"]["ticks"] <= 260


def stored(number: int, actor: str, **more: Any) -> Job:
    """A job that is done."""
    at = datetime.now(UTC) - timedelta(minutes=100 - number)
    facts: dict[str, Any] = {"kind": "run", "world_id": "w", "worlds": None, "path": "/", "key": None, "request": None}
    whole = {**facts, "created_at": at, "ended_at": at, "ticks_total": 1, "episodes_total": None, "state": "done"}
    return Job(job_id=f"{number:03}", actor=actor, **{**whole, **more})


@given(st.lists(st.tuples(st.sampled_from(["ada", "bob"]), st.integers(0, 9000)), max_size=20))
def test_kept_results_are_bounded_for_each_actor(jobs: list[tuple[str, int]]) -> None:
    """Of each actor the newest results are kept up to the bound, and the very newest always; others' do not count."""
    store = JobStore(Path(":memory:"), 10_000)
    for number, (actor, size) in enumerate(jobs):
        store.put(stored(number, actor), result=b"x" * size)
    for actor in ("ada", "bob"):
        mine = [(number, 1000 + size) for number, (one, size) in enumerate(jobs) if one == actor]
        kept = [number for at, (number, _) in enumerate(mine) if sum(size for _, size in mine[at + 1 :]) <= 10_000]
        assert [int(one.job_id) for one in store.list(actor, datetime.now(UTC))] == kept[::-1]
        assert [store.find(f"{number:03}") is not None for number in kept] == [True] * len(kept)
    store.close()


def test_a_job_is_kept_for_a_day(tmp_path: Path) -> None:
    """A job that ended more than a day ago is gone, and its key is free; one that no server ended is interrupted."""
    store = JobStore(tmp_path / "server.sqlite", 10_000)
    long_ago = datetime.now(UTC) - timedelta(days=1, seconds=1)
    store.put(stored(1, "ada", key="k", request="r", ended_at=long_ago))
    store.put(stored(2, "ada", ended_at=None, state="running", key="m", request="r"))
    assert (store.find("001"), store.find_key("ada", "k")) == (None, None)
    store.put(stored(3, "ada", key="k", request="s"))
    store.close()
    store = JobStore(tmp_path / "server.sqlite", 10_000)
    assert [(one.job_id, one.state) for one in store.list(None, datetime.now(UTC))] == [
        ("003", "done"),
        ("002", "interrupted"),
    ]
    # How far a job was is not written over its end.
    store.note(stored(2, "ada", ended_at=None, state="running", key="m", request="r"))
    assert [(one, store.find_key("bob", one)) for one in "km"] == [("k", None), ("m", None)]
    found = store.find_key("ada", "m")
    assert found is not None
    assert found.state == "interrupted"
    store.close()
