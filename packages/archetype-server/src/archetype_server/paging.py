"""Cursors: where the next part of an answer begins. They name ticks, so that later ticks change no page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from archetype_server.answer import Page
from archetype_server.problem import BadRequest

T = TypeVar("T")
PATTERN = r"^[0-9]{1,18}\.[0-9]{1,18}$"
"""What a cursor looks like."""
_CURSOR = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in an answer: the tick that it is about, and how many items came before."""

    tick: int
    offset: int

    def encoded(self) -> str:
        """Return it as clients send it back."""
        return f"{self.tick}.{self.offset}"


def page_of(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    """Return a part of a list that is there whole, and the cursor of the next."""
    offset = 0 if cursor is None else decoded(cursor).offset
    end = offset + limit
    return Page(list(items[offset:end]), Cursor(0, end).encoded() if end < len(items) else None)


def decoded(text: str) -> Cursor:
    """Return the cursor that a client sent; ``BadRequest`` if it is none of ours."""
    if _CURSOR.fullmatch(text) is None:
        raise BadRequest("the cursor is not one of this server: begin again without it")
    tick, _, offset = text.partition(".")
    return Cursor(int(tick), int(offset))
