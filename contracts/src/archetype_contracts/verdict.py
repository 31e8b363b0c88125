"""How a clause says that a promise is broken: by plain functions that keep their meaning under ``python -O``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

E = TypeVar("E", bound=Exception)

_ABSENT = object()


class Broken(AssertionError):
    """A promise is broken."""


def require(claim: bool, otherwise: str) -> None:
    """Raise ``Broken`` unless the claim holds."""
    if not claim:
        raise Broken(otherwise)


def require_equal(expected: object, actual: object, what: str) -> None:
    """Raise ``Broken`` unless both are equal."""
    if expected != actual:
        raise Broken(f"{what}\n  expected: {expected!r}\n  actual:   {actual!r}")


def require_refusal(error: type[E], act: Callable[..., object], *arguments: object, **attributes: object) -> E:
    """Raise ``Broken`` unless the act raises that error with these attributes; its text is free."""
    try:
        result = act(*arguments)
    except error as exc:
        for name, expected in attributes.items():
            actual = getattr(exc, name, _ABSENT)
            if actual is _ABSENT:
                raise Broken(f"{error.__name__} carries no {name!r}") from exc
            require_equal(expected, actual, f"{error.__name__}.{name}")
        return exc
    except Exception as exc:
        raise Broken(f"expected {error.__name__}, got {type(exc).__name__}: {exc}") from exc
    raise Broken(f"expected {error.__name__}, but the call was accepted and returned {result!r}")


def require_failure(act: Callable[..., object], *arguments: object) -> None:
    """Raise ``Broken`` unless the act raises an error of any type."""
    try:
        act(*arguments)
    except Exception:  # noqa: BLE001  # reason: whatever the adapter makes of a broken input, it must not accept it
        return
    raise Broken("a commit that broke half-way was acknowledged")
