"""A new world is declared, created and run without a failure in its traces."""

from __future__ import annotations

from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from archetype import ArchetypeRuntime, Component


class Dot(Component):
    """An entity that does nothing."""


def test_a_new_world_leaves_no_error_span(tmp_path: Path) -> None:
    """Looking for a world that does not exist yet and creating it is no error in any exported span."""
    exporter = InMemorySpanExporter()
    # OpenTelemetry accepts one provider per process; another test may have set it.
    if not isinstance(provider := trace.get_tracer_provider(), TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with ArchetypeRuntime.sync(f"journal:{tmp_path / 'history'}") as runtime:
        world = runtime.world("new")
        world.spawn(Dot())
        world.run(steps=2)
    spans = exporter.get_finished_spans()
    assert "open_world" in [(one.attributes or {}).get("archetype.operation") for one in spans]
    assert [one.name for one in spans if not one.status.is_ok] == []
