"""API keys: the same at a server and in its files."""

from __future__ import annotations

import json

import pytest
from cli_scene import Command, Served

pytest_plugins = ["cli_fixtures"]


def rows(text: str) -> list[dict[str, object]]:
    """The rows of a JSON answer."""
    found: list[dict[str, object]] = json.loads(text)["items"]
    return found


def test_a_key_from_its_making_to_its_end(command: Command, at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An admin's key makes, lists and ends keys at a server; the key itself is the only thing on standard output."""
    made = command("keys", "create", "ada", "--role", "viewer", "--role", "player", "--days", 30)
    assert (made.code, made.out.count("\n"), "only time" in made.err) == (0, 1, True)
    key = made.out.strip()
    assert json.loads(command("me", "--token", key, "--json").out)["item"]["actor"] == "ada"
    (info,) = (one for one in rows(command("keys", "list", "--json").out) if one["actor"] == "ada")
    assert (info["roles"], info["worlds"], info["revoked_at"]) == (["player", "viewer"], None, None)
    assert info["expires_at"] is not None
    assert key not in command("keys", "list").out
    # As a viewer, which a key of the environment is, nobody makes keys.
    monkeypatch.setenv("ARCHETYPE_TOKEN", key)
    assert command("keys", "list").code == 4
    monkeypatch.delenv("ARCHETYPE_TOKEN")
    assert command("keys", "revoke", key).err == f"revoked {info['key_id']}\n"
    assert command("me", "--token", key).code == 4
    again = command("keys", "revoke", info["key_id"])
    assert (again.code, "keys list" in again.err) == (3, True)


def test_the_same_in_the_files(command: Command, at: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the server's machine its files are enough, and have the same keys; one made there counts at once."""
    monkeypatch.chdir(at.directory)
    place = "journal:./archetype-data"
    made = json.loads(command("keys", "create", place, "bob", "--role", "viewer", "--json").out)["item"]
    assert json.loads(command("me", "--token", made["key"], "--json").out)["item"]["actor"] == "bob"
    assert command("keys", "create", "--state", "archetype-data-server", "cyd", "--role", "admin").code == 0
    for form in ("table", "json", "csv", "jsonl"):
        assert command("keys", "list", "-f", form) == command("keys", "list", place, "-f", form)
    assert command("keys", "list", "--storage", place).out == command("keys", "list").out
    assert command("keys", "revoke", place, made["key_id"]).code == 0
    assert command("me", "--token", made["key"]).code == 4


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["create", "--role", "viewer"], 2, "ACTOR is missing"),
        (["create", "ada"], 2, "--role"),
        (["create", "ada", "--role", "king"], 2, "'operator'"),
        (["create", "./nowhere", "ada", "--role", "viewer"], 3, "start the server once"),
        (["create", "server", "--role", "viewer"], 2, "another name"),
        (["create", "ada", "--role", "viewer", "--days", "0"], 2, "from 1"),
        (["create", "ada", "--role", "viewer", "--days", "99999999999"], 2, "fewer"),
        (["list", ".", "--storage", "."], 2, "give one"),
        (["list", "--storage", "memory:"], 2, "--state"),
        (["revoke", "ark_x_y"], 3, "keys list"),
    ],
)
def test_mistakes(command: Command, at: Served, words: list[str], code: int, hint: str) -> None:
    """A mistake is named with what to do."""
    done = command("keys", *words)
    assert (done.code, done.out) == (code, "")
    assert hint in done.err
    assert len(done.err.splitlines()) <= 2
