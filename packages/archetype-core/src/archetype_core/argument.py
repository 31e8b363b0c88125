"""Checks of arguments that several rooms share: counts, ids, names and seeds."""

from __future__ import annotations

import difflib
import secrets
from collections.abc import Collection, Iterable, Mapping
from operator import index
from typing import Any, TypeVar

from pydantic import BaseModel

T = TypeVar("T")

MAX_ENTITY_ID = 2**63 - 1


def is_count(value: object) -> bool:
    """Whether a value is an int, 0 or more; a bool is not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def whole_number(value: Any, what: str) -> int:
    """Return an int or int-like value as a plain int; ``TypeError`` for bools and floats."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be an int, not {value!r}")
    return index(value)


def checked_id(entity_id: Any, remedy: str = "pass one id at a time") -> int:
    """Return an entity id as a plain int; ``TypeError`` if it is none, with a remedy for several ids."""
    if type(entity_id) is int:
        return entity_id
    if isinstance(entity_id, Collection) and not isinstance(entity_id, str | bytes | Mapping):
        raise TypeError(f"an entity id must be an int, not {entity_id!r}: {remedy}")
    if isinstance(entity_id, str) and not entity_id.isdecimal():
        raise TypeError(
            f"an entity id must be an int, not {entity_id!r}: a condition is an expression, such as Position.c.x > 1"
        )
    return whole_number(entity_id, "an entity id")


def check_command_ids(applied: object) -> None:
    """Raise ``TypeError`` unless the argument is a tuple of command ids."""
    if not isinstance(applied, tuple) or not all(isinstance(one, str) for one in applied):
        raise TypeError(f"applied must be a tuple of command ids, not {applied!r}")


def listed(what: str, given: Iterable[T]) -> tuple[T, ...]:
    """Return what an argument lists; ``TypeError`` for a single thing, a component or text among them."""
    checked: object = given
    if not isinstance(checked, Iterable) or isinstance(checked, str | bytes | BaseModel):
        raise TypeError(f"{what} must be a list or another iterable, not {given!r}: put it in a list")
    if isinstance(checked, Mapping):
        raise TypeError(f"{what} must be a list or another iterable, not the mapping {given!r}: list its values")
    return tuple(given)


def config_of(kind: type[T], given: T | None) -> T:
    """Return a configuration, by default a new one of its class; ``TypeError`` for anything else."""
    if given is None:
        return kind()
    if not isinstance(given, kind):
        raise TypeError(f"config must be a configuration, {kind.__name__}(…), not {given!r}")
    return given


def check_text(what: str, text: object) -> None:
    """Raise ``ValueError`` for a name or id that is empty or cannot be encoded as UTF-8."""
    if not isinstance(text, str) or not text:
        raise ValueError(f"a world's {what} must be a non-empty string, not {text!r}")
    if not text.isprintable():
        try:
            text.encode()
        except UnicodeEncodeError as failure:
            raise ValueError(f"a world's {what} must be text that can be stored as UTF-8, not {text!r}") from failure


def checked_seed(seed: int | None) -> int:
    """Return a seed, drawing a random one for ``None``; ``ValueError`` unless it is a non-negative int64."""
    if seed is None:
        return secrets.randbits(63)
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= index(seed) < 2**63:
        raise ValueError(f"a seed must be an int from 0 to 2**63 - 1, not {seed!r}")
    return index(seed)


def nearest(name: str, known: Iterable[str]) -> str:
    """A suggestion for a misspelt name, to end an error message with; empty if no known name is near.

    A column that is named by its field alone is suggested in full.
    """
    by_folded = {one.casefold(): one for one in known}
    near = [one for one in by_folded if one.endswith(f"__{name.casefold()}")]
    near = near or difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return f"; did you mean {' or '.join(by_folded[one] for one in near)}?" if near else ""


class NoSuchKey(KeyError):
    """A ``KeyError`` whose text is a sentence: shown as it is, without the quotes that a ``KeyError`` puts around it."""

    def __str__(self) -> str:
        return str(self.args[0])
