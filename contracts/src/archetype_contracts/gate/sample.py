"""What the clauses put into worlds: components, processors that break or listen on demand, and handlers."""

from __future__ import annotations

from typing import Any

from archetype_core.engine import Processor
from archetype_core.schema import Component, Letter, Mailbox


class Coin(Component):
    """What most entities of a gate's worlds are: a number to tell them apart, and something to change."""

    number: int = 0
    face: str = ""


class Sash(Component):
    """What an entity may gain and lose."""

    colour: str = ""


class Doubling(Processor):
    """Doubles the number of every coin, every tick."""

    components = (Coin,)

    def process(self, df: Any) -> Any:
        """Two for one."""
        return df.with_column("coin__number", Coin.number + Coin.number)


class Resting(Processor):
    """Changes nothing."""

    components = (Coin,)

    def process(self, df: Any) -> Any:
        """The same frame."""
        return df


class Outage(Exception):
    """What a breaking processor or handler raises."""


class Breaking(Processor):
    """Raises for as long as it is told to; a world needs a coin for it to run at all."""

    components = (Coin,)

    def __init__(self) -> None:
        self.is_broken = True

    def process(self, df: Any) -> Any:
        """Fail, or change nothing."""
        if self.is_broken:
            raise Outage("told to fail")
        return df


class Listening(Processor):
    """Keeps what is delivered, with the tick."""

    components = (Coin,)

    def __init__(self) -> None:
        self.heard: list[tuple[int, Letter]] = []

    def process(self, df: Any, tick: int, messages: Mailbox) -> Any:
        """Listen."""
        self.heard += [(tick, letter) for letter in messages]
        return df


class Notebook:
    """A handler of custom commands that keeps the data it was given, in the order it was called."""

    def __init__(self) -> None:
        self.pages: list[Any] = []

    def __call__(self, scope: Any, data: Any) -> None:  # noqa: ARG002  # reason: what a handler is called with
        """Write it down."""
        self.pages.append(data)
