"""What a server's refusal, or its silence, means for a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from archetype_cli.exit_code import ExitCode, exit_code_of
from archetype_cli.failure import Failure

_BY_STATUS = {
    400: ExitCode.USAGE,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    410: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    415: ExitCode.USAGE,
    422: ExitCode.USAGE,
    429: ExitCode.NOT_ALLOWED,
    502: ExitCode.UNREACHABLE,
    503: ExitCode.UNREACHABLE,
    504: ExitCode.UNREACHABLE,
}
_HINTS = {
    "ARC-H001": "give a key with --token or ARCHETYPE_TOKEN; at a server in developer mode, --role will do",
    "ARC-G001": "a key or a --role with more rights is needed",
    "ARC-W001": "`archetype world list` shows the worlds",
}


def failure_of(response: httpx2.Response, place: str) -> Failure:
    """Return what a response that is not a success means."""
    facts = _problem(response)
    code, detail = str(facts.get("code", "")), str(facts.get("detail") or facts.get("title") or "")
    if not detail:
        return Failure(
            f"{place} answered {response.status_code}, and not as an Archetype server does",
            "check the address",
            _BY_STATUS.get(response.status_code, ExitCode.FAILED),
        )
    exit_code = exit_code_of(code)
    if exit_code is ExitCode.FAILED:
        exit_code = _BY_STATUS.get(response.status_code, ExitCode.FAILED)
    hint = _HINTS.get(code, "")
    if after := response.headers.get("Retry-After"):
        hint = f"try again in {after} s"
    return Failure(f"{detail} [{code}]" if code else detail, hint, exit_code)


def unreachable(place: str, failure: httpx2.HTTPError, *, is_change: bool = False) -> Failure:
    """Return the error of a request without an answer."""
    if isinstance(failure, httpx2.ConnectError | httpx2.ConnectTimeout):
        hint = "start one with `archetype serve`, or give its address with --url"
        if Path("archetype-data").is_dir():
            hint = "to read the history in this directory, put ./archetype-data after the command; `archetype serve` serves it"
        return Failure(f"no server answers at {place}", hint, ExitCode.UNREACHABLE)
    if isinstance(failure, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return Failure(f"{place} is not an address: {failure}", "write it as http://host:port", ExitCode.USAGE)
    hint = "it may have been done all the same: look before you repeat it" if is_change else ""
    reason = str(failure) or type(failure).__name__
    return Failure(f"{place} stopped answering: {reason}", hint, ExitCode.UNREACHABLE)


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        facts = response.json()
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
