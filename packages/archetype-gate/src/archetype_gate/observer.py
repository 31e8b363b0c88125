"""Hooks that trace a world's ticks and entities through OpenTelemetry; nothing of any vendor, and nothing without an SDK."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace import Span

from archetype_core import (
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnDestroy,
    OnSpawn,
    PostTick,
    PreTick,
)
from archetype_core.engine import EntityEvent, Event, Handler


class _Observer:
    """Holds the open span of every world's tick."""

    def __init__(self) -> None:
        self._spans: dict[str, Span] = {}

    def begin(self, event: PreTick) -> None:
        span = trace.get_tracer("archetype_gate").start_span(
            "archetype.tick",
            attributes={
                "archetype.world": event.world.world_id,
                "archetype.run": event.run_id,
                "archetype.tick": event.tick,
            },
        )
        # A tick that failed is never told to have ended.
        if (failed := self._spans.pop(event.world.world_id, None)) is not None:
            failed.end()
        self._spans[event.world.world_id] = span

    def entities(self, event: EntityEvent) -> None:
        span = self._spans.get(event.world.world_id)
        if span is not None and span.is_recording():
            span.add_event(
                f"archetype.{type(event).__name__}",
                {
                    "archetype.table": event.archetype.name,
                    "archetype.entities": len(event.entity_ids),
                    "archetype.first_entity": event.entity_ids[0],
                },
            )

    def end(self, event: PostTick) -> None:
        span = self._spans.pop(event.world.world_id, None)
        if span is not None:
            span.set_attribute("archetype.rows", sum(rows.num_rows for rows in event.results.values()))
            span.end()

    def gone(self, event: OnDestroy) -> None:
        if (span := self._spans.pop(event.world.world_id, None)) is not None:
            span.end()


def otel_hooks() -> list[tuple[type[Event], Handler]]:
    """Hooks for ``runtime.world(…, hooks=otel_hooks())``: a span per tick, with an event for entities that came or went."""
    observer = _Observer()
    return [
        (PreTick, observer.begin),
        (OnSpawn, observer.entities),
        (OnDespawn, observer.entities),
        (OnComponentAdded, observer.entities),
        (OnComponentRemoved, observer.entities),
        (PostTick, observer.end),
        (OnDestroy, observer.gone),
    ]
