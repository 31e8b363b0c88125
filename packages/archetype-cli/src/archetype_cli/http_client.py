"""Requests to a server: who asks, pages, streams, and what a refusal means."""

from __future__ import annotations

import csv
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx2

from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, Interrupted, UnderWay, meant
from archetype_cli.problem import Problem, unreachable
from archetype_cli.source import FREE, Terms

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PAGE = 1000
"""Items of a page, if all are wanted."""
_CONNECT_S = 5.0
_UNDER_WAY_S = 0.2
_BROKEN = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)
"""What becomes of a request whose connection breaks; it may have been done."""


class HttpClient:
    """A connection to a server, with what lets the caller in: a token, or in developer mode a role."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        role: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.place = url.rstrip("/")
        self._identity = "token" if token is not None else "role" if role is not None else ""
        headers = {"User-Agent": "archetype-cli"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise Failure("the token has characters that no key has", "copy it again", ExitCode.USAGE)
            headers["Authorization"] = f"Bearer {token}"
        if role is not None:
            headers["X-Archetype-Role"] = role
        example = "write it as http://host:port"
        self._is_sent = False
        self._timeout_s = timeout_s
        self._timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        try:
            if not urlsplit(self.place).hostname:
                raise Failure(f"{url} is not the address of a server", example, ExitCode.USAGE)
            self._client = httpx2.Client(
                base_url=self.place, headers=headers, timeout=self._timeout, transport=transport
            )
        except (httpx2.InvalidURL, ValueError) as failure:
            raise Failure(f"{url} is not an address: {failure}", example, ExitCode.USAGE) from None

    def close(self) -> None:
        """Close all connections; idempotent."""
        self._client.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON of an address."""
        with self.stream("GET", path, query) as response:
            response.read()
        return _json(response, self.place)

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Send a change, and return what the server answers."""
        with self.stream(method, path, body=_given(body)) as response:
            response.read()
        found: Mapping[str, Any] = _json(response, self.place)
        return found

    def send_once(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        terms: Terms = FREE,
        *,
        is_long: bool = False,
    ) -> Mapping[str, Any]:
        """Send a change that is done once, also if the connection breaks and it is sent a second time.

        One that ``is_long`` is waited for, and if the same one is under way, for that.
        """
        query = {"expected_tick": terms.expected_tick}
        key = terms.key or uuid.uuid4().hex
        broken: Failure | None = None
        until = None if is_long else time.monotonic() + self._timeout_s
        while True:
            try:
                with self.stream(method, path, query, body=_given(body), key=key, is_endless=is_long) as response:
                    response.read()
                found: Mapping[str, Any] = _json(response, self.place)
            except UnderWay as failure:
                if broken is None and not is_long:
                    raise
                if until is not None and time.monotonic() > until:
                    raise broken or failure from None
                time.sleep(_UNDER_WAY_S)
            except Failure as failure:
                if broken is not None and failure.exit_code is ExitCode.UNREACHABLE:
                    raise broken from None
                if broken is not None or not isinstance(failure.__cause__, _BROKEN):
                    raise
                broken = failure
            except KeyboardInterrupt:
                if self._is_sent and is_long:
                    raise Interrupted(f"with --idempotency-key {key} the same command waits for its end") from None
                raise
            else:
                return found

    def pages(self, path: str, query: Mapping[str, Any], limit: int | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield the items of a list, page by page, as many as are wanted."""
        cursor, remaining = None, limit
        while remaining is None or remaining > 0:
            size = PAGE if remaining is None else min(remaining, PAGE)
            page = self.get(path, {**query, "limit": size, "cursor": cursor})
            yield from page["items"][:remaining]
            remaining = None if remaining is None else remaining - len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def lines(
        self, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of an answer while it arrives."""
        with self.stream("POST" if body else "GET", path, query, body=body, accept=NDJSON) as response:
            for line in response.iter_lines():
                if line.strip():
                    yield json.loads(line)

    def header(
        self, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Return the columns of an answer that may have no rows."""
        with self.stream("POST" if body else "GET", path, query, body=body, accept=CSV) as response:
            response.read()
        return next(csv.reader(response.text.splitlines()), [])

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        accept: str = JSON,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        is_endless: bool = False,
    ) -> Iterator[httpx2.Response]:
        """Send a request and give its answer, which is still to be read; a `Failure` for a refusal and for silence."""
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        timeout = httpx2.Timeout(None, connect=_CONNECT_S) if is_endless else self._timeout
        given = {"Accept": accept, **(headers or {}), **({} if key is None else {"Idempotency-Key": key})}
        more = {"trace": self._trace} if method != "GET" else {}
        try:
            with self._client.stream(
                method, path, params=asked, json=body, headers=given, timeout=timeout, extensions=more
            ) as response:
                if not response.is_success:
                    response.read()
                    raise self._refusal(response)
                yield response
        except httpx2.HTTPError as failure:
            raise unreachable(self.place, failure, is_change=method != "GET", key=key) from failure

    def _trace(self, event: str, _facts: Mapping[str, Any]) -> None:
        """Note that a change is on its way."""
        self._is_sent = self._is_sent or event.endswith("send_request_body.complete")

    def _refusal(self, response: httpx2.Response) -> Failure:
        problem = Problem.of(response)
        hint = ""
        if problem.code == "ARC-H001":
            hint = self._how_to_be_let_in()
        elif problem.code == "ARC-W001":
            hint = self._world_meant(unquote(response.url.path).partition("/worlds/")[2].partition("/")[0])
        return problem.failure(self.place, hint)

    def _how_to_be_let_in(self) -> str:
        if self._identity == "token":
            return "an admin makes another key: `archetype keys create NAME --role player`"
        if self._identity == "role":
            return "--role is for a server that was started with --dev; give a key with --token or ARCHETYPE_TOKEN"
        return (
            "give a key with --token or ARCHETYPE_TOKEN; the first one is in admin.key, in the server's state directory"
        )

    def _world_meant(self, name: str) -> str:
        try:
            known = [str(one["name"]) for one in self.pages("/v1/worlds", {})]
        except Failure:
            known = []
        return meant(name, known, "`archetype world list` shows the worlds")


def _given(body: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A body without what the command line does not say, so that the server's defaults count."""
    return None if body is None else {name: value for name, value in body.items() if value is not None}


def _json(response: httpx2.Response, place: str) -> Any:
    try:
        return response.json()
    except ValueError:
        raise Failure(
            f"{place} did not answer in JSON, so it is no Archetype server", "check the address", ExitCode.UNREACHABLE
        ) from None
