"""The error of a failing processor: what failed, a hint where the cause is known, and the user's lines as its traceback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from archetype_core import telemetry
from archetype_core.argument import nearest
from archetype_core.engine.call import Call
from archetype_core.engine.daft.failure import line_in, retold, user_failure
from archetype_core.engine.daft.frame import Frame
from archetype_core.engine.processor import RESERVED_ARGUMENTS
from archetype_core.engine.wrong_result import WrongResult, failing_of
from archetype_core.errors import ArchetypeError, ProcessorError
from archetype_core.schema.component import types_with_column
from archetype_core.user_traceback import (
    Line,
    assertion_of,
    blame,
    ends_in,
    keeps_all,
    lead_to,
    line_of,
    point_at,
    returning_line,
)

if TYPE_CHECKING:
    from archetype_core.engine.processor import Slot
    from archetype_core.schema.archetype import Archetype

# Daft names the missing column in its text alone, and spells it in three ways.
_UNKNOWN_COLUMN = re.compile(r'Column (?:col\()?"?(\w+)"?\)? not found|^(\w+) does not exist in schema ╭')
_READ_ONLY = re.compile(r"^(assignment destination|output array) is read-only")
_MISSING_ARGUMENT = re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: '(\w+)'")


def processor_error(
    slot: Slot, archetype: Archetype, tick: int, failure: BaseException, frame: Frame | None
) -> ProcessorError:
    """The error that a step raises for a failure of a processor or of its result.

    It gets the user's lines as its traceback; its cause is the user's exception, cut to one line.
    """
    reported, failing = failure, failing_of(failure)
    failure = user_failure(reported)
    text = telemetry.error_text(failure)
    reason, column, entity_id = _missing_column(failure, text, slot, archetype), None, None
    if isinstance(failure, WrongResult):
        column, entity_id = failure.column, failure.entity_id
    elif failing is not None and not reason:
        column = failing.column
    error_of_code = retold(text)
    # Arguments that do not fit the signature fail in our call of it.
    is_certain = ends_in(failure, Call.run)
    if reason and not keeps_all():
        # Daft goes on with a drawing of the whole schema.
        failure.args = (text.partition("\n")[0].partition("╭")[0].rstrip(),)
    if not reason:
        is_told = isinstance(failure, ArchetypeError | WrongResult)
        reason = text if is_told else error_of_code or _described(failure, text) + _hint(failure, text, is_certain)
        if not is_told and column is not None:
            reason = f"column {column}: {reason}"
    error = ProcessorError(slot.name, archetype.name, tick, reason.rstrip("\n. "), column=column, entity_id=entity_id)
    if error_of_code and not keeps_all():
        if failing is not None:
            lead_to(failure, line_in(failing.expression, text))
        # Daft repeats the error for every row.
        failure.args = (error_of_code,)
    process = slot.processor.process
    written = _writing_line(frame, text) or (line_of(process) if is_certain else returning_line(process))
    point_at(failure, written, is_certain=is_certain)
    blame(error, failure)
    error.__cause__ = reported if keeps_all() else failure
    return error


def _described(failure: BaseException, text: str) -> str:
    """The type of an exception and what it says; a bare ``assert`` says nothing, so what it asserts."""
    said = text.strip() or (assertion_of(failure) if isinstance(failure, AssertionError) else "")
    return f"{type(failure).__name__}: {said}" if said else type(failure).__name__


def _hint(failure: BaseException, text: str, is_certain: bool) -> str:
    """What to do about two mistakes of those who write their first processor; empty for any other."""
    if isinstance(failure, ValueError) and _READ_ONLY.search(text):
        return "; the arrays of a processor are read-only: make a new one, or change a copy(), and return it"
    found = _MISSING_ARGUMENT.search(text) if is_certain and isinstance(failure, TypeError) else None
    if found is None:
        return ""
    engine = nearest(found[1], RESERVED_ARGUMENTS)
    return engine or f"; an input is passed with the step, such as step({found[1]}=…), or give it a default"


def _missing_column(failure: BaseException, text: str, slot: Slot, archetype: Archetype) -> str:
    """What to do about a column that Daft did not find; empty for any other failure."""
    found = _UNKNOWN_COLUMN.search(text)
    if found is None or not (found[2] or type(failure).__module__.startswith("daft")):
        return ""
    name = found[1] or found[2]
    here = f"the table has no column {name}"
    kind = next(iter(types_with_column(name)), None)
    if kind is not None and kind not in slot.needs:
        return (
            f"{here}, which belongs to {kind.name}; add {kind.name} to {slot.name}.components, and the processor "
            "runs on the tables that have it"
        )
    return f"{here}{nearest(name, archetype.column_names) or '; it has ' + ', '.join(archetype.column_names)}"


def _writing_line(frame: Frame | None, text: str) -> Line | None:
    """The line that wrote the column that an error names, if it was a recorded step of a frame."""
    if frame is None:
        return None
    named = set(re.findall(r"\bcolumn (\w+)", text))
    steps = zip(reversed(frame.stages), reversed(frame.lines), strict=False)
    return next((line for stage, line in steps if named & stage.keys()), None)
