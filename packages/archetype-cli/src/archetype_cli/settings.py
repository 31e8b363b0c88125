"""Settings: a flag comes before the environment, that before the project's file, and that before the user's file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, meant

PROJECT_FILE = "archetype.toml"
FORMATS = ("table", "json", "jsonl", "csv", "arrow", "parquet")
_KEYS = {"place": str, "token": str, "role": str, "format": str, "timeout_s": float}


@dataclass(frozen=True)
class Setting:
    """A value and where it comes from."""

    value: Any
    source: str
    """The name of an environment variable, or the path of a file."""

    @property
    def rank(self) -> int:
        """How early it comes: 0 for the environment, 1 for the project's file, 2 for the user's."""
        return 0 if self.source.startswith("ARCHETYPE_") else 1 if Path(self.source).name == PROJECT_FILE else 2


@dataclass(frozen=True)
class Settings:
    """What the environment and both files say."""

    found: Mapping[str, Setting]
    files: tuple[Path, ...] = ()
    """The files that were read, the project's first."""

    @classmethod
    def load(cls, directory: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the environment, the nearest ``archetype.toml`` from a directory upwards, and the user's file."""
        env = os.environ if environment is None else environment
        found: dict[str, Setting] = {}
        files = [one for one in (_project_file(directory or Path.cwd()), user_file(env)) if one and one.is_file()]
        for path in reversed(files):
            found.update(_read(path, is_project=path.name == PROJECT_FILE))
        for name in _KEYS:
            variable = f"ARCHETYPE_{name.upper()}"
            if name == "place" and not env.get(variable):
                variable = "ARCHETYPE_URL"
            if text := env.get(variable):
                found[name] = Setting(_checked(name, text, variable), variable)
        return cls(found, tuple(files))

    def get(self, name: str, flag: Any = None) -> Any:
        """Return the value of a setting, or of the flag if it was given."""
        if flag is not None:
            return flag
        setting = self.found.get(name)
        return None if setting is None else setting.value

    def identity(self, token: str | None, role: str | None, place: str | None) -> tuple[str | None, str | None]:
        """Return the token and the role to send, of which at most one is set, given the flags.

        A key has its own roles, so what comes first counts: flags, environment, project, user. The user's file has a token for
        the user's server, and not for one that a project names.
        """
        if token is not None and role is not None:
            raise Failure(
                "--token and --role contradict each other: a key has its own role", "give one", ExitCode.USAGE
            )
        if token is not None or role is not None:
            return token, role
        found, named, at = self.found.get("token"), self.found.get("role"), self.found.get("place")
        if found is not None and found.rank == 2 and place is None and at is not None and at.rank == 1:
            found = None
        if found is not None and (named is None or found.rank <= named.rank):
            return str(found.value), None
        return None, None if named is None else str(named.value)


def default_url(env: Mapping[str, str]) -> str:
    """Return the address of a server that was started without flags on this machine."""
    return f"http://localhost:{env.get('ARCHETYPE_PORT') or 8000}"


def user_file(env: Mapping[str, str]) -> Path:
    """Return the path of the user's settings, which need not exist."""
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "archetype" / "config.toml"


def _project_file(directory: Path) -> Path | None:
    for place in (directory, *directory.parents):
        if (path := place / PROJECT_FILE).is_file():
            return path
    return None


def _read(path: Path, *, is_project: bool) -> dict[str, Setting]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise Failure(f"{path} cannot be read: {failure}", "correct or remove the file", ExitCode.USAGE) from failure
    for name in table:
        if name not in _KEYS:
            known = f"the settings are {', '.join(_KEYS)}"
            raise Failure(f"{path}: unknown setting {name!r}", meant(name, _KEYS, known), ExitCode.USAGE)
    if is_project and "token" in table:
        raise Failure(
            f"{path}: a token does not belong into a project's file, which others can read",
            f"put it into {user_file(os.environ)} or the environment variable ARCHETYPE_TOKEN",
            ExitCode.USAGE,
        )
    found = {name: Setting(_checked(name, value, str(path)), str(path)) for name, value in table.items()}
    place = found.get("place")
    if place is not None and not is_address(place.value):
        # A path in a file means the same wherever the command is called.
        found["place"] = Setting(str(path.parent / place.value), place.source)
    return found


def _checked(name: str, value: object, source: str) -> Any:
    kind = _KEYS[name]
    try:
        given = kind(value) if isinstance(value, str | int | float) else None
    except ValueError:
        given = None
    if given is None or (kind is str and not isinstance(value, str)):
        wanted = "a number" if kind is float else "a text"
        raise Failure(f"{source}: {name} is {wanted}, not {value!r}", "", ExitCode.USAGE)
    if name == "format" and given not in FORMATS:
        raise Failure(
            f"{source}: unknown format {given!r}", meant(str(given), FORMATS, ", ".join(FORMATS)), ExitCode.USAGE
        )
    return given


def is_address(place: str) -> bool:
    """Whether a place begins with a scheme, such as ``http://`` or ``journal:``."""
    scheme, colon, _ = place.partition(":")
    return bool(colon) and len(scheme) > 1 and scheme.isascii() and scheme.replace("+", "").isalnum()
