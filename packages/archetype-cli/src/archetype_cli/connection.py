"""Where a command works, and how it gets in there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure
from archetype_cli.own_server import first_key
from archetype_cli.settings import Settings, default_url, is_address
from archetype_cli.source import Source

if TYPE_CHECKING:
    from archetype_cli.http_source import HttpSource

_HOST_AND_PORT = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-fA-F:]+\]):\d+(/.*)?")


@dataclass(frozen=True)
class Connection:
    """Where to work and how to be let in, as the flags say; what is not given comes from the settings."""

    place: str | None = None
    token: str | None = None
    role: str | None = None

    def chosen(self, place: str | None = None) -> str:
        """Return the place that was given first: as an argument, as a flag, in the settings, or the default server."""
        return place or self.place or Settings.load().get("place") or default_url(os.environ)

    @contextmanager
    def server(self, place: str | None = None) -> Iterator[HttpSource]:
        """Open the server at a place; a `Failure` for a directory."""
        from archetype_cli.http_source import HttpSource

        with self.open(place, is_server_needed=True) as source:
            assert isinstance(source, HttpSource)
            yield source

    @contextmanager
    def open(self, place: str | None = None, *, is_server_needed: bool = False) -> Iterator[Source]:
        """Open the place that is chosen."""
        settings = Settings.load()
        given = place or self.place
        chosen = self.chosen(place)
        source: Source
        if is_server(chosen):
            from archetype_cli.http_client import HttpClient
            from archetype_cli.http_source import HttpSource

            timeout = settings.get("timeout_s")
            token, role = settings.identity(self.token, self.role, given)
            if token is None and role is None:
                token = first_key(chosen)
            more = {"timeout_s": timeout} if timeout else {}
            source = HttpSource(HttpClient(chosen, token=token, role=role, **more))
        elif _HOST_AND_PORT.fullmatch(chosen) or chosen.lower().startswith(("http:", "https:")):
            scheme, _, rest = chosen.rpartition(":/")
            example = f"{scheme or 'http'}://{rest.lstrip('/')}"
            raise Failure(f"{chosen} is neither a directory nor an address", f"write it as {example}", ExitCode.USAGE)
        elif is_server_needed:
            raise Failure(
                f"{chosen} is a directory, and this command needs a server",
                f"archetype serve --storage {chosen}, and then give its address",
                ExitCode.USAGE,
            )
        else:
            source = _local(chosen)
        try:
            yield source
        finally:
            source.close()

    def split(
        self, words: Sequence[str], names: Sequence[str], *, least: int | None = None, has_more: bool = False
    ) -> tuple[str | None, list[str]]:
        """Tell the place from the other words of a command line; ``names`` says what those are, for the message.

        With ``has_more`` there may be several of the last one, so a place must be written as one.
        """
        rest = list(words)
        place = None
        if self.place is None and rest:
            if is_place(rest[0]):
                place = rest.pop(0)
            elif len(rest) == len(names) + 1 and not has_more:
                raise _no_place(rest)
        least = len(names) if least is None else least
        if len(rest) < least or (len(rest) > len(names) and not has_more):
            if len(rest) < least:
                missing = names[len(rest)]
                given = f" after {place}" if place else ""
                raise Failure(f"{missing} is missing{given}", _usage(), ExitCode.USAGE)
            raise Failure(f"unexpected argument {rest[len(names)]!r}", _usage(), ExitCode.USAGE)
        return place, rest


def _usage() -> str:
    """How the command that runs is called."""
    context = click.get_current_context()
    words = " ".join(one.make_metavar(context) for one in context.command.params if isinstance(one, click.Argument))
    return f"usage: {context.command_path} {words}"


def _no_place(words: Sequence[str]) -> Failure:
    """The error for a word too many, of which the first is no place."""
    found = next((word for word in words if is_place(word)), None)
    what = f"{words[0]!r} is neither a directory nor an address, so {words[-1]!r} is one word too many"
    if found is not None:
        what = f"the PLACE {found!r} is not the first word"
    return Failure(what, _usage(), ExitCode.USAGE)


def is_server(place: str) -> bool:
    """Whether a place is the address of a server."""
    return place.lower().startswith(("http://", "https://"))


def is_place(word: str) -> bool:
    """Whether the first word of a command line is a place: an address, or a path that is written as one or is there."""
    if _HOST_AND_PORT.fullmatch(word):
        # Not as it must be written, which is said when it is opened.
        return True
    return is_address(word) or word.startswith((".", "~", os.sep)) or (bool(word) and Path(word).is_dir())


def _local(place: str) -> Source:
    try:
        from archetype_cli.local_source import LocalSource
    except ImportError as failure:
        raise Failure(
            f"reading {place} needs the packages of a local store ({failure.name} is missing)",
            "pip install 'archetype-cli[local]'",
            ExitCode.NOT_INSTALLED,
        ) from failure
    return LocalSource(place)
