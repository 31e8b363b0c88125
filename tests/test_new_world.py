"""A new world is declared, created and run without a failure in its traces."""

from __future__ import annotations

from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from archetype import ArchetypeRuntime, Component, OtherStore


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


@pytest.mark.parametrize(("scheme", "other"), [("", "journal:"), ("lance:", "journal:"), ("journal:", "lance:")])
def test_a_place_opened_by_the_address_of_another_kind_is_named(tmp_path: Path, scheme: str, other: str) -> None:
    """Opening, listing and declaring by another scheme is ``OtherStore`` with the right address, and changes no file."""
    place = tmp_path / "data"
    with ArchetypeRuntime.sync(f"{scheme}{place}") as runtime:
        runtime.world("one").spawn(Dot())
        runtime.world("one").run(steps=2)
    before = sorted(place.rglob("*"))
    right = f"{scheme or 'lance:'}{place}"
    with ArchetypeRuntime.sync(f"{other}{place}") as runtime:
        for use in (
            runtime.worlds,
            lambda: runtime.open("one").info(),
            lambda: runtime.world("one").step(),
            lambda: runtime.world("another").step(),
        ):
            with pytest.raises(OtherStore, match=f"open it as {right}$|open it as {right} "):
                use()
    assert before == sorted(place.rglob("*"))
    with ArchetypeRuntime.sync(right) as runtime:
        assert runtime.open("one").info().tick == 2


def test_a_journal_in_a_directory_of_another_one_is_no_other_store(tmp_path: Path) -> None:
    """A directory with a journal named ``journal`` in it can be a journal's too."""
    for place in (tmp_path / "study" / "journal", tmp_path / "study"):
        with ArchetypeRuntime.sync(f"journal:{place}") as runtime:
            runtime.world("one").spawn(Dot())
            runtime.world("one").step()
        with ArchetypeRuntime.sync(f"journal:{place}") as runtime:
            assert runtime.open("one").info().tick == 1
