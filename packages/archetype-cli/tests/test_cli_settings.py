"""Flags, environment, the project's file and the user's file."""

from __future__ import annotations

from pathlib import Path

import pytest

from archetype_cli.failure import Failure
from archetype_cli.settings import Settings


def write(path: Path, text: str) -> None:
    """Write a file and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_precedence(tmp_path: Path) -> None:
    """A flag comes first, then the environment, the project's file, and the user's."""
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    user = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    write(tmp_path / "config" / "archetype" / "config.toml", 'role = "viewer"\nplace = "http://user"\nformat = "csv"')
    write(tmp_path / "project" / "archetype.toml", 'role = "player"\nplace = "./data"')
    found = Settings.load(inner, {**user, "ARCHETYPE_ROLE": "operator"})
    assert found.get("role", "admin") == "admin"
    assert found.get("role") == "operator"
    assert found.get("format") == "csv"
    assert found.get("place") == str(tmp_path / "project" / "data")
    assert Settings.load(inner, {**user, "ARCHETYPE_URL": "http://env"}).get("place") == "http://env"
    assert Settings.load(tmp_path, user).get("role") == "viewer"


def test_a_token_stays_with_its_server(tmp_path: Path) -> None:
    """The token of the user's file is not sent to a server that a project's file names."""
    user = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    write(tmp_path / "config" / "archetype" / "config.toml", 'place = "http://mine"\ntoken = "secret"')
    assert Settings.load(tmp_path, user).identity(None, None, None) == ("secret", None)
    write(tmp_path / "archetype.toml", 'place = "http://theirs"')
    found = Settings.load(tmp_path, user)
    assert found.identity(None, None, None) == (None, None)
    assert found.identity(None, None, "http://mine") == ("secret", None)
    assert found.identity("flag", None, None) == ("flag", None)
    assert Settings.load(tmp_path, {**user, "ARCHETYPE_TOKEN": "env"}).identity(None, None, None) == ("env", None)


def test_a_token_or_a_role(tmp_path: Path) -> None:
    """Of a token and a role the one that comes first is sent; two flags contradict each other."""
    both = Settings.load(tmp_path, {"ARCHETYPE_TOKEN": "env", "ARCHETYPE_ROLE": "viewer"})
    assert both.identity(None, None, None) == ("env", None)
    assert both.identity(None, "player", None) == (None, "player")
    write(tmp_path / "archetype.toml", 'role = "viewer"')
    assert Settings.load(tmp_path, {"ARCHETYPE_TOKEN": "env"}).identity(None, None, None) == ("env", None)
    user = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    write(tmp_path / "config" / "archetype" / "config.toml", 'token = "secret"')
    assert Settings.load(tmp_path, user).identity(None, None, None) == (None, "viewer")
    with pytest.raises(Failure, match="contradict"):
        both.identity("x", "admin", None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("plce = 1", "did you mean 'place'?"),
        ("place = 1", "place is a text"),
        ('timeout_s = "soon"', "timeout_s is a number"),
        ('format = "xml"', "unknown format"),
        ('token = "x"', "ARCHETYPE_TOKEN"),
        ("place = ", "cannot be read"),
    ],
)
def test_mistakes_in_a_file(tmp_path: Path, text: str, what: str) -> None:
    """A mistake in a file names the file, and what to write."""
    write(tmp_path / "archetype.toml", text)
    with pytest.raises(Failure) as caught:
        Settings.load(tmp_path, {})
    assert str(tmp_path / "archetype.toml") in caught.value.what
    assert what in f"{caught.value.what} {caught.value.hint}"
