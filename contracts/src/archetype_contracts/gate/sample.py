"""Components, processors and handlers that the clauses put into worlds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from archetype_core.engine import Processor
from archetype_core.schema import Component, Letter, Mailbox


class Coin(Component):
    """What most entities of a gate's worlds are: a number to report them apart, and something to change."""

    number: int = 0
    face: str = ""


class Sash(Component):
    """A component that clauses add and remove."""

    colour: str = ""


class Doubling(Processor):
    """Doubles the number of every coin at every tick."""

    components = (Coin,)

    def process(self, df: Any) -> Any:
        """Double the numbers."""
        return df.with_column("coin__number", Coin.number + Coin.number)


class Idle(Processor):
    """Changes nothing."""

    components = (Coin,)

    def process(self, df: Any) -> Any:
        """Return the frame unchanged."""
        return df


class SampleError(Exception):
    """The error that a failing processor or handler raises."""


class Failing(Processor):
    """Raises while ``is_failing``; it runs only in worlds with a coin. ``act``, if it is set, is awaited once before that."""

    components = (Coin,)

    def __init__(self) -> None:
        self.is_failing = True
        self.act: Callable[[], Awaitable[object]] | None = None

    async def process(self, df: Any) -> Any:
        """Act, then raise or return the frame unchanged."""
        # A world may have several tables with coins; only one of them acts.
        act, self.act = self.act, None
        if act is not None:
            await act()
        if self.is_failing:
            raise SampleError("this sample processor fails on purpose")
        return df


class MessageRecorder(Processor):
    """Records delivered messages with their tick."""

    components = (Coin,)

    def __init__(self) -> None:
        self.received: list[tuple[int, Letter]] = []

    def process(self, df: Any, tick: int, messages: Mailbox) -> Any:
        """Record the messages."""
        self.received += [(tick, letter) for letter in messages]
        return df


class RecordingHandler:
    """A handler of custom commands that records its data in call order."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    def __call__(self, scope: Any, data: Any) -> None:  # noqa: ARG002  # reason: what a handler is called with
        """Record the data."""
        self.received.append(data)
