"""Processors, and the system that keeps them in order."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from archetype_core.argument import nearest
from archetype_core.engine.signature import Signature
from archetype_core.schema.archetype import BASE_COLUMNS, Archetype
from archetype_core.schema.component import Component, ComponentType, checked_components

if TYPE_CHECKING:
    from daft import DataFrame
    from daft.expressions import Expression


RESERVED_ARGUMENTS = frozenset({"df", "frame", "arrays", "tick", "resources", "world", "messages", "commands", "rng"})
"""The names of what the engine passes to processors; a caller's input cannot have one of them."""


class ArrowStream(Protocol):
    """A table of any library that offers it as Arrow, such as ``pyarrow.Table``."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Export the table through Arrow's C interface."""
        ...


class ColumnMapping(Protocol):
    """A mapping from columns to values, for type checkers: keys may be expressions, names or both."""

    def items(self) -> Collection[tuple[Expression | str, Any]]:
        """Return the columns with their values."""
        ...


if TYPE_CHECKING:
    ProcessorResult: TypeAlias = DataFrame | ArrowStream | ColumnMapping | Mapping[Expression | str, Any] | None
else:
    ProcessorResult = Any  # Daft's types are imported only when a processor runs
"""What ``process`` may return; ``Processor.process`` says what each form means."""


class Processor:
    """Changes columns of the table of every archetype that has all of ``components``.

    A result that does not fit the table is a ``ProcessorError`` and fails the tick; with ``on_error = "skip"`` only this
    processor's result is dropped.

    ``process`` may be a coroutine. One that awaits runs on the loop that steps the world, any other in a worker thread.
    """

    components: ClassVar[tuple[type[Component], ...]] = ()
    """The components that a table must have; at least one."""
    priority: ClassVar[float] = 0
    """Lower runs first; processors of one priority run in the order they were added."""
    on_error: ClassVar[Literal["raise", "skip"]] = "raise"
    rowwise: ClassVar[bool] = False
    """A promise that each row of the result depends only on the declared components of that row. The engine may then pass
    the rows of many archetypes as one frame with just those columns, so ``process`` names neither ``rng`` nor ``commands``."""

    def process(self, *args: Any, **kwargs: Any) -> ProcessorResult | Awaitable[ProcessorResult]:
        """Return the columns that change in this tick; all others stay as they are.

        A subclass names the arguments that it wants, and is passed no others; with ``**kwargs`` it is passed all:

        - ``arrays``: the table's columns as numpy arrays, `Arrays`.
        - ``df``: the table as a Daft frame. The frame goes to the first positional parameter, whatever its name, unless that is
          one of the other names in this list; otherwise to a parameter named ``df`` or ``frame``. Where there is none, no
          frame is made.
        - ``tick``, ``rng``, ``resources``, ``world`` (to read with), ``messages``, ``commands``.
        - The caller's inputs: ``world.step(wind=2.0)`` passes ``wind``.

        It returns one of:

        - A mapping from columns (``Position.c.x`` or ``"position__x"``) to values in the order of the rows: numpy, Arrow,
          Daft, Polars or pandas columns, or a list. One value fills all rows. An expression sees the table as it was given.
        - A Daft frame made from ``df``, in any order.
        - An Arrow table, with ``entity_id`` in any order, or without it in the order of the rows.
        - ``None``, if it names ``commands`` or ``messages``.

        A name that begins with ``_`` is a helper column and is dropped. Any other column that the table does not have is an
        error, and so are base columns, missing or additional entities, and values that a field cannot hold, which includes floats
        for an ``int`` field. A numpy array that
        nothing else refers to is taken over and becomes read-only; every other is copied.
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
    signature: Signature
    columns: frozenset[str]
    """The columns of the components that it needs, and those of every table."""

    @property
    def skips_errors(self) -> bool:
        return getattr(self.processor, "on_error", "raise") == "skip"

    @property
    def is_rowwise(self) -> bool:
        return bool(getattr(self.processor, "rowwise", False))


class System:
    """The processors of a world, by ascending priority and then registration."""

    def __init__(self) -> None:
        self._slots: tuple[Slot, ...] = ()
        self._names: tuple[str, ...] = ()
        self._matching: dict[Archetype, tuple[Slot, ...]] = {}

    @property
    def slots(self) -> tuple[Slot, ...]:
        return self._slots

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the processors, in order."""
        return self._names

    def add(self, processor: Processor) -> Slot:
        """Register a processor; ``TypeError`` or ``ValueError`` if it could never run."""
        if isinstance(processor, type):
            raise TypeError(f"{processor.__name__} is a class: add an instance, {processor.__name__}()")
        name = type(processor).__name__
        method = getattr(processor, "process", None)
        if not callable(method) or getattr(method, "__func__", None) is Processor.process:
            raise TypeError(f"{name} has no process method: define process(self, df) or process(self, arrays)")
        if getattr(processor, "on_error", "raise") not in ("raise", "skip"):
            raise ValueError(f"{name}.on_error must be 'raise' or 'skip', got {processor.on_error!r}")
        priority = getattr(processor, "priority", 0)
        if not isinstance(priority, int | float) or math.isnan(priority):
            raise TypeError(f"{name}.priority must be a number, got {priority!r}")
        components = checked_components(getattr(processor, "components", ()), f"{name}.components")
        if not components:
            raise TypeError(
                f"{name}.components is empty: name at least one component, such as components = (Position,)"
            )
        signature = Signature.of(method, RESERVED_ARGUMENTS)
        if getattr(processor, "rowwise", False):
            for argument in ("rng", "commands"):
                if argument in (signature.accepts or ()):
                    raise TypeError(
                        f"{name} is rowwise and names {argument}, which depends on the table: its rows come from many tables "
                        f"at once; leave out rowwise = True, or {argument}"
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
            components=components,
            needs=frozenset(component.component_type() for component in components),
            signature=signature,
            columns=frozenset(
                [*BASE_COLUMNS, *(field.name for one in components for field in one.component_type().fields)]
            ),
        )
        self._replace([*self._slots, slot])
        return slot

    def remove(self, processor: Processor | type[Processor]) -> int:
        """Remove a processor, or all of a class; return how many were registered.

        A class stands for earlier definitions of itself too: a notebook makes another class each time a cell runs.
        """
        if not isinstance(processor, type) and not hasattr(processor, "process"):
            raise TypeError(f"remove_processor takes a processor or its class, not {processor!r}")
        if isinstance(processor, type):
            path = _path(processor)
            gone = [slot for slot in self._slots if path in map(_path, type(slot.processor).__mro__)]
        else:
            gone = [slot for slot in self._slots if slot.processor is processor]
        self._replace(slot for slot in self._slots if slot not in gone)
        return len(gone)

    def replaced(self, old: Iterable[Processor], new: Iterable[Processor]) -> System:
        """Return a system with new processors in place of old ones, before those that stay; raises what ``add`` raises."""
        kept = list(self._slots)
        for processor in old:
            for slot in kept:
                if slot.processor is processor:
                    kept.remove(slot)
                    break
        made = System()
        for processor in (*new, *(slot.processor for slot in kept)):
            made.add(processor)
        return made

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
        self._names = tuple(slot.name for slot in self._slots)
        self._matching = {}


def _path(kind: type) -> tuple[str, str]:
    """Where a class is defined: the same for a class that was defined again."""
    return kind.__module__, kind.__qualname__


def check_inputs(inputs: Mapping[str, Any], slots: Iterable[Slot]) -> None:
    """Raise ``TypeError`` for inputs of a step that the engine passes itself, or that no processor can take."""
    if taken := RESERVED_ARGUMENTS & inputs.keys():
        raise TypeError(f"{', '.join(sorted(taken))}: reserved, the engine passes these to processors itself")
    if any(slot.signature.takes_any for slot in slots):
        return
    named = {name for slot in slots for name in slot.signature.accepts or ()} - RESERVED_ARGUMENTS
    if odd := sorted(inputs.keys() - named):
        has = f"they name {', '.join(sorted(named))}" if named else "they name no input"
        remedy = "; for several ticks, run(3)" if odd[0] in ("steps", "ticks", "n") else nearest(odd[0], named)
        raise TypeError(f"no processor takes the input {odd[0]!r}: {has}{remedy}")
