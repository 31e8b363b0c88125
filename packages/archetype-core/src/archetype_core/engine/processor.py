"""Processors, and the system that keeps them in order."""

from __future__ import annotations

import dis
import inspect
import math
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from archetype_core.schema.archetype import BASE_COLUMNS, Archetype
from archetype_core.schema.component import Component, ComponentType, checked_components

if TYPE_CHECKING:
    from daft import DataFrame


class Processor:
    """Transforms the table of every archetype that has all of ``components``.

    ``process`` gets the table as a frame, and of ``tick``, ``resources``, ``world``, ``rng``, ``messages`` and the caller's
    inputs those that it names, or all with ``**kwargs``. It returns the same entities with the archetype's columns. Anything
    else is a ``ProcessorError`` and fails the tick; with ``on_error = "skip"`` only this processor's frame is dropped.

    ``process`` may be a coroutine. One that awaits runs on the loop that steps the world, any other in a worker thread.
    """

    components: ClassVar[tuple[type[Component], ...]] = ()
    """The components that a table must have; an empty tuple matches every table."""
    priority: ClassVar[float] = 0
    """Lower runs first; processors of one priority run in the order they were added."""
    on_error: ClassVar[Literal["raise", "skip"]] = "raise"
    rowwise: ClassVar[bool] = False
    """A promise that each row of the result depends only on the declared components of that row. The engine may then pass
    the rows of many archetypes as one frame with just those columns."""

    def process(self, *args: Any, **kwargs: Any) -> DataFrame | Awaitable[DataFrame]:
        """Return the frame of this tick from that of the tick before, the first argument.

        A subclass names the arguments that it wants; type checkers accept any.
        """
        raise NotImplementedError


AsyncProcessor = Processor
"""The published name of ``Processor``; both may have a plain ``process`` or a coroutine."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A registered processor: what it needs, what it accepts and how it is called."""

    processor: Processor
    name: str
    priority: float
    components: tuple[type[Component], ...]
    needs: frozenset[ComponentType]
    accepts: frozenset[str] | None
    """Keyword arguments that ``process`` names; ``None`` if it takes all."""
    takes_any: bool
    """Whether ``process`` has ``**kwargs``, even if it never reads them."""
    is_coroutine: bool
    suspends: bool
    """Whether ``process`` may await, and so belongs on the event loop."""
    columns: frozenset[str]
    """The columns of the components that it needs, and those of every table."""

    @property
    def skips_errors(self) -> bool:
        return getattr(self.processor, "on_error", "raise") == "skip"

    @property
    def is_rowwise(self) -> bool:
        return bool(getattr(self.processor, "rowwise", False) and self.needs)

    def takes(self, name: str) -> bool:
        """Return whether the processor is passed an argument of that name (T9)."""
        return self.accepts is None or name in self.accepts


class System:
    """The processors of a world, by ascending priority and then registration."""

    def __init__(self) -> None:
        self._slots: tuple[Slot, ...] = ()
        self._matching: dict[Archetype, tuple[Slot, ...]] = {}

    @property
    def slots(self) -> tuple[Slot, ...]:
        return self._slots

    def add(self, processor: Processor) -> Slot:
        """Register a processor; ``TypeError`` or ``ValueError`` if it could never run."""
        if isinstance(processor, type):
            raise TypeError(f"{processor.__name__} is a class: add an instance, {processor.__name__}()")
        name = type(processor).__name__
        method = getattr(processor, "process", None)
        if not callable(method) or getattr(method, "__func__", None) is Processor.process:
            raise TypeError(f"{name} has no process(self, df): define it")
        if getattr(processor, "on_error", "raise") not in ("raise", "skip"):
            raise ValueError(f"{name}.on_error must be 'raise' or 'skip', got {processor.on_error!r}")
        priority = getattr(processor, "priority", 0)
        if not isinstance(priority, int | float) or math.isnan(priority):
            raise TypeError(f"{name}.priority must be a number, got {priority!r}")
        components = checked_components(getattr(processor, "components", ()), f"{name}.components")
        base = type(processor).__qualname__
        taken = {slot.name for slot in self._slots}
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}#{count}"
        slot = Slot(
            processor=processor,
            name=name,
            priority=priority,
            components=components,
            needs=frozenset(component.component_type() for component in components),
            accepts=_accepted(method),
            takes_any=_takes_any(method),
            is_coroutine=inspect.iscoroutinefunction(method),
            suspends=_suspends(method),
            columns=frozenset(
                [*BASE_COLUMNS, *(field.name for one in components for field in one.component_type().fields)]
            ),
        )
        self._replace([*self._slots, slot])
        return slot

    def remove(self, processor: Processor | type[Processor]) -> int:
        """Remove a processor, or all of a class; return how many were registered."""
        if not isinstance(processor, type) and not hasattr(processor, "process"):
            raise TypeError(f"remove_processor takes a processor or its class, not {processor!r}")
        kind = processor if isinstance(processor, type) else None
        gone = [
            slot for slot in self._slots if (isinstance(slot.processor, kind) if kind else slot.processor is processor)
        ]
        self._replace(slot for slot in self._slots if slot not in gone)
        return len(gone)

    def matching(self, archetype: Archetype) -> tuple[Slot, ...]:
        """Return the processors that run on an archetype, in order."""
        found = self._matching.get(archetype)
        if found is None:
            here = frozenset(archetype.components)
            found = self._matching[archetype] = tuple(slot for slot in self._slots if slot.needs <= here)
        return found

    def adopt(self, other: System) -> None:
        """Take over the processors of another system, in its order."""
        self._replace(other.slots)

    def _replace(self, slots: Iterable[Slot]) -> None:
        self._slots = tuple(sorted(slots, key=lambda slot: slot.priority))
        self._matching = {}


def _accepted(method: Any) -> frozenset[str] | None:
    parameters = list(inspect.signature(method).parameters.values())
    # A wrapper shows the parameters of the function that it wraps, and is called with its own.
    if hasattr(method, "__wrapped__") and any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return None
    rest = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    if rest and _reads(method, rest[0]):
        return None
    # The first parameter is the frame.
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return frozenset(parameter.name for parameter in parameters[1:] if parameter.kind in named)


def _takes_any(method: Any) -> bool:
    """Whether a method has ``**kwargs``; a wrapper is called with its own, and shows those of what it wraps."""
    shown = inspect.signature(method).parameters.values()
    return _accepted(method) is None or any(one.kind is inspect.Parameter.VAR_KEYWORD for one in shown)


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
