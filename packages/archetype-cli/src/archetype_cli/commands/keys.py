"""``archetype keys``.

Keys in files are read and written by the package of the server, which names a function under the entry point group
``archetype.keys``. It takes a storage and a state directory, and opens an object with ``add``, ``list`` and ``revoke``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import click

from archetype_cli.answer import Answer, Facts
from archetype_cli.command_group import SubGroup
from archetype_cli.connection import Connection, is_server
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.options import ROLES, SOME, TOKEN, URL, with_format
from archetype_cli.output import write
from archetype_cli.source import KEY_FACTS

KEYS = "archetype.keys"


class KeyRing(Protocol):
    """The keys of a server, over HTTP or in its files."""

    def create_key(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make a key, and return it as ``key`` with its facts as ``info``."""
        ...

    def keys(self) -> Sequence[Mapping[str, Any]]:
        """All keys, revoked ones too, oldest first."""
        ...

    def revoke_key(self, key_id: str) -> bool:
        """End a key; whether there was one that was not revoked before."""
        ...


@dataclass(frozen=True)
class _StoredKeys:
    """The keys in the files of a server."""

    store: Any

    def create_key(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            key, info = self.store.add(
                body["actor"], body["roles"], worlds=body["worlds"], expires_at=body["expires_at"]
            )
        except ValueError as failure:
            raise Failure(str(failure), "", ExitCode.USAGE) from failure
        return {"key": key, "info": _facts(info)}

    def keys(self) -> Sequence[Mapping[str, Any]]:
        return [_facts(one) for one in self.store.list()]

    def revoke_key(self, key_id: str) -> bool:
        return bool(self.store.revoke(key_id))


@dataclass(frozen=True)
class KeyPlace:
    """Where the keys are: at a server, or in the files of one."""

    connection: Connection
    storage: str | None
    state: Path | None

    @contextmanager
    def open(self, place: str | None) -> Iterator[KeyRing]:
        """Open the keys at a place, which the flags may give instead."""
        storage = self.storage
        if storage is None and self.state is None:
            storage = self.connection.chosen(place)
            if is_server(storage):
                with self.connection.server(storage) as server:
                    yield server
                return
        elif place is not None or self.connection.place is not None:
            raise Failure("a PLACE and --storage or --state contradict each other", "give one of them", ExitCode.USAGE)
        points = list(entry_points(group=KEYS))
        if not points:
            raise Failure(
                "keys in the files of a server need its package", "pip install archetype-server", ExitCode.NOT_INSTALLED
            )
        try:
            opening = points[0].load()(storage, self.state)
        except ValueError as failure:
            raise Failure(str(failure), "pass --state, the server's own directory", ExitCode.USAGE) from failure
        with opening as store:
            yield _StoredKeys(store)


def _at_keys(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the keys are; the command gets them as ``at``."""

    @click.option("--storage", metavar="ADDRESS", help="The storage of a server on this machine, as for serve.")
    @click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="The state directory of a server on this machine.",
    )
    @URL
    @TOKEN
    @functools.wraps(command)
    def wrapped(*, url: str | None, token: str | None, storage: str | None, state: Path | None, **options: Any) -> None:
        command(at=KeyPlace(Connection(url, token), storage, state), **options)

    return wrapped


@click.group(cls=SubGroup)
def keys() -> None:
    """Make, list and revoke the API keys of a server.

    An admin does so at the server, from anywhere. Whoever can write the server's own files does so without a key: give the
    directory of its storage as the PLACE, or --state.
    """


@keys.command()
@click.argument("words", nargs=-1, metavar="[PLACE] ACTOR")
@click.option("--role", "roles", type=click.Choice(ROLES), multiple=True, required=True, help="What it may do.")
@click.option("--world", "worlds", multiple=True, metavar="WORLD", help="Only in this world. [all]")
@click.option("--days", type=SOME, metavar="N", help="How many days it is valid. [until it is revoked]")
@with_format(formats=("table", "json"))
@_at_keys
def create(
    *,
    words: tuple[str, ...],
    roles: tuple[str, ...],
    worlds: tuple[str, ...],
    days: int | None,
    form: str,
    at: KeyPlace,
) -> None:
    """Make a key for ACTOR and print it; it is not shown again.

    \b
    archetype keys create ada --role player --world demo --days 30
    archetype keys create ./archetype-data ada --role viewer
    """
    place, (actor,) = at.connection.split(words, ["ACTOR"])
    try:
        expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    except OverflowError:
        raise Failure(f"no calendar has a day {days} days from now", "give fewer --days", ExitCode.USAGE) from None
    body = {"actor": actor, "roles": list(roles), "worlds": list(worlds) or None, "expires_at": expires_at}
    with at.open(place) as ring:
        made = ring.create_key(body)
    if form == "json":
        write(Facts("key", {"key": made["key"], **made["info"]}), form)
        return
    click.echo(made["key"])
    key_id = made["info"]["key_id"]
    click.echo(f"this is the only time that it is shown; `archetype keys revoke {key_id}` ends it", err=True)


@keys.command("list")
@click.argument("words", nargs=-1, metavar="[PLACE]")
@with_format()
@_at_keys
def list_keys(*, words: tuple[str, ...], form: str, at: KeyPlace) -> None:
    """List all keys, revoked ones too; not the keys themselves."""
    place, _ = at.connection.split(words, [])
    with at.open(place) as ring:
        write(Answer("keys", KEY_FACTS, ring.keys()), form)


@keys.command()
@click.argument("words", nargs=-1, metavar="[PLACE] KEY_ID")
@_at_keys
def revoke(*, words: tuple[str, ...], at: KeyPlace) -> None:
    """End the key with an id, at once, also at a server that runs."""
    place, (key_id,) = at.connection.split(words, ["KEY_ID"])
    if key_id.startswith("ark_"):
        # Whoever has the key need not look its id up.
        key_id = key_id.removeprefix("ark_").partition("_")[0]
    with at.open(place) as ring:
        if not ring.revoke_key(key_id):
            raise Failure(
                f"there is no valid key {key_id!r}", "`archetype keys list` shows the ids", ExitCode.NOT_FOUND
            )
    click.echo(f"revoked {key_id}", err=True)


def _facts(info: Any) -> Mapping[str, Any]:
    return {name: getattr(info, name) for name in KEY_FACTS}
