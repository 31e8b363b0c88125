"""What an operator sees: metrics, logs, request ids and spans."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import TIMEOUT_S, Serving, config, serving

PROGRAM = "from archetype_server.commands import serve; serve()"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        yield here


def test_metrics_are_counted_by_template_and_kind(server: Serving) -> None:
    """Counts and durations by route, verdicts, ticks and streams, in Prometheus' format; no ids in labels."""
    world = server.world("measured")
    server.ok("POST", f"/worlds/{world}/run", {"steps": 3})
    server.problem("POST", f"/worlds/{world}/step", role="viewer")
    server.problem("GET", "/nothing/here")
    answer = server.ask("GET", "/metrics", role="viewer")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.text
    assert world not in text
    assert "measured" not in text
    for line in (
        'archetype_http_requests_total{method="POST",route="/v1/worlds/{world}/run",status="200"} 1',
        'archetype_http_requests_total{method="POST",route="/v1/worlds/{world}/step",status="403"} 1',
        'archetype_http_request_duration_seconds_count{method="POST",route="/v1/worlds/{world}/run"} 1',
        'archetype_http_requests_total{method="GET",route="unmatched",status="404"} 1',
        'archetype_problems_total{code="ARC-G001"} 1',
        'archetype_gate_verdicts_total{kind="run",verdict="accepted"} 1',
        'archetype_gate_verdicts_total{kind="step",verdict="denied"} 1',
        "archetype_ticks_total 3",
        "archetype_event_streams 0",
        "archetype_worlds 1",
    ):
        assert line in text.splitlines(), text
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+', line), line
    assert server.http.get("/metrics", headers={"Authorization": "Bearer nobody"}).status_code == 401


def test_every_answer_has_a_request_id(server: Serving) -> None:
    """The client's id if it is a plain one, otherwise a new one, also on problems."""
    for path in ("/livez", "/v1/me", "/nothing"):
        assert re.fullmatch(r"[0-9a-f]{16}", server.ask("GET", path).headers["x-request-id"])
        assert server.ask("GET", path, headers={"X-Request-Id": "my-id.1"}).headers["x-request-id"] == "my-id.1"
        odd = server.ask("GET", path, headers={"X-Request-Id": 'a"b c'})
        assert re.fullmatch(r"[0-9a-f]{16}", odd.headers["x-request-id"])


def test_requests_are_logged_with_their_facts(server: Serving) -> None:
    """A line per request has its id, actor, route, status and duration; no address of a world."""
    records: list[logging.LogRecord] = []
    written = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.facts["request_id"] == "it":  # type: ignore[attr-defined]  # reason: given with the record
                records.append(record)
                written.set()

    logger, handler = logging.getLogger("archetype_server.access"), Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        server.problem("GET", "/worlds/nowhere", role="player", headers={"X-Request-Id": "it"})
        assert written.wait(TIMEOUT_S)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    facts: dict[str, Any] = records[0].facts  # type: ignore[attr-defined]  # reason: given with the record
    assert facts.pop("duration_ms") > 0
    expected = {
        "request_id": "it",
        "actor": "dev-player",
        "method": "GET",
        "route": "/v1/worlds/{world}",
        "status": 404,
    }
    assert facts == expected


def test_requests_are_spans_above_those_of_the_gate(server: Serving) -> None:
    """With a tracer, a request is a span of the caller's trace, and what the gate does is beneath it."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    try:
        world = server.world("traced")
        exporter.clear()
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        server.ok("POST", f"/worlds/{world}/step", headers={"traceparent": parent})
        server.ok("GET", "/livez")
    finally:
        trace._TRACER_PROVIDER = before
    spans = {one.name: one for one in exporter.get_finished_spans()}
    request, command = spans["POST /v1/worlds/{world}/step"], spans["archetype.command"]
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.parent.span_id:x}" == "b7ad6b7169203331"
    assert command.parent is not None
    assert command.parent.span_id == request.context.span_id
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200


@pytest.mark.thorough
def test_a_started_server_says_so_to_programs(tmp_path: Path) -> None:
    """``--json`` prints the address as JSON on standard output, ``--log json`` a line per request on standard error."""
    command = [sys.executable, "-c", PROGRAM, "--port", "0", "--storage", f"journal:{tmp_path / 'data'}", "--dev"]
    process = subprocess.Popen(
        [*command, "--json", "--log", "json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["event"], ready["pid"], ready["failed"]) == ("ready", process.pid, {})
        answer = httpx2.get(f"{ready['url']}/v1/me", timeout=TIMEOUT_S)
        found = next(one for line in process.stderr if line.startswith("{") and (one := json.loads(line)).get("route"))
        assert (found["request_id"], found["route"], found["status"]) == (answer.headers["x-request-id"], "/v1/me", 200)
        assert (found["actor"], found["level"], found["logger"]) == ("dev-admin", "info", "archetype_server.access")
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
