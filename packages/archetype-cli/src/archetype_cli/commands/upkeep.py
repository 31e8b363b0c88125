"""``archetype verify``, ``compact`` and ``repair``: what the package of a store offers for its files.

A store's package names a module under the entry point group ``archetype.upkeep``, by the scheme of its addresses. The
functions ``verify``, ``compact`` and ``repair`` of that module take a path; one that a store has no use for is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.connection import is_server
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import with_format
from archetype_cli.output import write
from archetype_cli.progress import counting
from archetype_cli.settings import is_address

UPKEEP = "archetype.upkeep"
COLUMNS = ("part", "place", "problem", "world", "harmless")


@dataclass(frozen=True)
class Verified:
    """What a check of all files of a store has found."""

    rows: Sequence[Mapping[str, Any]]
    summary: str
    is_sound: bool


def verified(place: str) -> Verified:
    """Read all of a store and its audit log, and return what is damaged."""
    address, scheme, path = _located(place)
    report = _function("verify", scheme, place)(path)
    damages = [_finding("audit", one) for one in _damages(address)]
    rows = [*(_finding("store", one) for one in report.findings), *damages]
    return Verified(rows, str(report).splitlines()[0], report.is_sound and not damages)


@click.command()
@click.argument("place", metavar="DIRECTORY")
@with_format()
def verify(place: str, form: str) -> int:
    """Read all of a store and say what is damaged.

    The audit log is checked as well. It changes nothing, and may run beside a writer. The exit code is 7 if something is damaged.
    """
    found = verified(place)
    if found.rows or form != "table":
        write(Answer("findings", COLUMNS, found.rows), form)
    click.echo(found.summary, err=True)
    return ExitCode.OK if found.is_sound else ExitCode.DAMAGED


@click.command()
@click.argument("place", metavar="DIRECTORY")
def compact(place: str) -> None:
    """Merge a store's small files, remove unused ones.

    An open store does so by itself, in small steps. No tick is lost, and the store may be open elsewhere.
    """
    _, scheme, path = _located(place)
    function = _function("compact", scheme, place)
    with counting("compacting") as told:
        tables = function(path, progress=told)
    click.echo(f"merged files of {tables} tables in {place}", err=True)


@click.command()
@click.argument("place", metavar="DIRECTORY")
@click.option("--roll-back", is_flag=True, help="Also take worlds back to their newest tick that can be read.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_format()
def repair(place: str, roll_back: bool, yes: bool, form: str) -> int:
    """Rebuild a damaged journal from what can be read.

    The old file is kept beside the new one. Nothing may have the journal open. Run `archetype verify` first.
    """
    _, scheme, path = _located(place)
    function = _function("repair", scheme, place)
    if not yes:
        click.confirm(f"rebuild the journal in {path}? The old one is kept", abort=True, err=True)
    done = function(path, roll_back=roll_back)
    facts = {"rebuilt": done.kept_in is not None, "old_database": done.kept_in, "removed": list(done.removed)}
    write(Facts("repair", {**facts, "is_sound": done.after.is_sound}), form)
    return ExitCode.OK if done.after.is_sound else ExitCode.DAMAGED


def _located(place: str) -> tuple[str, str, str]:
    """The address of a local store, its scheme, and its path."""
    if is_server(place):
        raise Failure(
            f"{place} is a server", "give the directory of the store, on the server's machine", ExitCode.USAGE
        )
    from archetype_cli.local_source import address_of

    address = address_of(place)
    scheme, _, path = address.partition(":") if is_address(address) else ("lance", "", address)
    return address, scheme.lower(), path


def _function(name: str, scheme: str, place: str) -> Callable[..., Any]:
    points = {one.name: one for one in entry_points(group=UPKEEP)}
    if scheme not in points:
        raise Failure(
            f"no installed package has a store for {scheme}:",
            f"pip install archetype-store-{scheme}",
            ExitCode.NOT_INSTALLED,
        )
    module = points[scheme].load()
    if not hasattr(module, name):
        able = [one for one, point in points.items() if hasattr(point.load(), name)]
        hint = f"it is for {', '.join(able)} stores"
        if name == "repair" and scheme == "lance":
            hint = f"its journal can be repaired: archetype repair journal:{place}/journal"
        raise Failure(f"`archetype {name}` is not for {scheme} stores, as in {place}", hint, ExitCode.USAGE)
    function: Callable[..., Any] = getattr(module, name)
    return function


def _damages(address: str) -> list[Any]:
    from archetype_core.config import StorageConfig
    from archetype_core.errors import LedgerError
    from archetype_gate import verify as verify_ledger

    try:
        return verify_ledger(StorageConfig(address))
    except LedgerError as failure:
        if "there is no ledger" in str(failure):
            return []
        raise


def _finding(part: str, one: Any) -> dict[str, Any]:
    return {
        "part": part,
        "place": getattr(one, "place", ""),
        "problem": getattr(one, "problem", None) or getattr(one, "reason", ""),
        "world": getattr(one, "world", None),
        "harmless": getattr(one, "is_harmless", False),
    }
