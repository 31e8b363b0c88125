"""API keys: found by their secret, ended at once, and never stored."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving import Serving, config, serving

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


def test_a_missing_state_is_named(tmp_path: Path) -> None:
    """Where no server was, nothing is created, and what is missing is named."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        opened(None, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
