"""Checks of arguments that several rooms take: counts, ids, names and seeds."""

from __future__ import annotations

import secrets
from operator import index
from typing import Any

MAX_ENTITY_ID = 2**63 - 1


def is_count(value: object) -> bool:
    """Whether a value is a whole number, 0 or more; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def whole_number(value: Any, what: str) -> int:
    """A value as a plain int; True, and a float that equals one, would go a long way and fail there."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} is an int, not {value!r}")
    return index(value)


def checked_id(entity_id: Any) -> int:
    """An entity id as a plain int."""
    return whole_number(entity_id, "an entity id")


def check_command_ids(applied: object) -> None:
    """Refuse what is no tuple of command ids."""
    if not isinstance(applied, tuple) or not all(isinstance(one, str) for one in applied):
        raise TypeError(f"applied is a tuple of command ids, not {applied!r}")


def check_text(what: str, text: object) -> None:
    """Refuse a name or id that is empty or cannot be stored."""
    if not isinstance(text, str) or not text:
        raise ValueError(f"a world's {what} is a non-empty string, not {text!r}")
    if not text.isprintable():
        try:
            text.encode()
        except UnicodeEncodeError as failure:
            raise ValueError(f"a world's {what} is text that can be stored, not {text!r}") from failure


def checked_seed(seed: int | None) -> int:
    """A seed that can be stored; a fresh one for ``None``."""
    if seed is None:
        return secrets.randbits(63)
    if not is_count(seed) or seed >= 2**63:
        raise ValueError(f"a seed is an int from 0 to 2**63 - 1, not {seed!r}")
    return seed
