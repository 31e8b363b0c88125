"""Hooks that trace a world's ticks and entities through the OpenTelemetry API; without an SDK they trace nothing."""

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


class _TickTracer:
    """Holds the open span of each world's tick."""

    def __init__(self) -> None:
        self._spans: dict[str, Span] = {}

    def tick_began(self, event: PreTick) -> None:
        span = trace.get_tracer("archetype_gate").start_span(
            "archetype.tick",
            attributes={
                "archetype.world": event.world.world_id,
                "archetype.run": event.run_id,
                "archetype.tick": event.tick,
            },
        )
        # No hook runs after a failed tick, so its span is still open here.
        if (failed := self._spans.pop(event.world.world_id, None)) is not None:
            failed.end()
        self._spans[event.world.world_id] = span

    def entities_changed(self, event: EntityEvent) -> None:
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

    def tick_ended(self, event: PostTick) -> None:
        span = self._spans.pop(event.world.world_id, None)
        if span is not None:
            span.set_attribute("archetype.rows", sum(rows.num_rows for rows in event.results.values()))
            span.end()

    def world_destroyed(self, event: OnDestroy) -> None:
        if (span := self._spans.pop(event.world.world_id, None)) is not None:
            span.end()


def otel_hooks() -> list[tuple[type[Event], Handler]]:
    """Return hooks for ``runtime.world(…, hooks=otel_hooks())``.

    Each tick becomes a span, with an event for the entities of a table that were spawned, despawned or moved.
    """
    tracer = _TickTracer()
    return [
        (PreTick, tracer.tick_began),
        (OnSpawn, tracer.entities_changed),
        (OnDespawn, tracer.entities_changed),
        (OnComponentAdded, tracer.entities_changed),
        (OnComponentRemoved, tracer.entities_changed),
        (PostTick, tracer.tick_ended),
        (OnDestroy, tracer.world_destroyed),
    ]
