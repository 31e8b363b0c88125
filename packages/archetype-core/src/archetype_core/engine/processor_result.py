"""Turns what a processor returned into columns of the rows it was given: read, evaluated and put in order (T8)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from daft import DataFrame
from daft.expressions import Expression

from archetype_core.engine.arrays import column_name
from archetype_core.engine.column_value import ALONE, references, to_arrow
from archetype_core.engine.daft.frame import Frame
from archetype_core.engine.daft.guard import Stage
from archetype_core.engine.frame_result import collect_frame
from archetype_core.engine.settle import fields_of_columns
from archetype_core.engine.table_result import check_names, collect_table
from archetype_core.engine.wrong_result import WrongResult
from archetype_core.schema.fit import Misfit
from archetype_core.schema.snapshot import Column, Snapshot

if TYPE_CHECKING:
    from archetype_core.engine.call import Call


def collect(box: list[Any], call: Call) -> dict[str, Column]:
    """Return the columns that a processor changed, one value per row and in row order, not yet cast.

    ``box`` holds the result, and nothing else does: so arrays in it can be taken over. Takes the result out of it.
    """
    if isinstance(box[0], Mapping):
        return _mapping(box, call)
    result = box.pop()
    if isinstance(result, DataFrame):
        return collect_frame(result, call.rows, call.constants)
    if result is None and call.slot.signature.may_return_none:
        return {}
    if hasattr(result, "__arrow_c_stream__") or hasattr(result, "__arrow_c_array__"):
        return collect_table(pa.table(result), call.rows, call.context.base_values)
    if result is None:
        raise WrongResult("process returned None; did it forget to return?")
    if inspect.iscoroutine(result):
        result.close()
        raise WrongResult("process returned a coroutine; did it forget to await?")
    forms = "a mapping from columns to values, a Daft frame or an Arrow table"
    raise WrongResult(f"process returned {type(result).__name__}: return {forms}")


class Recorder:
    """Reads results that are nothing but expressions, for one processor. Equal results of many tables are read once."""

    __slots__ = ("_items", "_stages")

    def __init__(self) -> None:
        self._items: tuple[tuple[Any, Any], ...] = ()
        self._stages: tuple[Stage, ...] = ()

    def stages(self, box: list[Any], rows: Snapshot) -> tuple[Stage, ...]:
        """Return the steps of a frame over these rows, or of a mapping to expressions; none if the result is another."""
        result = box[0]
        if type(result) is Frame:
            return result.stages if result.snapshot is rows and result.is_record else ()
        if type(result) is not dict:
            return ()
        items = self._items
        if len(items) == len(result) and items:
            for (key, value), (known_key, known) in zip(result.items(), items, strict=True):
                if value is not known or key is not known_key:
                    break
            else:
                return self._stages
        for value in result.values():
            if not isinstance(value, Expression):
                return ()
        self._items = tuple(result.items())
        self._stages = (dict(_named(self._items)),) if self._items else ()
        return self._stages


def _named(items: Iterable[tuple[Any, Any]]) -> Iterable[tuple[str, Any]]:
    seen: set[str] = set()
    for key, value in items:
        name = column_name(key)
        if name in seen:
            raise WrongResult("process returned it twice", name)
        seen.add(name)
        yield name, value


def _mapping(box: list[Any], call: Call) -> dict[str, Column]:
    rows = call.rows
    is_ours = type(box[0]) is dict and references(box) <= ALONE
    result: Any = box.pop()
    check_names((name for name, _ in _named(result.items())), rows)
    values = {column_name(key): [result.pop(key) if is_ours else result[key]] for key in list(result)}
    del result
    columns: dict[str, Column] = {}
    stage = {name: value[0] for name, value in values.items() if isinstance(value[0], Expression)}
    if stage:
        columns.update(collect_frame(Frame(rows, call.constants, (stage,)), rows, call.constants))
    for name, value in values.items():
        if name in stage or name not in rows.columns:
            continue
        shown = None if call.arrays is None else call.arrays.column_of(value[0])
        if shown is not None:
            columns[name] = shown
            continue
        field = fields_of_columns(rows.archetype)[name]
        try:
            array = to_arrow(value, field.type, field.codec, rows.num_rows)
        except Misfit as misfit:
            raise WrongResult.at(rows, misfit.row, name, str(misfit)) from None
        if field.zone is not None and pa.types.is_struct(array.type):
            array, zone = array.flatten()
            if field.zone in values:
                raise WrongResult("the datetimes have their zones: leave it out", field.zone)
            columns[field.zone] = Column(zone)
        columns[name] = Column(array)
    return columns
