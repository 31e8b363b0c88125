"""What Daft says of failing code in a column, in the user's terms: the error, and the function that raised it.

Of a function that runs row by row, or in another process, Daft keeps the text of the error and loses its traceback.
"""

from __future__ import annotations

import gc
import re
from types import FunctionType

from daft.errors import UDFException
from daft.expressions import Expression

from archetype_core.user_traceback import Line, line_of

# How Daft shows a call of Python code in an expression: the function's module and qualified name, and two numbers.
_CALL = re.compile(r"([\w.<>]+)-\d+-\d+\(")
_ROWS = "Error processing some rows:\n"
_ROW = re.compile(r"^\d+: DaftError::PyO3Error ", re.MULTILINE)
_OTHER_PROCESS = "UDF unexpectedly failed with traceback:"
_FILE = re.compile(r'^ *File "(.+)", line (\d+), in ', re.MULTILINE)


def retold(text: str) -> str:
    """The type and text of the error that a text of Daft reports; empty if it reports none."""
    before, found, rows = text.partition(_ROWS)
    if found and (before.startswith(_OTHER_PROCESS) or before == "DaftError::ComputeError "):
        errors = [one.strip() for one in _ROW.split(rows)[1:]]
        return errors[0] + (f" (in {len(errors)} rows)" if len(errors) > 1 else "") if errors else ""
    # The other process's traceback has an empty line before the error.
    return text.rstrip().rpartition("\n\n")[2] if text.startswith(_OTHER_PROCESS) else ""


def user_failure(failure: BaseException) -> BaseException:
    """The user's exception that an exception of Daft reports as its cause, or else the exception itself."""
    cause = failure.__cause__
    return cause if isinstance(failure, UDFException) and cause is not None else failure


def called(expression: Expression) -> frozenset[str]:
    """The names of the Python functions that an expression calls, each with its module."""
    return frozenset(_CALL.findall(repr(expression)))


def line_in(expression: Expression, text: str) -> Line | None:
    """The line of the only Python function of an expression: the one that a text of Daft names, or that of its ``def``."""
    names = called(expression)
    function = _function(*names) if len(names) == 1 else None
    line = None if function is None else line_of(function)
    if line is None:
        return None
    numbers = [int(number) for path, number in _FILE.findall(text) if path == line.code.co_filename]
    return line._replace(number=numbers[-1]) if numbers else line


def _function(name: str) -> FunctionType | None:
    # Only Daft has the function, in an expression that does not give it away.
    for one in gc.get_objects():
        if type(one) is FunctionType and f"{one.__module__}.{one.__qualname__}" == name:
            return one
    return None
