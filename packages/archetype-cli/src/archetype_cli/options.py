"""Options that many commands share, and the types of their values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import click

from archetype_cli.connection import Connection
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.settings import FORMATS, Settings
from archetype_cli.source import Selection, Terms

R = TypeVar("R")

ROLES = ("viewer", "player", "operator", "admin")


URL = click.option("--url", metavar="PLACE", help="The place, if it is not the first word. [ARCHETYPE_URL]")
TOKEN = click.option("--token", metavar="KEY", help="Your key for the server. [ARCHETYPE_TOKEN]")
OUTPUT = click.option("--output", "-o", metavar="FILE", help="Write to a file; it appears when it is complete.")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def at_place(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options that say where a command works; it gets them as ``connection``."""

    @URL
    @click.option(
        "--role", "-r", type=click.Choice(ROLES), metavar="ROLE", help=f"{_listed(ROLES)}, at a server with --dev."
    )
    @TOKEN
    @functools.wraps(command)
    def wrapped(*args: Any, url: str | None, role: str | None, token: str | None, **options: Any) -> R:
        return command(*args, connection=Connection(url, token, role), **options)

    return wrapped


KEY = click.option(
    "--idempotency-key",
    metavar="KEY",
    help="A name for this request: repeated with it, it is not done again. [a new one]",
)
QUIET = click.option("--quiet", "-q", "is_quiet", is_flag=True, help="Show no progress.")


def with_terms(command: Callable[..., R]) -> Callable[..., R]:
    """Add the options of what changes a world; the command gets them as ``terms``."""

    @click.option("--expect-tick", type=TICK, metavar="N", help="Do nothing unless this is the next tick of the world.")
    @KEY
    @functools.wraps(command)
    def wrapped(*args: Any, expect_tick: int | None, idempotency_key: str | None, **options: Any) -> R:
        return command(*args, terms=Terms(expect_tick, idempotency_key), **options)

    return wrapped


def with_format(*, formats: tuple[str, ...] = FORMATS) -> Callable[..., Any]:
    """Add the options that say how an answer is written; the command gets the format as ``form``."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @click.option(
            "--format",
            "-f",
            "form",
            type=click.Choice(formats),
            metavar="FORMAT",
            help=f"{_listed(formats)}. [{formats[0]}]",
        )
        @functools.wraps(command)
        def wrapped(*args: Any, form: str | None, is_json: bool = False, **options: Any) -> R:
            if is_json and form not in (None, "json"):
                raise Failure(f"--json and --format {form} contradict each other", "give one of them", ExitCode.USAGE)
            preferred = Settings.load().get("format")
            fallback = preferred if preferred in formats else formats[0]
            return command(*args, form="json" if is_json else form or fallback, **options)

        if "json" not in formats:
            return wrapped
        return click.option("--json", "is_json", is_flag=True, help="The same as --format json.")(wrapped)

    return decorate


def with_selection(*, ticks: str) -> Callable[..., Any]:
    """Add the options that say which rows of a world; the command gets them as ``selection``."""

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @click.option(
            "--component",
            "-c",
            "components",
            multiple=True,
            metavar="NAME",
            help="Only entities that have it, and its columns.",
        )
        @click.option(
            "--column", "columns", multiple=True, metavar="NAME", help="Only this column, such as position__x."
        )
        @click.option(
            "--ticks", "-t", type=TickRange(), default=ticks, help=f"Such as 5, 0:10, 3:, last or all. [{ticks}]"
        )
        @click.option(
            "--entity", "-e", "entity_ids", type=ENTITY, multiple=True, metavar="ID", help="Only this entity."
        )
        @click.option("--where", "-w", metavar="SQL", help='A condition, such as "position__x > 3".')
        @click.option("--limit", "-n", type=COUNT, metavar="N", help="At most so many rows.")
        @click.option(
            "--include-inactive", is_flag=True, help="Also the last rows of entities that were despawned or moved."
        )
        @functools.wraps(command)
        def wrapped(*args: Any, **options: Any) -> R:
            chosen = {one.name: options.pop(one.name) for one in fields(Selection) if one.name in options}
            return command(*args, selection=Selection(**chosen), **options)

        return wrapped

    return decorate


class TickRange(click.ParamType[tuple[int | None, int | None] | None]):
    """A tick such as ``5``, a range such as ``0:10`` without its end, ``3:`` or ``:8``, ``last``, or ``all``."""

    name = "ticks"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, int | None] | None:
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # reason: a default that is converted already
        if value == "last":
            return None
        if value == "all":
            return None, None
        first, colon, end = value.partition(":")
        try:
            if not colon:
                return _tick(first), _tick(first)
            low = _tick(first) if first else None
            high = _tick(end) - 1 if end else None
        except ValueError:
            self.fail(f"{value!r} is not a tick, a range such as 0:10, `last` or `all`", param, ctx)
        if low is not None and high is not None and high < low:
            self.fail(f"{value!r} has no tick: a range ends before its second number", param, ctx)
        return low, high


def _tick(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) >= 2**63:
        raise ValueError(text)
    return int(text)


class Whole(click.ParamType[int]):
    """An int64, from a smallest number on. Its range is no part of the help text, as that of click's own type is."""

    name = "integer"

    def __init__(self, smallest: int = 0) -> None:
        self._smallest = smallest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if not self._smallest <= number < 2**63:
            self.fail(f"{number} is not a number from {self._smallest} to {2**63 - 1}", param, ctx)
        return number


TICK = SEED = COUNT = Whole()
SOME = Whole(1)
ENTITY = Whole(-(2**63))
