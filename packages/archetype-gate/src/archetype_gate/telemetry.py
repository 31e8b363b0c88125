"""The gate's spans and metrics: ``archetype.command`` around every call, above the spans of the steps that it makes.

Metrics: ``archetype.gate.verdicts`` and ``archetype.gate.duration`` by command kind and verdict,
``archetype.gate.queue.depth`` by world, ``archetype.gate.credits`` and ``archetype.gate.commands`` by actor.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from functools import lru_cache

from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider, UpDownCounter
from opentelemetry.trace import Span

from archetype_core import telemetry
from archetype_core.command import ActorCtx
from archetype_gate.quota import Usage

log = logging.getLogger("archetype.gate")


def command_span(kind: str, world_id: str | None, actor: ActorCtx) -> AbstractContextManager[Span]:
    """Open the span of one gated call."""
    return telemetry.span(
        "archetype.command",
        lambda: {"archetype.operation": kind, "archetype.world": world_id or "", "archetype.actor": actor.id},
    )


def record_verdict(span: Span, kind: str, status: str, duration_s: float) -> None:
    """Set a call's verdict and duration on its span, and count them."""
    if span.is_recording():
        span.set_attribute("archetype.verdict", status)
        span.set_attribute("archetype.duration_ms", duration_s * 1e3)
    if telemetry.is_measured():
        labels = {"archetype.operation": kind, "archetype.verdict": status}
        telemetry.counter("archetype.gate.verdicts").add(1, labels)
        telemetry.histogram("archetype.gate.duration", "s").record(duration_s, labels)


def count_usage(usage: Usage) -> None:
    """Count the credits and commands that a call was charged."""
    if telemetry.is_measured():
        telemetry.counter("archetype.gate.credits").add(usage.credits, {"archetype.actor": usage.actor})
        telemetry.counter("archetype.gate.commands").add(usage.commands, {"archetype.actor": usage.actor})


def change_queue_depth(change: int, world_id: str) -> None:
    """Count commands that entered a world's queue, or left it if ``change`` is negative."""
    if change and telemetry.is_measured():
        _depth(metrics.get_meter_provider()).add(change, {"archetype.world": world_id})


@lru_cache(maxsize=8)
def _depth(provider: MeterProvider) -> UpDownCounter:
    return provider.get_meter("archetype_gate").create_up_down_counter("archetype.gate.queue.depth")
