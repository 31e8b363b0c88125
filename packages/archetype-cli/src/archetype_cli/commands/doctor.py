"""``archetype doctor``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import click

from archetype_cli.answer import Answer
from archetype_cli.connection import Connection, is_server
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import at_place, with_format
from archetype_cli.output import write
from archetype_cli.own_server import own_servers
from archetype_cli.settings import Settings, default_url

_PACKAGES = {
    "archetype-core": "local places",
    "archetype-gate": "the audit log of local places",
    "archetype-journal": "stores at journal: addresses",
    "archetype-store-lance": "stores in plain directories",
    "archetype-runtime": "scripts, `archetype demo` and `archetype init`",
    "archetype-server": "`archetype serve` and `archetype keys`",
    "daft": "local places and --where",
    "pyarrow": "local places, --format arrow and parquet",
}
"""Packages that need not be installed, and what they are for."""
_GROUPS = {"archetype.stores": "stores", "archetype.kernels": "kernels", "archetype.commands": "commands"}
_SHOWN = 8
"""How many stores are named."""
Check = tuple[str, str, str, str]
"""What was looked at, ``ok``, ``absent``, ``warning`` or ``failed``, what was found, and what to do."""


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE]")
@click.option("--quick", is_flag=True, help="Do not read all files of a directory.")
@with_format()
@at_place
def doctor(*, words: tuple[str, ...], quick: bool, form: str, connection: Connection) -> int:
    """Check the installation, the settings and a place.

    It tells what is installed, which stores are in this directory and which servers run, whether the PLACE is healthy, and what
    to do about what is not. Without a PLACE, it is that of the settings. The exit code is 1 if a check fails.
    """
    place, _ = connection.split(words, [])
    checks = list(_checks(connection, place, is_quick=quick))
    rows = [{"check": name, "status": status, "detail": found, "remedy": todo} for name, status, found, todo in checks]
    write(Answer("checks", ("check", "status", "detail", "remedy"), rows), form)
    return ExitCode.FAILED if any(status == "failed" for _, status, _, _ in checks) else ExitCode.OK


def _checks(connection: Connection, place: str | None, *, is_quick: bool) -> Iterator[Check]:
    yield "python", "ok", f"{platform.python_version()} at {sys.executable}", ""
    yield from _packages()
    for group, label in _GROUPS.items():
        names = sorted(point.name for point in entry_points(group=group))
        yield label, "ok", ", ".join(names) or "none", ""
    settings = Settings.load()
    yield "settings files", "ok", ", ".join(map(str, settings.files)) or "none", ""
    for name, setting in settings.found.items():
        value = "set" if name == "token" else setting.value
        yield f"setting {name}", "ok", f"{value} (from {setting.source})", ""
    found = [str(one) for one in _stores(Path())]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    todo = "" if found else "`archetype demo` makes one to try commands on"
    yield "stores here", "ok", (", ".join(found[:_SHOWN]) or "none") + more, todo
    servers = [one.url for one in own_servers()]
    yield "servers", "ok", ", ".join(servers) or "none of this user runs on this machine", ""
    otherwise = default_url(os.environ)
    chosen = place or connection.place or settings.get("place") or (otherwise if servers else None)
    if chosen is None:
        yield "place", "absent", f"none is given; commands use {otherwise}", "`archetype serve`, or give a PLACE"
    elif is_server(chosen):
        yield from _server(connection, chosen)
    else:
        yield from _directory(connection, chosen, is_quick=is_quick)


def _packages() -> Iterator[Check]:
    ours = {}
    for name in ("archetype-cli", *_PACKAGES):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield name, "absent", "not installed", f"for {_PACKAGES[name]}: pip install {name}"
            continue
        yield name, "ok", found, ""
        if name.startswith("archetype-"):
            ours[name] = found
    if len(set(ours.values())) > 1:
        remedy = f"pip install --upgrade {' '.join(ours)}"
        yield "versions", "failed", "packages of different releases are installed", remedy


def _stores(directory: Path) -> Iterator[Path]:
    """The directories with a store, of which there may be many files below."""
    for path in (directory, *sorted(one for one in directory.iterdir() if one.is_dir())):
        if any((path / journal).is_file() for journal in ("journal.sqlite", "journal/journal.sqlite")):
            yield path


def _server(connection: Connection, place: str) -> Iterator[Check]:
    with connection.server(place) as server:
        known = _tried("you", lambda: _described(server.me()))
        yield known
        if known[1] == "ok":
            yield _tried("worlds", lambda: f"{len(server.worlds())} at {place}")


def _described(me: Mapping[str, Any]) -> str:
    return f"{me['actor']}, as {', '.join(me['roles'])}"


def _directory(connection: Connection, place: str, *, is_quick: bool) -> Iterator[Check]:
    def worlds() -> str:
        with connection.open(place) as source:
            return f"{len(source.worlds())} in {place}"

    opened = _tried("worlds", worlds)
    yield opened
    if opened[1] != "ok" or is_quick:
        return
    from archetype_cli.commands.upkeep import verified

    try:
        found = verified(place)
    except Failure as failure:
        yield "files", "failed", failure.what, failure.hint
        return
    if found.is_sound:
        yield "files", "ok", found.summary, ""
    else:
        yield (
            "files",
            "failed",
            found.summary,
            f"`archetype verify {place}` tells what, `archetype repair` rebuilds a journal",
        )


def _tried(name: str, check: Callable[[], str]) -> Check:
    try:
        return name, "ok", check(), ""
    except Failure as failure:
        return name, "failed", failure.what, failure.hint
    # A store may raise anything when it is damaged; that is what is being found out.
    except Exception as failure:  # noqa: BLE001  # reason: reported as the result of the check
        return name, "failed", str(failure), "`archetype verify` tells what is damaged"
