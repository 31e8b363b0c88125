"""Components that a command line gives as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure

_EXAMPLE = """write it as '[{"type": "Position", "x": 0}]'"""
_QUOTES = "JSON needs double quotes, which the shell takes away: put single quotes around the whole"
_SHOWN = 24
"""How many characters before a mistake are shown."""


def components_of(text: str) -> Sequence[Mapping[str, Any]]:
    """Return the components of an option's text, ``@FILE`` or ``-``; a `Failure` points at a mistake."""
    source = "--components"
    try:
        if text == "-":
            source, text = "standard input", sys.stdin.read()
        elif text.startswith("@"):
            source, text = text[1:], Path(text[1:]).read_text(encoding="utf-8")
        if not text.strip():
            raise Failure(f"{source} is empty", _EXAMPLE, ExitCode.USAGE)
        given = json.loads(text)
    except json.JSONDecodeError as failure:
        raise Failure(
            f"{source} is not JSON: {_place(failure)}", _EXAMPLE if '"' in text else _QUOTES, ExitCode.USAGE
        ) from failure
    except RecursionError as failure:
        raise Failure(f"{source} is nested too deep", _EXAMPLE, ExitCode.USAGE) from failure
    except ValueError as failure:
        raise Failure(f"{source} is not JSON: {failure}", _EXAMPLE, ExitCode.USAGE) from failure
    given = [given] if isinstance(given, dict) else given
    if not isinstance(given, list):
        raise Failure(f"{source} is {_named(given)} and not a list of components", _EXAMPLE, ExitCode.USAGE)
    for number, one in enumerate(given, 1):
        if not isinstance(one, dict):
            raise Failure(f"{source}: item {number} is {_named(one)} and not a component", _EXAMPLE, ExitCode.USAGE)
        if not isinstance(one.get("type"), str):
            raise Failure(f'{source}: item {number} has no "type", the name of its class', _EXAMPLE, ExitCode.USAGE)
    return given


def _place(failure: json.JSONDecodeError) -> str:
    """What is wrong, and after which text."""
    line = f"line {failure.lineno}, " if failure.lineno > 1 else ""
    before = failure.doc[: failure.pos]
    shown = before[-_SHOWN:]
    after = f", after {'…' if len(before) > _SHOWN else ''}{shown}" if shown.strip() else ""
    what = failure.msg[:1].lower() + failure.msg[1:]
    return f"{what} at {line}column {failure.colno}{after}"


def _named(value: object) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return kinds.get(type(value), "null")
