"""API keys: found by their secret, ended at once, and never stored."""

from __future__ import annotations

import contextlib
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import TIMEOUT_S, Serving, config, serving

from archetype_server import KeyStore, Limits, ensure_first_key
from archetype_server.local_keys import opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KeyStore]:
    """A key store on disk."""
    opened = KeyStore(tmp_path / "server.sqlite")
    yield opened
    opened.close()


def test_a_key_stands_for_its_actor(store: KeyStore) -> None:
    """A key is the actor it was made for with its roles; anything near it is nobody."""
    key, info = store.add("ada", {"player", "viewer"})
    found = store.find(key)
    assert found is not None
    assert (found.id, found.roles) == ("ada", frozenset({"player", "viewer"}))
    assert store.list() == [info]
    wrong = [key[:-1], key + "x", key.upper(), key.removeprefix("ark_"), "ark_" + info.key_id, "ark_", "", "ark__"]
    assert [one for one in wrong if store.find(one)] == []


def test_only_a_hash_is_stored(store: KeyStore, tmp_path: Path) -> None:
    """Nothing in the file is the secret of a key."""
    key, _ = store.add("ada", {"admin"})
    secret = key.rpartition("_")[2].encode()
    assert all(secret not in one.read_bytes() for one in tmp_path.iterdir())


def test_a_key_ends(store: KeyStore) -> None:
    """A key that is expired or revoked is nobody, and a second revocation changes nothing."""
    now = datetime.now(UTC)
    old, _ = store.add("ada", {"admin"}, expires_at=now - timedelta(seconds=1))
    young, info = store.add("ada", {"admin"}, expires_at=now + timedelta(days=1))
    assert store.find(old) is None
    assert store.find(young) is not None
    assert store.revoke(info.key_id)
    assert store.find(young) is None
    assert not store.revoke(info.key_id)
    assert not store.revoke("unknown")
    with pytest.raises(ValueError, match="the server itself"):
        store.add("server", {"admin"})
    with pytest.raises(ValueError, match="time zone"):
        store.add("ada", {"admin"}, expires_at=datetime(2030, 1, 1))


def test_the_first_key_is_its_owners_alone(store: KeyStore, tmp_path: Path) -> None:
    """The first start writes an admin's key to a file of mode 0600, over whatever a crash left; later starts write none."""
    (tmp_path / "admin.key").write_text("left by a crash")
    (tmp_path / "admin.key").chmod(0o644)
    path = ensure_first_key(store, tmp_path)
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = store.find(path.read_text().strip())
    assert found is not None
    assert (found.id, found.roles) == ("admin", frozenset({"admin"}))
    assert ensure_first_key(store, tmp_path) is None


def test_the_first_key_is_not_written_through_a_link(store: KeyStore, tmp_path: Path) -> None:
    """A link in the place of the file is refused, and no key is made."""
    (tmp_path / "admin.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"admin\.key"):
        ensure_first_key(store, tmp_path)
    assert store.list() == []


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["add", "revoke", "find", "find"]), st.integers(0, 5)), max_size=30
    )
)
def test_every_process_sees_every_change_at_once(steps: list[tuple[bool, str, int]]) -> None:
    """What one handle of the file adds or revokes counts at the next look of the other, whatever it remembers."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        both = [stack.enter_context(contextlib.closing(KeyStore(Path(place) / "server.sqlite"))) for _ in range(2)]
        keys: list[tuple[str, str]] = []
        revoked: set[str] = set()
        for is_second, step, number in steps:
            one = both[is_second]
            if step == "add":
                key, info = one.add("ada", {"viewer"})
                keys.append((key, info.key_id))
            elif keys and step == "revoke":
                key, key_id = keys[number % len(keys)]
                assert one.revoke(key_id) == (key not in revoked)
                revoked.add(key)
            for key, _ in keys:
                for other in both:
                    assert (other.find(key) is None) == (key in revoked)
                    assert other.why_over(key) == ("revoked" if key in revoked else None)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that asks for keys, and takes few requests."""
    limits = replace(Limits(), requests_per_s=0.5, burst=30)
    with serving(config(tmp_path_factory.mktemp("closed"), is_dev=False, limits=limits)) as here:
        yield here


def test_a_key_made_in_the_files_works_until_it_is_revoked(closed: Serving) -> None:
    """A key that is made or revoked in a server's files counts at once, while it runs; quotas and audit have the key's actor."""
    assert closed.server.first_key is not None
    with opened(None, closed.server.first_key.parent) as store:
        key, info = store.add("ada", ["viewer"])
        headers = {"Authorization": f"Bearer {key}"}
        assert closed.http.get("/me", headers=headers).json()["actor"] == "ada"
        refused = closed.http.post("/worlds", headers=headers, json={"name": "x"})
        assert (refused.status_code, refused.json()["actor"]) == (403, "ada")
        assert closed.http.get("/worlds?role=admin", headers={"X-Archetype-Role": "admin"}).status_code == 401
        assert store.revoke(info.key_id)
        assert closed.http.get("/me", headers=headers).status_code == 401
        assert not store.revoke(info.key_id)


def test_who_guesses_keys_is_slowed_down(closed: Serving) -> None:
    """Too many requests of an address without a key are 429 with ``Retry-After``; those with a key still pass."""
    codes = [closed.http.get("/me", headers={"Authorization": f"Bearer ark_{n}_x"}).status_code for n in range(40)]
    assert (codes[0], codes[-1]) == (401, 429)
    refused = closed.http.get("/me")
    assert (refused.json()["code"], int(refused.headers["retry-after"]) >= 1) == ("ARC-H009", True)
    assert closed.server.first_key is not None
    key = closed.server.first_key.read_text().strip()
    assert closed.http.get("/me", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def follow(url: str, key: str, path: str, tell: Callable[[tuple[float, str]], None]) -> threading.Thread:
    """Follow an event stream in a thread, with the moment of each line."""

    def read() -> None:
        with httpx2.stream("GET", url + path, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_S) as answer:
            for line in answer.iter_lines():
                tell((time.monotonic(), line))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def test_streams_and_jobs_end_with_their_key(tmp_path: Path) -> None:
    """A stream says why and ends within a second of the end of its key, also by another process; other keys' go on."""
    with serving(config(tmp_path, limits=replace(Limits(), send_s=5))) as server:
        server.world("demo")
        until = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
        made = {
            name: server.ok("POST", "/keys", {"actor": name, "roles": ["operator"], **more})
            for name, more in (("ada", {}), ("bob", {}), ("old", {"expires_at": until}))
        }
        keys = {name: one["key"] for name, one in made.items()}
        asked = {"Authorization": f"Bearer {keys['ada']}", "Prefer": "respond-async"}
        job = server.http.post("/worlds/demo/run", json={"steps": 50_000}, headers=asked).json()["job_id"]
        told: dict[str, list[tuple[float, str]]] = {}
        threads = {}
        for name, path in (
            ("ada", "/events"),
            ("ada", "/worlds/demo/events?kinds=tick,command"),
            ("ada", f"/jobs/{job}/events"),
            ("bob", "/worlds/demo/events"),
            ("old", "/events"),
        ):
            threads[name + path] = follow(server.url, keys[name], path, told.setdefault(name + path, []).append)
        while not all(told.values()):
            time.sleep(0.01)
        program = (
            "import sys; from pathlib import Path; from archetype_server.local_keys import opened\n"
            "with opened(None, Path(sys.argv[1])) as keys: assert keys.revoke(sys.argv[2])"
        )
        words = (tmp_path / "data-server", made["ada"]["info"]["key_id"])
        subprocess.run([sys.executable, "-c", program, *words], check=True)
        at = time.monotonic()
        for name, thread in threads.items():
            if not name.startswith("bob"):
                thread.join(TIMEOUT_S)
                why = "revoked" if name.startswith("ada") else "expired"
                assert [line for _, line in told[name]][-3:] == ["event: ended", f'data: {{"reason":"{why}"}}', ""]
            if name.startswith("ada"):
                # Long before the next sign of life of a quiet stream.
                assert told[name][-1][0] - at < 10
        over = server.ok("GET", f"/jobs/{job}")
        assert (over["state"], over["problem"]["code"]) == ("cancelled", "ARC-H001")
        assert 0 < over["progress"]["ticks"] < 50_000
        before = len(told["bob/worlds/demo/events"])
        server.ok("POST", "/worlds/demo/step")
        while len(told["bob/worlds/demo/events"]) == before:
            time.sleep(0.01)
    threads["bob/worlds/demo/events"].join(TIMEOUT_S)


def test_a_missing_state_is_named(tmp_path: Path) -> None:
    """Where no server was, nothing is created, and what is missing is named."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        opened(None, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
