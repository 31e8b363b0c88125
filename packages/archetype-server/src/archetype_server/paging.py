"""Cursors: where the next part of an answer begins. They name ticks, so that later ticks change no page."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from archetype_server.answer import Page
from archetype_server.problem import BadRequest

T = TypeVar("T")


class Cursor(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A place in an answer: the tick that it is about, and how many items came before."""

    tick: int
    offset: int

    def encoded(self) -> str:
        """Return it as clients send it back."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def page_of(items: Sequence[T], limit: int, cursor: str | None) -> Page[T]:
    """Return a part of a list that is there whole, and the cursor of the next."""
    offset = 0 if cursor is None else decoded(cursor).offset
    end = offset + limit
    return Page(list(items[offset:end]), Cursor(0, end).encoded() if end < len(items) else None)


def decoded(text: str) -> Cursor:
    """Return the cursor that a client sent; ``BadRequest`` if it is none of ours."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadRequest("the cursor is not one of this server: begin again without it") from None
    if cursor.offset < 0 or not -(2**63) <= cursor.tick < 2**63 or cursor.offset >= 2**63:
        raise BadRequest("the cursor is not one of this server: begin again without it")
    return cursor
