"""What a world does each tick: processors, and the system that keeps them in order."""

from __future__ import annotations

import dis
import inspect
import math
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from archetype_core.schema.archetype import BASE_COLUMNS, Archetype
from archetype_core.schema.component import Component, ComponentType

if TYPE_CHECKING:
    from daft import DataFrame


class Processor:
    """Transforms the DataFrame of every archetype that has all of ``components``.

    ``process`` may be a plain function or a coroutine, and receives of ``tick``, ``resources``, ``world``, ``rng``,
    ``messages`` and the caller's inputs exactly those that it names (all of them with ``**kwargs``). It returns the same
    entities with the archetype's columns; anything else is a ``ProcessorError`` and the tick does not happen, unless
    ``on_error`` is ``"skip"``: then this processor's frame is dropped for that tick.

    A plain ``process``, and a coroutine that never awaits, runs in a worker thread; one that awaits runs on the loop that
    steps the world.
    """

    components: ClassVar[tuple[type[Component], ...]] = ()
    """The components a table must have; none means every table."""
    priority: ClassVar[float] = 0
    """Lower runs first; among equals, the one added first."""
    on_error: ClassVar[Literal["raise", "skip"]] = "raise"
    rowwise: ClassVar[bool] = False
    """A promise that each row of the result depends on that row alone, by way of the declared components only. The engine
    may then hand over the rows of many archetypes as one frame that has just those columns."""

    def process(self, *args: Any, **kwargs: Any) -> DataFrame | Awaitable[DataFrame]:
        """Return the frame of this tick, given that of the tick before as the first argument.

        A subclass names the arguments that it wants; type checkers accept any, since only those that it names are passed.
        """
        raise NotImplementedError


AsyncProcessor = Processor
"""The published spelling; a processor may be asynchronous or not either way."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A processor in its place: what it needs, what it accepts and how it is called."""

    processor: Processor
    name: str
    priority: float
    needs: frozenset[ComponentType]
    accepts: frozenset[str] | None
    """Keyword arguments that ``process`` names; ``None`` for all."""
    is_coroutine: bool
    suspends: bool
    """Whether ``process`` may await, and so belongs on the event loop."""
    columns: frozenset[str]
    """The columns of the components it needs, and the ones every table has."""

    @property
    def skips_errors(self) -> bool:
        return getattr(self.processor, "on_error", "raise") == "skip"

    @property
    def is_rowwise(self) -> bool:
        return bool(getattr(self.processor, "rowwise", False) and self.needs)

    def takes(self, name: str) -> bool:
        """Whether the processor would get an argument of that name (T9)."""
        return self.accepts is None or name in self.accepts


class System:
    """The processors of a world in the order they run: ascending priority, then registration."""

    def __init__(self) -> None:
        self._slots: tuple[Slot, ...] = ()
        self._matching: dict[Archetype, tuple[Slot, ...]] = {}

    @property
    def slots(self) -> tuple[Slot, ...]:
        return self._slots

    def add(self, processor: Processor) -> Slot:
        """Put a processor in its place; refuses what could never run."""
        if isinstance(processor, type):
            raise TypeError(f"add an instance, {processor.__name__}(), not the class")
        method = getattr(processor, "process", None)
        if not callable(method) or getattr(method, "__func__", None) is Processor.process:
            raise TypeError(f"{type(processor).__name__} does not define process(df)")
        if getattr(processor, "on_error", "raise") not in ("raise", "skip"):
            raise ValueError(f"{type(processor).__name__}.on_error is 'raise' or 'skip', not {processor.on_error!r}")
        priority = getattr(processor, "priority", 0)
        if not isinstance(priority, int | float) or math.isnan(priority):
            raise TypeError(f"{type(processor).__name__}.priority is a number, not {priority!r}")
        components = getattr(processor, "components", ())
        if not isinstance(components, (tuple, list, set, frozenset)):
            raise TypeError(f"{type(processor).__name__}.components is a tuple of component classes")
        for component in components:
            if not (isinstance(component, type) and issubclass(component, Component)):
                raise TypeError(
                    f"{type(processor).__name__}.components holds {component!r}, which is no component class"
                )
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
            needs=frozenset(component.component_type() for component in components),
            accepts=_accepted(method),
            is_coroutine=inspect.iscoroutinefunction(method),
            suspends=_suspends(method),
            columns=frozenset(
                [*BASE_COLUMNS, *(field.name for one in components for field in one.component_type().fields)]
            ),
        )
        self._replace([*self._slots, slot])
        return slot

    def remove(self, processor: Processor | type[Processor]) -> int:
        """Take out a processor, or all of a class; returns how many were there."""
        kept = [
            slot
            for slot in self._slots
            if not (
                isinstance(slot.processor, processor) if isinstance(processor, type) else slot.processor is processor
            )
        ]
        removed = len(self._slots) - len(kept)
        self._replace(kept)
        return removed

    def matching(self, archetype: Archetype) -> tuple[Slot, ...]:
        """The processors that run on an archetype, in order."""
        found = self._matching.get(archetype)
        if found is None:
            here = frozenset(archetype.components)
            found = self._matching[archetype] = tuple(slot for slot in self._slots if slot.needs <= here)
        return found

    def adopt(self, other: System) -> None:
        """Run what another system runs, in its order."""
        self._replace(other.slots)

    def _replace(self, slots: Iterable[Slot]) -> None:
        self._slots = tuple(sorted(slots, key=lambda slot: slot.priority))
        self._matching = {}


def _accepted(method: Any) -> frozenset[str] | None:
    parameters = list(inspect.signature(method).parameters.values())
    # A wrapper shows the parameters of what it wraps, but reads its own.
    if hasattr(method, "__wrapped__") and any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return None
    rest = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    if rest and _reads(method, rest[0]):
        return None
    # The first one is the frame.
    named = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return frozenset(parameter.name for parameter in parameters[1:] if parameter.kind in named)


def _reads(method: Any, name: str) -> bool:
    """Whether a method's code can look at a variable of its own; arguments nobody looks at need not be made."""
    code = _code(method)
    if code is None or name in code.co_cellvars or {"locals", "vars", "eval", "exec"} & set(code.co_names):
        return True
    return any(step.opname.startswith("LOAD") and step.argval == name for step in dis.get_instructions(code))


def _code(method: Any) -> CodeType | None:
    return getattr(getattr(method, "__func__", method), "__code__", None)


_AWAITING = frozenset({"GET_AWAITABLE", "GET_AITER", "GET_ANEXT", "BEFORE_ASYNC_WITH", "SEND"})


def _suspends(method: Any) -> bool:
    """Whether a coroutine method can suspend: one whose code never awaits runs to its end when it is started."""
    if not inspect.iscoroutinefunction(method):
        return False
    code = _code(method)
    return code is None or any(step.opname in _AWAITING for step in dis.get_instructions(code))
