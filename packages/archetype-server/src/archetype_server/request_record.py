"""What is noted of a request: its id, its answer and how long that took; in the log, in metrics and as a span."""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from opentelemetry import context, propagate

from archetype_core import telemetry
from archetype_server.metrics import Metrics

CODE = "archetype_code"
"""The key of a request's scope that has the code of the problem it is answered with."""
UNMATCHED = "unmatched"
"""The route of requests that no route answers."""
_PROCESS = os.urandom(4).hex()
_numbers = itertools.count(1)
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PARAMETER = re.compile(r"\{(\w+):\w+\}")
access = logging.getLogger("archetype_server.access")


@dataclass(slots=True)
class RequestRecord:
    """One request from its arrival to the end of its answer; a context manager around its handling."""

    metrics: Metrics
    scope: Any
    headers: Mapping[str, str]
    request_id: str = field(init=False)
    status: int = 0
    is_stream: bool = False
    actor: str | None = None
    _began: float = field(init=False)
    _stack: ExitStack = field(init=False, default_factory=ExitStack)
    _span: Any = None

    def __post_init__(self) -> None:
        given = self.headers.get("x-request-id", "")
        self.request_id = given if _ID.fullmatch(given) else f"{_PROCESS}{next(_numbers):08x}"
        self._began = time.perf_counter()

    def __enter__(self) -> Self:
        self.metrics.in_flight += 1
        if telemetry.is_traced():
            self._stack.callback(context.detach, context.attach(propagate.extract(self.headers)))
            attributes = {"http.request.method": self.scope["method"], "archetype.request_id": self.request_id}
            self._span = self._stack.enter_context(telemetry.span("archetype.request", lambda: attributes, traced=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration_s = time.perf_counter() - self._began
        self.metrics.in_flight -= 1
        self.metrics.answered(self.scope["method"], self.route, self.status, duration_s, is_stream=self.is_stream)
        if self._span is not None:
            self._span.update_name(f"{self.scope['method']} {self.route}")
            self._span.set_attributes({"http.route": self.route, "http.response.status_code": self.status})
        self._stack.__exit__(kind, failure, trace)
        if access.isEnabledFor(logging.INFO):
            facts = {
                "request_id": self.request_id,
                "actor": self.actor,
                "method": self.scope["method"],
                "route": self.route,
                "status": self.status,
                "duration_ms": round(duration_s * 1e3, 3),
            }
            access.info("%s %s %d", self.scope["method"], self.route, self.status, extra={"facts": facts})

    def begin(self, start: Any) -> None:
        """Note the start of the answer, and give it the headers that all answers have."""
        self.status = start["status"]
        named = dict(start["headers"])
        self.is_stream = named.get(b"content-type", b"").startswith(b"text/event-stream")
        if self.status >= 400:
            self.metrics.refused(self.scope.get(CODE, "none"))
        own = [(b"x-content-type-options", b"nosniff"), (b"x-request-id", self.request_id.encode())]
        start["headers"] = [*start["headers"], *own]

    @property
    def route(self) -> str:
        """The template of the route that answers."""
        template = self.scope.get("path_template") or UNMATCHED
        return _PARAMETER.sub(r"{\1}", template)


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON, with the facts of a request if it is about one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(form: str) -> None:
    """Write the log of server, gate and worlds to standard error: as JSON with one line per request, or as plain text."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else plain)
    for name in ("archetype", "archetype_server"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
