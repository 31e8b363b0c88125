"""Spans and metrics for OpenTelemetry, and none without an SDK."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from daft import DataFrame
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode
from scene import Calls, FaultyStore, Frozen, Health, Move, Position, SkippedCalls, Velocity, drive, world

from archetype_core.engine import PostTick
from archetype_core.errors import CommitError, ProcessorError
from archetype_core.schema import Archetype


@dataclass
class Heard:
    """Spans and numbers that were recorded."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def total(self, name: str) -> Any:
        """The sum of a counter, or the number of a histogram's values."""
        data = self.reader.get_metrics_data()
        points = [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]
        return sum(getattr(point, "value", getattr(point, "count", 0)) for point in points)


def context(span: ReadableSpan) -> SpanContext:
    """The context of a span."""
    assert span.context is not None
    return span.context


def attributes(seen: Any) -> dict[str, Any]:
    """The attributes of a span or of an event."""
    return dict(seen.attributes or {})


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """An SDK for one test; the process-wide one can be set only once."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader])
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", tracers)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", meters)
    yield Heard(exporter, reader)
    meters.shutdown()
    tracers.shutdown()


def test_spans_of_a_tick(heard: Heard) -> None:
    """A step has a span with its phases, processors and commit below it, with world, run, tick, tables and rows."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity()), (Position(), Velocity()), Health()])
        await there.run(2)
        first, second = heard.spans("archetype.step")
        assert second.attributes == {
            "archetype.world": there.world_id,
            "archetype.run": there.run_id,
            "archetype.tick": 1,
        }
        inner = [
            span for span in heard.exporter.get_finished_spans() if context(span).trace_id == context(second).trace_id
        ]
        below = {span.name for span in inner if span.parent and span.parent.span_id == context(second).span_id}
        assert below == {"archetype.phase.execute", "archetype.phase.materialize", "archetype.commit"}
        (processor,) = heard.spans("archetype.processor")
        (execute,) = (span for span in inner if span.name == "archetype.phase.execute")
        assert processor.parent == context(execute)
        table = Archetype.of(Position, Velocity).name
        assert processor.attributes == {"archetype.processor": "Move", "archetype.table": table, "archetype.rows": 2}
        assert [attributes(span)["archetype.tables"] for span in heard.spans("archetype.commit")] == [2, 1]
        assert first.status.status_code is StatusCode.UNSET

    drive(scenario)


def test_processors_in_other_threads_find_their_parent(heard: Heard) -> None:
    """Spans of all tables belong to their step, in threads and in coroutines."""

    async def scenario() -> None:
        async def act(df: DataFrame, **_: Any) -> DataFrame:
            await asyncio.sleep(0)
            return df

        there = world(Calls(act), Move())
        there.spawn_many([Position(), (Position(), Frozen()), (Position(), Health()), (Position(), Velocity())])
        await there.run(2)
        (_, step) = heard.spans("archetype.step")
        spans = heard.spans("archetype.processor")
        assert len(spans) == 5
        assert {span.context.trace_id for span in spans} == {step.context.trace_id}

    drive(scenario)


def test_numbers_of_ticks(heard: Heard) -> None:
    """Ticks, their durations and the rows that they wrote are counted."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn_many([(Position(), Velocity())] * 3)
        await there.run(4)
        there.despawn(1)
        await there.step()
        assert heard.total("archetype.ticks") == 5
        assert heard.total("archetype.tick.duration") == 5
        assert heard.total("archetype.commit.rows") == 4 * 3 + 2 + 1
        assert heard.total("archetype.tick.failures") == 0

    drive(scenario)


def test_failures_are_on_the_span_and_counted(heard: Heard) -> None:
    """A tick that fails counts as failed, not as a tick, and its spans hold the exception (T7)."""

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            raise RuntimeError("boom")

        store = FaultyStore()
        there = world(Calls(act), store=store)
        there.spawn(Position())
        store.faults.append(OSError("full"))
        with pytest.raises(CommitError):
            await there.step()
        await there.step()
        with pytest.raises(ProcessorError):
            await there.step()
        assert (heard.total("archetype.ticks"), heard.total("archetype.tick.failures")) == (1, 2)
        codes = [span.status.status_code for span in heard.spans("archetype.step")]
        assert codes == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.ERROR]
        assert heard.spans("archetype.commit")[0].status.status_code is StatusCode.ERROR
        (processor,) = heard.spans("archetype.processor")
        (event,) = processor.events
        assert attributes(event)["exception.type"].endswith("ProcessorError")

    drive(scenario)


def test_skips_are_on_the_span_and_counted(heard: Heard) -> None:
    """A skipped processor is marked on its span, with the exception, and counted by processor and table (T7)."""

    async def scenario() -> None:
        def act(df: DataFrame, **_: Any) -> DataFrame:
            raise RuntimeError("boom")

        there = world(SkippedCalls(act))
        there.spawn(Position())
        await there.run(3)
        spans = heard.spans("archetype.processor")
        assert [attributes(span)["archetype.skipped"] for span in spans] == [True, True]
        assert {span.status.status_code for span in spans} == {StatusCode.ERROR}
        assert {attributes(event)["exception.message"] for span in spans for event in span.events} == {"boom"}
        assert heard.total("archetype.processor.skips") == 2
        assert heard.total("archetype.ticks") == 3

    drive(scenario)


def test_failing_hooks_are_told_and_counted(heard: Heard) -> None:
    """A failing hook is counted, and is an event on the caller's span (§8)."""

    async def scenario() -> None:
        def broken(event: PostTick) -> None:
            raise RuntimeError("broken")

        there = world(hooks=[(PostTick, broken)])
        with trace.get_tracer_provider().get_tracer("test").start_as_current_span("caller"):
            await there.step()
        (caller,) = heard.spans("caller")
        (event,) = caller.events
        assert event.name == "archetype.hook.failed"
        assert attributes(event)["archetype.event"] == "PostTick"
        assert attributes(event)["exception.message"] == "broken"
        assert heard.total("archetype.hook.failures") == 1
        (step,) = heard.spans("archetype.step")
        assert step.parent == context(caller)

    drive(scenario)


LONELY = """
import asyncio, sys
from scene import Move, Position, SkippedCalls, Velocity, world
from archetype_core import telemetry
from archetype_core.engine import PostTick

async def main():
    there = world(Move(), SkippedCalls(lambda df, **_: 1 / 0), hooks=[(PostTick, lambda event: 1 / 0)])
    there.spawn(Position(), Velocity())
    await there.run(3)
    assert there.tick == 3

asyncio.run(main())
assert not telemetry.is_traced() and not telemetry.is_measured()
loaded = [name for name in sys.modules if name.startswith("opentelemetry.sdk")]
assert not loaded, loaded
print("quiet")
"""


def test_nothing_is_imported_without_an_sdk() -> None:
    """Ticks, skips and failing hooks work with the API alone, and load no SDK."""
    here = __file__.rpartition("/")[0]
    code = f"import sys; sys.path.insert(0, {here!r})\n{LONELY}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "quiet"), run.stderr


def test_attributes_cost_nothing_untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tracing, no span is made and no attribute is computed."""
    from archetype_core import telemetry

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)

    def asked() -> dict[str, Any]:
        raise AssertionError("attributes were asked for")

    with telemetry.span("archetype.step", asked) as span:
        assert not span.is_recording()
