"""``archetype doctor``."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version

import click

from archetype_cli.answer import Answer
from archetype_cli.connection import Connection, is_server
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import at_place, with_format
from archetype_cli.output import write
from archetype_cli.settings import DEFAULT_URL, Settings

_PACKAGES = (
    "archetype-cli",
    "archetype-core",
    "archetype-journal",
    "archetype-gate",
    "archetype-runtime",
    "archetype-store-lance",
    "archetype-server",
    "daft",
    "pyarrow",
)
Check = tuple[str, str, str]


@click.command()
@click.argument("words", nargs=-1, metavar="[PLACE]")
@with_format()
@at_place
def doctor(*, words: tuple[str, ...], form: str, connection: Connection) -> int:
    """Check the installation, the settings and a place.

    Without a PLACE, that of the settings. The exit code is 1 if a check fails.
    """
    place, _ = connection.split(words, [])
    checks = list(_checks(connection, place))
    rows = [{"check": name, "status": status, "detail": detail} for name, status, detail in checks]
    write(Answer("checks", ("check", "status", "detail"), rows), form)
    return ExitCode.FAILED if any(status == "failed" for _, status, _ in checks) else ExitCode.OK


def _checks(connection: Connection, place: str | None) -> Iterator[Check]:
    yield "python", "ok", f"{platform.python_version()} at {sys.executable}"
    yield from _packages()
    for group, label in (
        ("archetype.stores", "stores"),
        ("archetype.kernels", "kernels"),
        ("archetype.commands", "commands"),
    ):
        names = sorted(point.name for point in entry_points(group=group))
        yield label, "ok", ", ".join(names) or "none"
    settings = Settings.load()
    files = ", ".join(map(str, settings.files)) or "none"
    yield "settings files", "ok", files
    for name, setting in settings.found.items():
        value = "set" if name == "token" else setting.value
        yield f"setting {name}", "ok", f"{value} (from {setting.source})"
    chosen = place or connection.place or settings.get("place")
    if chosen is None:
        yield "place", "not checked", f"none is given; commands use {DEFAULT_URL}"
        return
    yield _tried("place", lambda: _place(connection, chosen))


def _packages() -> Iterator[Check]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            yield name, "absent", "not installed"
        else:
            yield name, "ok", found[name]
    ours = {number for name, number in found.items() if name.startswith("archetype-")}
    if len(ours) > 1:
        yield "versions", "failed", "packages of different releases are installed: upgrade them together"


def _place(connection: Connection, place: str) -> str:
    with connection.open(place) as source:
        if is_server(place):
            return f"{place} is ready, {len(source.worlds())} worlds"
        return f"{place} can be read, {len(source.worlds())} worlds"


def _tried(name: str, check: Callable[[], str]) -> Check:
    try:
        return name, "ok", check()
    except Failure as failure:
        return name, "failed", f"{failure.what}; {failure.hint}" if failure.hint else failure.what
    # A store may raise anything when it is damaged; that is what is being found out.
    except Exception as failure:  # noqa: BLE001  # reason: reported as the result of the check
        return name, "failed", str(failure)
