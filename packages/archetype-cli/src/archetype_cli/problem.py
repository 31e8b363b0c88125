"""What a server's refusal, or its silence, means for a command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import httpx2

from archetype_cli.exit_code import ExitCode, exit_code_of
from archetype_cli.failure import Failure, UnderWay
from archetype_cli.own_server import own_servers

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
_HINTS = {"ARC-G001": "`archetype me` shows your role; an admin can make a key with another one"}


@dataclass(frozen=True)
class Problem:
    """A refusal, as far as the answer says: its status, its code and its text."""

    status: int
    code: str = ""
    detail: str = ""
    retry_after: str = ""
    is_under_way: bool = False

    @classmethod
    def of(cls, response: httpx2.Response) -> Problem:
        """Return what an answer that is no success says."""
        try:
            facts = response.json()
        except ValueError:
            facts = None
        facts = facts if isinstance(facts, dict) else {}
        detail = str(facts.get("detail") or facts.get("title") or "")
        retry_after = response.headers.get("Retry-After", "")
        return cls(
            response.status_code, str(facts.get("code", "")), detail, retry_after, facts.get("is_running") is True
        )

    def failure(self, place: str, hint: str = "") -> Failure:
        """Return the error of the command."""
        if not self.detail:
            return Failure(
                f"{place} answered {self.status}, and not as an Archetype server does",
                "check the address",
                _BY_STATUS.get(self.status, ExitCode.FAILED),
            )
        exit_code = exit_code_of(self.code)
        if exit_code is ExitCode.FAILED:
            exit_code = _BY_STATUS.get(self.status, ExitCode.FAILED)
        if self.retry_after:
            hint = f"try again in {self.retry_after} s"
        what = f"{self.detail} [{self.code}]" if self.code else self.detail
        kind = UnderWay if self.is_under_way else Failure
        return kind(what, hint or _HINTS.get(self.code, ""), exit_code)


def unreachable(place: str, failure: httpx2.HTTPError, *, is_change: bool = False, key: str | None = None) -> Failure:
    """Return the error of a request without an answer."""
    if isinstance(failure, httpx2.ConnectError | httpx2.ConnectTimeout):
        hint = "start one with `archetype serve`, or give its address with --url"
        running = next((one.url for one in own_servers()), None)
        if Path("archetype-data").is_dir():
            hint = "to read the history in this directory, put ./archetype-data after the command; `archetype serve` serves it"
        if running is not None:
            hint = f"your server at {running} runs: give it with --url or ARCHETYPE_URL"
        return Failure(f"no server answers at {place}", hint, ExitCode.UNREACHABLE)
    if isinstance(failure, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
        return Failure(f"{place} is not an address: {failure}", "write it as http://host:port", ExitCode.USAGE)
    if isinstance(failure, httpx2.RemoteProtocolError) and not is_change:
        return Failure(
            f"{place} does not speak HTTP as a server does: {failure}", "check the address", ExitCode.UNREACHABLE
        )
    hint = "it may have been done all the same: look before you repeat it" if is_change else ""
    if key is not None:
        hint = f"it may have been done all the same: repeat it with --idempotency-key {key}, and it is done once"
    reason = str(failure) or type(failure).__name__
    return Failure(f"{place} stopped answering: {reason}", hint, ExitCode.UNREACHABLE)
