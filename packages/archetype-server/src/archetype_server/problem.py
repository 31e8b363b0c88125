"""Every answer that is no success: ``application/problem+json`` with a stable code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, LitestarException

from archetype_core.errors import (
    AmbiguousWorld,
    ArchetypeError,
    AttemptOver,
    CommitUncertain,
    EntityNotFound,
    GateClosed,
    KeyConflict,
    LedgerError,
    NoHandler,
    NotDeferrable,
    PayloadError,
    PendingMutations,
    PermissionDenied,
    QuotaExceeded,
    ReentrantStep,
    RolloutConflict,
    RunConflict,
    SchemaMismatch,
    SignatureError,
    StaleTick,
    StorageNotFound,
    StorageReadOnly,
    StoreClosed,
    TickConflict,
    TickNotFound,
    UnknownColumn,
    UnknownComponent,
    UnknownRecipient,
    UnpairedSeeds,
    UnsupportedCapability,
    ValueRejected,
    WorldClosed,
    WorldExists,
    WorldNotFound,
)

if TYPE_CHECKING:
    from archetype_server.redaction import Redaction

PROBLEM_JSON = "application/problem+json"
log = logging.getLogger("archetype_server")


class ServerError(ArchetypeError):
    """A refusal or failure of the server itself, before or after the gate."""

    code = "ARC-H010"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        self.response_headers = dict(headers or {})
        super().__init__(detail)


class Unauthenticated(ServerError):
    """No key, or one that is unknown, expired or revoked."""

    code, status = "ARC-H001", 401

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="archetype"'})


class NotHere(ServerError):
    """There is nothing at that address."""

    code, status = "ARC-H002", 404


class BadRequest(ServerError):
    """The request is malformed: its body, a parameter or a header."""

    code, status = "ARC-H003", 400


class Unprocessable(ServerError):
    """The request is well-formed, but what it asks for is too much, or does not go together."""

    code, status = "ARC-H018", 422


class BodyTooLarge(ServerError):
    """The body is larger than the server takes."""

    code, status = "ARC-H004", 413


class WrongMediaType(ServerError):
    """The body is of a type that the server does not read."""

    code, status = "ARC-H005", 415


class NotAcceptable(ServerError):
    """The answer has none of the formats that the client accepts."""

    code, status = "ARC-H006", 406


class WrongMethod(ServerError):
    """The address does not have that method."""

    code, status = "ARC-H007", 405


class WrongHost(ServerError):
    """The ``Host`` header names a server that this one is not."""

    code, status = "ARC-H008", 421


class TooManyRequests(ServerError):
    """The caller sends more than the server takes from one."""

    code, status = "ARC-H009", 429


class TooManyJobs(ServerError):
    """The caller has as many long jobs as the server takes from one."""

    code, status = "ARC-H016", 429

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class Unavailable(ServerError):
    """The server starts, stops, or has no room for one more."""

    code, status = "ARC-H011", 503


class SlowBody(ServerError):
    """The client did not send its body in time."""

    code, status = "ARC-H012", 408


STATUSES: Mapping[type[ArchetypeError], int] = {
    PermissionDenied: 403,
    StorageReadOnly: 403,
    EntityNotFound: 404,
    NoHandler: 404,
    StorageNotFound: 404,
    TickNotFound: 404,
    UnknownColumn: 404,
    UnknownComponent: 404,
    UnknownRecipient: 404,
    WorldNotFound: 404,
    AmbiguousWorld: 409,
    AttemptOver: 409,
    KeyConflict: 409,
    PendingMutations: 409,
    ReentrantStep: 409,
    RolloutConflict: 409,
    RunConflict: 409,
    SchemaMismatch: 409,
    TickConflict: 409,
    WorldExists: 409,
    WorldClosed: 410,
    StaleTick: 412,
    NotDeferrable: 422,
    PayloadError: 422,
    SignatureError: 422,
    UnpairedSeeds: 422,
    ValueRejected: 422,
    QuotaExceeded: 429,
    UnsupportedCapability: 501,
    CommitUncertain: 503,
    GateClosed: 503,
    LedgerError: 503,
    StoreClosed: 503,
}
"""The status of every error that is not the server's fault; all others are 500."""


def status_of(error: ArchetypeError) -> int:
    """Return the status that an error is answered with."""
    if isinstance(error, ServerError):
        return error.status
    return next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 500)


def document(error: ArchetypeError, instance: str, redaction: Redaction | None) -> dict[str, Any]:
    """Return an error as a problem: its code, its text, and its facts as far as they are plain data."""
    facts = {
        name: value
        for name, value in vars(error).items()
        if name != "response_headers" and not name.startswith("_") and _is_plain(value)
    }
    text = Exception.__str__(error)
    return {
        **(facts if redaction is None else redaction.data(facts)),
        "type": f"urn:archetype:error:{error.code}",
        "title": type(error).__name__,
        "status": status_of(error),
        "code": error.code,
        "detail": text if redaction is None else redaction.text(text),
        "instance": instance,
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(one) for one in value)
    return value is None or isinstance(value, str | int | float | bool)


def headers_of(error: ArchetypeError) -> dict[str, str]:
    """Return the headers that go with an error."""
    if isinstance(error, ServerError):
        return error.response_headers
    return {"Retry-After": "1"} if status_of(error) in (429, 503) else {}


def encoded(error: ArchetypeError, instance: str, redaction: Redaction | None) -> bytes:
    """Return the body of a problem."""
    return msgspec.json.encode(document(error, instance, redaction))


def as_problem(error: BaseException) -> ArchetypeError:
    """Return what an exception is answered with; the text of an unexpected one is logged and not sent."""
    match error:
        case ArchetypeError():
            return error
        case HTTPException():
            return _of_litestar(error)
        case LitestarException():
            return BadRequest(error.detail or "the request cannot be read")
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    return ServerError(
        "the server failed; its log says why. Nothing was answered, so what was asked may have been done"
    )


def _of_litestar(error: HTTPException) -> ArchetypeError:
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return NotHere("there is no such address: see /v1/openapi.json for those there are")
        case 405:
            return WrongMethod("this address does not have that method", headers=headers)
        case 413:
            return BodyTooLarge(error.detail)
        case 415:
            return WrongMediaType(error.detail)
        case status if status < 500:
            return BadRequest(_reasons(getattr(error, "extra", None)) or error.detail)
    log.error("unexpected %s", HTTPStatus(error.status_code).phrase, exc_info=error)
    return ServerError("the server failed; its log says why")


def _reasons(extra: object) -> str:
    """The reasons that Litestar gives for a refused parameter or body."""
    if not isinstance(extra, list):
        return ""
    found = [one for one in extra if isinstance(one, dict)]
    named = [({"data": "body"}.get(str(one.get("key")), one.get("key", "body")), one.get("message")) for one in found]
    return "; ".join(f"{name}: {message}" for name, message in named)


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Return the answer to a request that ended with an exception."""
    problem = as_problem(error)
    scope = cast("dict[str, Any]", request.scope)
    scope["archetype_code"] = problem.code
    body = encoded(problem, scope["archetype_path"], scope["archetype_redaction"])
    return Response(body, status_code=status_of(problem), media_type=PROBLEM_JSON, headers=headers_of(problem))
