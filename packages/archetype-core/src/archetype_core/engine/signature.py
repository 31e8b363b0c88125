"""Reads from a ``process`` method, once, what it is to be called with and how."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Collection
from dataclasses import dataclass
from inspect import Parameter
from types import CodeType
from typing import Any

_FRAME_NAMES = ("df", "frame")
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
_KEYWORD = (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Signature:
    """How a ``process`` method is called."""

    accepts: frozenset[str] | None
    """Keyword arguments that it is passed; ``None`` if it takes all."""
    takes_any: bool
    """Whether it has ``**kwargs``, even if it never reads them."""
    frame: str | None
    """The keyword by which it is passed the frame; empty if it is the first positional argument, ``None`` if it has none."""
    may_return_none: bool
    """Whether it can have an effect without returning anything: it names ``commands`` or ``messages``."""
    is_coroutine: bool
    suspends: bool
    """Whether it may await, and so belongs on the event loop."""

    @classmethod
    def of(cls, method: Any, names: Collection[str]) -> Signature:
        """Read a method's signature and code. ``names`` are those of the arguments that the engine passes."""
        parameters = list(inspect.signature(method).parameters.values())
        rest = [parameter.name for parameter in parameters if parameter.kind is Parameter.VAR_KEYWORD]
        # A wrapper shows the parameters of the function that it wraps, and is called with its own.
        takes_all = bool(rest) and (hasattr(method, "__wrapped__") or _reads(method, rest[0]))
        frame = _frame(parameters, takes_all, names)
        given = parameters[1:] if frame == "" else [one for one in parameters if one.name != frame]
        named = frozenset(parameter.name for parameter in given if parameter.kind in _KEYWORD)
        return cls(
            accepts=None if takes_all else named,
            takes_any=bool(rest),
            frame=frame,
            may_return_none=not named.isdisjoint(("commands", "messages")),
            is_coroutine=inspect.iscoroutinefunction(method),
            suspends=_suspends(method),
        )

    def takes(self, name: str) -> bool:
        """Return whether an argument of that name is passed (T9)."""
        return self.accepts is None or name in self.accepts


def _frame(parameters: list[Parameter], takes_all: bool, names: Collection[str]) -> str | None:
    first = parameters[0] if parameters else None
    if first is not None and first.kind in _POSITIONAL and first.name not in set(names).difference(_FRAME_NAMES):
        return ""
    there = {parameter.name for parameter in parameters}
    for name in _FRAME_NAMES:
        if name in there:
            return name
    return _FRAME_NAMES[0] if takes_all else None


def _reads(method: Any, name: str) -> bool:
    """Return whether a method's code can read one of its variables; arguments that it never reads need not be made."""
    code = _code(method)
    if code is None or name in code.co_cellvars or {"locals", "vars", "eval", "exec"} & set(code.co_names):
        return True
    return any(step.opname.startswith("LOAD") and step.argval == name for step in dis.get_instructions(code))


def _code(method: Any) -> CodeType | None:
    return getattr(getattr(method, "__func__", method), "__code__", None)


_AWAITING = frozenset({"GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "SEND"})


def _suspends(method: Any) -> bool:
    """Return whether a coroutine method can suspend: one whose code never awaits runs to its end at once."""
    if not inspect.iscoroutinefunction(method):
        return False
    code = _code(method)
    return code is None or any(step.opname in _AWAITING for step in dis.get_instructions(code))
