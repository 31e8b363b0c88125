"""Finds processors that write the same expressions for every table, so that a tick calls them once and not once per table.

A thousand tables would otherwise mean a thousand calls that build equal expressions, which costs more than evaluating them.
The engine decides from the bytecode of ``process``: the method may only combine constants, columns, Daft's row-wise functions
and plain values, and must not look at its frame. Such a method cannot tell two tables apart, has no effect and returns the
same each time. Anything unknown in the code means a call for every table, so a gap here costs speed, never correctness.
"""

from __future__ import annotations

import dis
import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

import daft
from daft.expressions import Expression

from archetype_core import telemetry
from archetype_core.engine.call import Call
from archetype_core.engine.daft.expression import ROWWISE
from archetype_core.engine.daft.frame import Frame
from archetype_core.engine.processor_result import Recorder
from archetype_core.panic import panics_as_errors
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.column_access import Columns
from archetype_core.schema.component import Component, ComponentType
from archetype_core.schema.snapshot import Snapshot

if TYPE_CHECKING:
    from archetype_core.engine.context import TickContext
    from archetype_core.engine.daft.guard import Stage
    from archetype_core.engine.processor import Slot
    from archetype_core.user_traceback import Line

_UNKNOWN = object()
_STEPS = frozenset({"with_column", "with_columns"})
_METHODS = ROWWISE | _STEPS | {"alias", "cast"}
"""What the code may call on an expression or frame. No other object that it can reach has a method of these names with an
effect."""
_HARMLESS = frozenset({
    "RESUME", "NOP", "EXTENDED_ARG", "PUSH_NULL", "POP_TOP", "COPY", "SWAP", "COPY_FREE_VARS", "RETURN_GENERATOR",
    "LOAD_CONST", "LOAD_SMALL_INT", "CALL", "KW_NAMES", "CALL_KW", "COMPARE_OP", "UNARY_NEGATIVE",
    "UNARY_INVERT", "BUILD_MAP", "BUILD_CONST_KEY_MAP", "MAP_ADD", "BUILD_TUPLE", "BUILD_LIST", "LIST_EXTEND",
})  # fmt: skip
"""Instructions that only combine values. There is no jump among them, so the code runs from its first line to its last."""
_PLAIN = frozenset({int, float, bool, str, bytes, type(None), Expression})
_RETURNS = frozenset({"RETURN_VALUE", "RETURN_CONST"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_VARIABLES = frozenset({"LOAD_FAST", "LOAD_FAST_BORROW"})
_OUTER = frozenset({"LOAD_GLOBAL", "LOAD_DEREF"})


class _Names(NamedTuple):
    """The names that a method's code looks up, with the attribute that it reads from each, if any."""

    outer: tuple[tuple[str, str | None], ...]
    """Global variables and those of enclosing functions."""
    own: tuple[str, ...]
    """Attributes of the processor."""


@dataclass(frozen=True, slots=True)
class Formula:
    """The steps that a processor writes for every table, as long as the values that it makes them from stay the same."""

    stages: tuple[Stage, ...]
    lines: tuple[Line | None, ...]
    """The user's lines that wrote these steps."""
    values: Callable[[], tuple[Any, ...]]
    """Looks up the values that the code reads: global variables and the processor's attributes."""
    known: tuple[Any, ...]
    """What they were when the steps were written."""
    items: tuple[Any, ...]
    """What the dictionaries among them had."""

    def holds(self) -> bool:
        """Whether a call would return the same steps now. Another processor may have changed a value in the meantime."""
        values = self.values()
        return _are_same(values, self.known) and _are_same(_items(values), self.items)


def formula_of(slot: Slot, constants: Mapping[str, Expression], context: TickContext) -> Formula | None:
    """Return what a processor writes for every table now, from one call; ``None`` if it has to be called for each."""
    processor, signature = slot.processor, slot.signature
    method = processor.process
    if signature.accepts is None or not signature.accepts <= {"tick"} or signature.suspends:
        return None
    if not isinstance(method, MethodType) or not isinstance(method.__func__, FunctionType):
        return None
    if method.__self__ is not processor or type(processor).__getattribute__ is not object.__getattribute__:
        return None
    function = method.__func__
    names = _names(function.__code__, signature.frame)
    if names is None or not all(_is_plain(inspect.getattr_static(processor, name, _UNKNOWN)) for name in names.own):
        return None
    values = partial(_values, processor, function, names)
    known = values()
    if not all(_is_constant(value, attribute) for value, (_, attribute) in zip(known, names.outer, strict=False)):
        return None
    items = _items(known)
    rows = _nothing(slot.needs)
    try:
        with panics_as_errors():
            box: list[Any] = [Call(slot, rows, constants, context).run(())]
            stages = Recorder().stages(box, rows)
    # It fails again in the call for the first table, which says what is wrong where.
    except Exception:  # noqa: BLE001  # reason: as above
        telemetry.log.debug("%s is called table by table", slot.name, exc_info=True)
        return None
    if not stages:
        return None
    return Formula(stages, box[0].lines if isinstance(box[0], Frame) else (), values, known, items)


@lru_cache(maxsize=256)
def _nothing(needs: frozenset[ComponentType]) -> Snapshot:
    return Snapshot.empty(Archetype.of(*needs))


def _values(processor: Any, function: FunctionType, names: _Names) -> tuple[Any, ...]:
    """What the names in a method's code stand for, in their order."""
    variables = function.__globals__
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    outer = [_content(cells[name]) if name in cells else variables.get(name, _UNKNOWN) for name, _ in names.outer]
    return (*outer, *(getattr(processor, name, _UNKNOWN) for name in names.own))


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # It has no value yet.
        return _UNKNOWN


def _items(values: Iterable[Any]) -> tuple[Any, ...]:
    """The keys and values of the dictionaries among some values."""
    return tuple(one for value in values if type(value) is dict for item in value.items() for one in item)


def _are_same(values: Sequence[Any], known: Sequence[Any]) -> bool:
    return len(values) == len(known) and all(map(operator.is_, values, known))


def _is_constant(value: Any, attribute: str | None) -> bool:
    """Whether a name, or an attribute of what it names, gives the same to every table."""
    if attribute == "c":
        return isinstance(value, type) and issubclass(value, Component) and type(value.c) is Columns
    if value is daft:
        return attribute in ("col", "lit")
    if attribute is None and isinstance(value, FunctionType):
        # The module of its code: a wrapper of the user may show another.
        module = value.__globals__.get("__name__", "")
        is_known = module.startswith("daft.functions.") and value.__name__ in ROWWISE
        return is_known or value is daft.col or value is daft.lit
    return _is_plain(value)


def _is_plain(value: Any) -> bool:
    """Whether a value is of a kind whose methods, of the names that are let through, have no effect."""
    if type(value) is dict:
        return all(type(key) in _PLAIN and type(one) in _PLAIN for key, one in value.items())
    return type(value) in _PLAIN


@lru_cache(maxsize=1024)
def _names(code: CodeType, frame: str | None) -> _Names | None:
    """Read the code of a method that is passed its frame as ``Signature.frame`` says; ``None`` if it may do anything else."""
    if code.co_flags & inspect.CO_VARARGS or not code.co_argcount:
        return None
    itself = code.co_varnames[0]
    if frame == "":
        frame = code.co_varnames[1]
    steps = [one for one in dis.get_instructions(code) if one.opname not in ("CACHE", "PRECALL")]
    # A handler could run user code after a failure.
    if any(one.opname == "PUSH_EXC_INFO" for one in steps):
        return None
    outer: set[tuple[str, str | None]] = set()
    own: set[str] = set()
    for place, step in enumerate(steps):
        kind, after = step.opname, steps[place + 1 : place + 3]
        attribute = after[0].argval if after and after[0].opname in _ATTRIBUTES else None
        if kind in _RETURNS:
            return _Names(tuple(outer), tuple(own))
        if kind in _OUTER:
            outer.add((step.argval, attribute))
        elif kind in _VARIABLES and step.argval == itself:
            if attribute is None:
                return None
            own.add(attribute)
        elif kind in _VARIABLES and step.argval == frame:
            if attribute not in _STEPS and not _is_item(after):
                return None
        elif not _combines(step, steps[max(place - 2, 0) : place], itself, frame):
            return None
    return None


def _combines(step: dis.Instruction, before: list[dis.Instruction], itself: str, frame: str | None) -> bool:
    """Whether an instruction only combines values. ``before`` are the two that ran last."""
    kind, name = step.opname, step.argval
    if kind in _ATTRIBUTES:
        first, last = before
        if last.opname in _OUTER:
            # Judged with the variable, by its value.
            return name in _METHODS or name in ("c", "col", "lit")
        is_own = last.opname in _VARIABLES and last.argval == itself
        is_field = last.opname in _ATTRIBUTES and last.argval == "c" and first.opname in _OUTER
        return is_own or is_field or name in _METHODS
    if kind in ("BINARY_SUBSCR", "BINARY_OP") and (kind == "BINARY_SUBSCR" or step.argrepr == "[]"):
        # Only of the frame itself and by name: a column by position is another one in another table.
        first, last = before
        return first.opname in _VARIABLES and first.argval == frame and _is_item([last, step])
    if kind == "BINARY_OP":
        # One in place could change a value that outlives the call.
        return not step.argrepr.endswith("=")
    return kind in _HARMLESS or kind in _VARIABLES or (kind == "STORE_FAST" and name != itself)


def _is_item(steps: list[dis.Instruction]) -> bool:
    """Whether two steps read an item by a constant name, as ``df["position__x"]`` does."""
    if len(steps) < 2 or steps[0].opname != "LOAD_CONST" or not isinstance(steps[0].argval, str):
        return False
    return steps[1].opname == "BINARY_SUBSCR" or (steps[1].opname == "BINARY_OP" and steps[1].argrepr == "[]")
