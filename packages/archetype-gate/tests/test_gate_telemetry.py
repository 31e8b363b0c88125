"""Spans and metrics of the gate, and the hooks of otel_hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from stage import ADMIN, PLAYER, VIEWER, Move, Position, Velocity, create_world, open_gate, run_scenario, step

from archetype_core import StorageConfig
from archetype_core.command import AddHook, Despawn, DestroyWorld, Spawn, Step
from archetype_core.errors import PermissionDenied
from archetype_gate import otel_hooks

MEMORY = StorageConfig("memory:")


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Collects the spans of the process. OpenTelemetry accepts one tracer provider per process, so it stays configured."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    """The spans of one test."""
    exporter.clear()
    return exporter


@pytest.fixture(scope="module")
def measures() -> InMemoryMetricReader:
    """Collects the metrics of the process, likewise."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """The attributes of a span."""
    return span.attributes or {}


def test_every_call_has_a_span_above_its_steps(spans: InMemorySpanExporter) -> None:
    """A gated call is a span with operation, world, actor, verdict and duration; a step's span is its child."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY, "w", Move())
            await gate.execute(PLAYER, Spawn((Position(), Velocity())), world_id)
            await gate.execute(ADMIN, Step(), world_id)
            with pytest.raises(PermissionDenied):
                await gate.execute(VIEWER, Step(), world_id)

    run_scenario(scenario)
    calls = [span for span in spans.get_finished_spans() if span.name == "archetype.command"]
    verdicts = [(attributes(span)["archetype.operation"], attributes(span)["archetype.verdict"]) for span in calls]
    assert verdicts == [
        ("create_world", "applied"),
        ("add_processor", "applied"),
        ("spawn", "queued"),
        ("step", "applied"),
        ("step", "rejected"),
    ]
    assert attributes(calls[2])["archetype.actor"] == PLAYER.id
    assert attributes(calls[3])["archetype.world"]
    assert all(attributes(span)["archetype.duration_ms"] > 0 for span in calls)
    (inner,) = [span for span in spans.get_finished_spans() if span.name == "archetype.step"]
    assert inner.parent is not None
    assert inner.parent.span_id == calls[3].context.span_id


def test_verdicts_queue_and_quota_are_counted(measures: InMemoryMetricReader) -> None:
    """Verdicts by operation, queue depth by world and used credits by actor are metrics."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            for tick in (0, 0, 9):
                await gate.submit_spawn(PLAYER, world_id, Position(), tick=tick)
            await step(gate, world_id)

    found: dict[tuple[Any, ...], Any] = {}

    async def watched() -> None:
        await scenario()
        data = measures.get_metrics_data()
        assert data is not None
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        labels = tuple(value for _, value in sorted((point.attributes or {}).items()) if value != "ada")
                        found[metric.name, *labels] = getattr(point, "value", None)

    run_scenario(watched)
    assert found["archetype.gate.verdicts", "spawn", "queued"] == 3
    assert found["archetype.gate.verdicts", "step", "applied"] == 1
    assert found["archetype.gate.credits", "pat"] == 3
    depths = [value for key, value in found.items() if key[0] == "archetype.gate.queue.depth"]
    # Shutting down empties the queue of the world, which had one command left.
    assert depths == [0]


def test_hooks_trace_ticks_and_entities(spans: InMemorySpanExporter) -> None:
    """Each tick is a span, with an event for spawned and despawned entities."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            for event, handler in otel_hooks():
                await gate.execute(ADMIN, AddHook(event, handler), world_id)
            entity = await gate.execute(ADMIN, Spawn((Position(),)), world_id)
            await step(gate, world_id)
            await gate.execute(ADMIN, Despawn((entity,)), world_id)
            await step(gate, world_id)
            await gate.execute(ADMIN, DestroyWorld(), world_id)

    run_scenario(scenario)
    ticks = [span for span in spans.get_finished_spans() if span.name == "archetype.tick"]
    assert [attributes(span)["archetype.tick"] for span in ticks] == [0, 1]
    assert [[event.name for event in span.events] for span in ticks] == [["archetype.OnSpawn"], ["archetype.OnDespawn"]]
