"""The gate's spans and metrics: ``archetype.command`` around every call, above the spans of the steps that it makes.

Metrics: ``archetype.gate.verdicts`` and ``archetype.gate.duration`` by command kind and verdict,
``archetype.gate.queue.depth`` by world, ``archetype.gate.credits`` and ``archetype.gate.commands`` by actor.
"""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager
from functools import lru_cache

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider, UpDownCounter
from opentelemetry.trace import Span

from archetype_core import telemetry
from archetype_core.command import ActorCtx
from archetype_gate.quota import Usage

log = logging.getLogger("archetype.gate")


def traced(kind: str, world_id: str | None, actor: ActorCtx) -> AbstractContextManager[Span] | None:
    """Enter the span of one gated call; ``None`` if nobody traces."""
    if not telemetry.is_traced():
        return None
    # Who calls is not checked yet.
    name = str(getattr(actor, "id", ""))
    labels = {"archetype.operation": kind, "archetype.world": world_id or "", "archetype.actor": name}
    span = telemetry.span("archetype.command", lambda: labels, traced=True)
    span.__enter__()
    return span


def record_verdict(kind: str, status: str, began: float, *, is_traced: bool) -> None:
    """Set a call's verdict and duration on its span, and count them."""
    if is_traced:
        span = trace.get_current_span()
        span.set_attribute("archetype.verdict", status)
        span.set_attribute("archetype.duration_ms", (time.perf_counter() - began) * 1e3)
    if telemetry.is_measured():
        labels = {"archetype.operation": kind, "archetype.verdict": status}
        telemetry.counter("archetype.gate.verdicts").add(1, labels)
        telemetry.histogram("archetype.gate.duration", "s").record(time.perf_counter() - began, labels)


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
