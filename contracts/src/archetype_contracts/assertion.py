"""The assertions of the clauses: plain functions, so they also work under ``python -O``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

E = TypeVar("E", bound=Exception)

_ABSENT = object()


class ClauseFailed(AssertionError):
    """The adapter does not do what a clause says."""


def require(condition: bool, failure: str) -> None:
    """Raise ``ClauseFailed`` unless the condition holds; ``failure`` says what was expected and what came."""
    if not condition:
        raise ClauseFailed(failure)


def require_equal(expected: object, actual: object, what: str) -> None:
    """Raise ``ClauseFailed`` unless both are equal; ``what`` names the compared value."""
    if expected != actual:
        raise ClauseFailed(f"{what}\n  expected: {expected!r}\n  actual:   {actual!r}")


def require_refusal(error: type[E], act: Callable[..., object], *arguments: object, **attributes: object) -> E:
    """Raise ``ClauseFailed`` unless the call raises that error with these attributes; its message is free."""
    with_attributes = f" with {attributes}" if attributes else ""
    expected = f"expected: {error.__name__}{with_attributes}"
    try:
        result = act(*arguments)
    except error as exc:
        for name, value in attributes.items():
            actual = getattr(exc, name, _ABSENT)
            if actual is _ABSENT:
                raise ClauseFailed(
                    f"the attributes of {error.__name__}\n  expected: {name}={value!r}\n  actual:   no such attribute"
                ) from exc
            require_equal(value, actual, f"{error.__name__}.{name}")
        return exc
    except Exception as exc:
        raise ClauseFailed(f"the wrong error\n  {expected}\n  actual:   {type(exc).__name__}: {exc}") from exc
    raise ClauseFailed(
        f"a call that must be refused\n  {expected}\n  actual:   it was accepted and returned {result!r}"
    )


def require_failure(act: Callable[..., object], *arguments: object) -> None:
    """Raise ``ClauseFailed`` unless the call raises an error of any type."""
    try:
        act(*arguments)
    except Exception:  # noqa: BLE001  # reason: an adapter may raise any error for broken input, but must not accept it
        return
    raise ClauseFailed("a commit that breaks half-way\n  expected: an error\n  actual:   the commit was acknowledged")
