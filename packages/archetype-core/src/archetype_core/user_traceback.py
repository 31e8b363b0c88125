"""Cuts tracebacks down to the user's own lines: the call that failed, and the line of a processor or hook that raised.

A public method is a ``door``: what it raises leaves it without the frames of Archetype, asyncio and Daft. An error that
Archetype does not raise on purpose is a defect of ours and keeps all its frames. The whole traceback of what a processor or
hook raised is logged at DEBUG; with ``ARCHETYPE_FULL_TRACEBACK=1`` in the environment nothing is cut.
"""

from __future__ import annotations

import ast
import asyncio
import dis
import inspect
import linecache
import logging
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple, TypeVar, cast

from archetype_core.argument import nearest

_log = logging.getLogger("archetype")

F = TypeVar("F", bound=Callable[..., Any])

SETTING = "ARCHETYPE_FULL_TRACEBACK"
"""The environment variable that keeps every frame, if it is not empty and not 0."""

OWN_PACKAGES = frozenset({
    "archetype", "archetype_core", "archetype_gate", "archetype_journal", "archetype_llm", "archetype_native",
    "archetype_server", "archetype_cli", "archetype_store_lance", "archetype_store_iceberg",
})  # fmt: skip
"""The import roots of Archetype; a package of a user may begin with ``archetype_`` too."""
_MACHINERY = OWN_PACKAGES | {"asyncio", "concurrent", "contextlib", "threading", "daft"}
"""What runs between a user's lines without being called by them."""
_CLEARED = "__archetype_cleared__"
_RAISES = frozenset({dis.opmap["RAISE_VARARGS"]})
_ENDINGS = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)
"""What ends a program or a task without being an error."""


class Line(NamedTuple):
    """A line of a function: enough to show it in a traceback without keeping its variables alive."""

    code: CodeType
    number: int
    module: str


def keeps_all() -> bool:
    """Whether the user asked for whole tracebacks."""
    return os.environ.get(SETTING, "0") not in ("", "0")


def door(method: F) -> F:
    """Make a public function or coroutine function raise its errors without our frames; it adds none itself."""
    if inspect.iscoroutinefunction(method):

        @wraps(method)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            except (Exception, *_ENDINGS) as failure:
                _leave(failure, method)
                # A bare raise adds no frame to a traceback that was replaced.
                raise

        return cast("F", awaited)

    @wraps(method)
    def called(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (Exception, *_ENDINGS) as failure:
            _leave(failure, method)
            raise

    return cast("F", called)


def trim(failure: BaseException) -> None:
    """Take all frames but the user's out of an exception's traceback, unless it is a defect of ours."""
    trace = failure.__traceback__
    if keeps_all():
        return
    # An ending may come at any line of ours, and a door that was passed before has taken out the frame that raised.
    is_deliberate = _is_deliberate(trace) or isinstance(failure, _ENDINGS) or _CLEARED in _facts(failure)
    if is_deliberate and not _has_user_line(trace):
        failure.__traceback__ = None
        _facts(failure)[_CLEARED] = True
    elif is_deliberate or (_has_user_line(trace) and not _is_defect(trace)):
        failure.__traceback__ = shown(trace)


def shown(trace: TracebackType | None) -> TracebackType | None:
    """A copy of a traceback with the user's frames, and those of libraries between them; libraries' only if there is none."""
    entries = [one for one in _entries(trace) if not _is_machinery(one)]
    users = [index for index, one in enumerate(entries) if _is_user(one)]
    return _chain(entries[users[0] : users[-1] + 1] if users else entries)


def exc_info(failure: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """An exception for a log record, with a trimmed traceback."""
    trim(failure)
    return type(failure), failure, failure.__traceback__


def blame(error: BaseException, failure: BaseException) -> None:
    """Give an error the user's lines of the failure that it reports, and cut the failure to its one line.

    The whole failure is logged at DEBUG first. A defect of ours is left as it is.
    """
    _log.debug("%s: the whole traceback", type(error).__name__, exc_info=failure)
    trace = failure.__traceback__
    if keeps_all() or _is_defect(trace):
        return
    error.__traceback__ = shown(trace)
    failure.__traceback__ = None
    _cut_chain(failure)


def point_at(failure: BaseException, line: Line | None, *, is_certain: bool = False) -> None:
    """Put a line before the user's own lines of a traceback, unless its function is there: the line that led to them.

    Lazy steps fail long after the line that wrote them. A defect of ours is left as it is, unless the line is certainly
    to blame.
    """
    trace = failure.__traceback__
    if line is None or keeps_all() or (_is_defect(trace) and not is_certain):
        return
    entries = list(_entries(trace))
    codes = [one.tb_frame.f_code for one in entries]
    if any((one.co_filename, one.co_qualname) == (line.code.co_filename, line.code.co_qualname) for one in codes):
        return
    at = next((index for index, one in enumerate(entries) if _is_user(one)), len(entries))
    failure.__traceback__ = _chain([*entries[:at], *_entries(_trace_of(line)), *entries[at:]])


def lead_to(failure: BaseException, line: Line | None) -> None:
    """Put a line at the end of a traceback: where the failure began, in code whose own traceback is lost."""
    if line is None or keeps_all():
        return
    failure.__traceback__ = _chain([*_entries(failure.__traceback__), *_entries(_trace_of(line))])


def ends_in(failure: BaseException, function: Callable[..., Any]) -> bool:
    """Whether the innermost frame of a failure is the code of a function, so that a call in it did not even begin."""
    last = _last(failure.__traceback__)
    return last is not None and last.tb_frame.f_code is function.__code__


def functions_in(failure: BaseException) -> frozenset[str]:
    """The functions of a traceback, each with its module."""
    frames = [one.tb_frame for one in _entries(failure.__traceback__)]
    return frozenset(f"{one.f_globals.get('__name__', '')}.{one.f_code.co_qualname}" for one in frames)


def line_of(function: Any) -> Line | None:
    """The line of a function's or method's ``def``; ``None`` for one that is not written in Python."""
    function = inspect.unwrap(function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return None if code is None else Line(code, _def_line(code), function.__module__)


def returning_line(function: Any) -> Line | None:
    """The line of a function's only ``return`` with a value, or else that of its ``def``."""
    line = line_of(function)
    if line is None:
        return None
    returned = {at for at, is_none in _returns(line.code) if not is_none}
    return line._replace(number=returned.pop()) if len(returned) == 1 else line


def assertion_of(failure: BaseException) -> str:
    """The source line of the assertion that failed, if it can be read; else empty."""
    last = _last(failure.__traceback__)
    if last is None:
        return ""
    source = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno, last.tb_frame.f_globals).strip()
    return source if source.startswith("assert") else ""


def calling_line(frame: FrameType | None) -> Line | None:
    """The user's line that is running, from the frame of the caller on."""
    while frame is not None and _root(frame) in _MACHINERY:
        frame = frame.f_back
    return None if frame is None else Line(frame.f_code, frame.f_lineno, frame.f_globals.get("__name__", ""))


def _def_line(code: CodeType) -> int:
    """The line of a function's ``def``: its code begins with its decorators."""
    first = code.co_firstlineno
    lines = linecache.getlines(code.co_filename)[first - 1 : first + 20]
    is_def = (one.lstrip().startswith(("def ", "async def ")) for one in lines)
    return next((first + index for index, found in enumerate(is_def) if found), first)


def _returns(code: CodeType) -> Iterator[tuple[int, bool]]:
    """The lines where a function returns, and whether it is ``None`` there."""
    before: dis.Instruction | None = None
    for one in dis.get_instructions(code):
        at = None if one.positions is None else one.positions.lineno
        if one.opname == "RETURN_VALUE" and before is not None and at is not None:
            yield at, before.opname == "LOAD_CONST" and before.argval is None
        before = one


def _leave(failure: BaseException, method: Callable[..., Any]) -> None:
    """Trim an error that leaves a door; its outermost frame is the door's own."""
    trace = failure.__traceback__
    if isinstance(failure, TypeError) and trace is not None and trace.tb_next is None and not keeps_all():
        # The arguments do not fit the signature, so the method did not begin.
        failure.args = (_with_suggestion(str(failure), method),)
        failure.__traceback__ = None
        _facts(failure)[_CLEARED] = True
        return
    trim(failure)


def _with_suggestion(text: str, method: Callable[..., Any]) -> str:
    """A message about an unexpected keyword argument with the nearest one that a method has."""
    _, found, name = text.partition("unexpected keyword argument ")
    if not found or "Did you mean" in text:
        return text
    parameters = [one.replace(annotation=one.empty) for one in inspect.signature(method).parameters.values()][1:]
    named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY] or list(map(str, parameters))
    return f"{text}{nearest(name.strip(chr(39)), named) or '; it takes ' + ', '.join(named)}"


def _cut_chain(failure: BaseException) -> None:
    """Cut the causes of a failure too: to the user's lines, or to one line, or away if nobody named them as causes."""
    seen = {id(failure)}
    while True:
        cause, context = failure.__cause__, failure.__context__
        if cause is None and not failure.__suppress_context__:
            if context is not None and not _has_user_line(context.__traceback__):
                failure.__suppress_context__ = True
            cause = None if failure.__suppress_context__ else context
        if cause is None or id(cause) in seen:
            return
        seen.add(id(cause))
        cause.__traceback__ = shown(cause.__traceback__) if _has_user_line(cause.__traceback__) else None
        failure = cause


def _facts(failure: BaseException) -> dict[str, Any]:
    """An exception's attributes; a dictionary that nobody keeps for one of an extension that has none."""
    return getattr(failure, "__dict__", {})


def _entries(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _last(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _chain(entries: Iterable[TracebackType]) -> TracebackType | None:
    """A new traceback of the given entries, outermost first."""
    made: TracebackType | None = None
    for one in reversed(list(entries)):
        made = TracebackType(made, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return made


def _has_user_line(trace: TracebackType | None) -> bool:
    return any(_is_user(one) for one in _entries(trace))


def _is_user(entry: TracebackType) -> bool:
    return not _is_machinery(entry) and not _is_library(entry)


def _is_defect(trace: TracebackType | None) -> bool:
    """Whether our own code failed by accident: its innermost frame is ours and has no ``raise`` there."""
    last = _last(trace)
    return last is not None and _root(last.tb_frame) in OWN_PACKAGES and not _is_deliberate(trace)


def _is_deliberate(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is one of ours at a ``raise`` statement."""
    last = _last(trace)
    if last is None or _root(last.tb_frame) not in OWN_PACKAGES or last.tb_lasti < 0:
        return False
    return last.tb_frame.f_code.co_code[last.tb_lasti] in _RAISES


def _root(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__") or ""
    return name.partition(".")[0]


def _is_machinery(entry: TracebackType) -> bool:
    return _root(entry.tb_frame) in _MACHINERY


def _is_library(entry: TracebackType) -> bool:
    """Whether a frame belongs to the standard library or an installed package."""
    frame = entry.tb_frame
    return _is_installed(frame.f_globals.get("__file__") or frame.f_code.co_filename)


@lru_cache(maxsize=1024)
def _is_installed(path: str) -> bool:
    return path.startswith(("<frozen ", *_places()))


@lru_cache(maxsize=1)
def _places() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple(paths[one] + os.sep for one in ("stdlib", "platstdlib", "purelib", "platlib"))


def _trace_of(line: Line) -> TracebackType | None:
    """A traceback of one entry that shows a line. Its frame has no variables: a real one would keep all of them alive."""
    code = line.code
    tree = ast.parse("raise Exception")
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt | ast.expr):
            # Relative to the first line, which is replaced below; without columns no part of the line is underlined.
            node.lineno = node.end_lineno = line.number - code.co_firstlineno + 1
            node.col_offset = node.end_col_offset = -1
    made = compile(tree, code.co_filename, "exec").replace(
        co_name=code.co_name, co_qualname=code.co_qualname, co_firstlineno=code.co_firstlineno
    )
    try:
        exec(made, {"__name__": line.module, "__file__": code.co_filename})  # noqa: S102  # reason: the code made above
    except Exception as raised:  # noqa: BLE001  # reason: it raises nothing but this
        trace = raised.__traceback__
    return None if trace is None else trace.tb_next
