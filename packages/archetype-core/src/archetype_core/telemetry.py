"""Spans and metrics through the OpenTelemetry API; without an SDK each call costs one check.

Names: spans ``archetype.step``, ``archetype.phase.*``, ``archetype.processor``, ``archetype.commit``; metrics
``archetype.ticks``, ``archetype.tick.duration``, ``archetype.commit.rows``, ``archetype.hook.failures``,
``archetype.processor.skips``, ``archetype.tick.failures``.
"""

from __future__ import annotations

import contextvars
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.environment_variables import OTEL_PYTHON_METER_PROVIDER, OTEL_PYTHON_TRACER_PROVIDER
from opentelemetry.metrics import Counter, Histogram, _internal
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from archetype_core.user_traceback import exc_info

log = logging.getLogger("archetype")

_NO_SPAN: AbstractContextManager[Span] = nullcontext(trace.INVALID_SPAN)


# Asked for every command and tick: the public functions look into the environment each time, which costs microseconds.
_IS_TRACER_NAMED = OTEL_PYTHON_TRACER_PROVIDER in os.environ
_IS_METER_NAMED = OTEL_PYTHON_METER_PROVIDER in os.environ


def is_traced() -> bool:
    """Whether a tracer provider is configured."""
    return trace._TRACER_PROVIDER is not None or _IS_TRACER_NAMED  # noqa: SLF001  # reason: see above


def is_measured() -> bool:
    """Whether a meter provider is configured."""
    return _internal._METER_PROVIDER is not None or _IS_METER_NAMED  # noqa: SLF001  # reason: see above


def span(
    name: str, attributes: Callable[[], Mapping[str, Any]] | None = None, *, traced: bool | None = None
) -> AbstractContextManager[Span]:
    """Open a span that records the exception that ends it; ``attributes`` is called only when traced.

    A tick asks ``is_traced`` once and passes the answer, so that all its spans agree.
    """
    if not (is_traced() if traced is None else traced):
        return _NO_SPAN
    return _span(name, dict(attributes()) if attributes else {})


@contextmanager
def _span(name: str, attributes: Mapping[str, Any]) -> Iterator[Span]:
    with _tracer(trace.get_tracer_provider()).start_as_current_span(name, attributes=dict(attributes)) as current:
        yield current


def processor(name: str, table: str, rows: int, traced: bool) -> AbstractContextManager[Span]:
    """Open the span of one processor on one table; the tick passes ``traced`` because it checks once for all."""
    if not traced:
        return _NO_SPAN
    return span(
        "archetype.processor",
        lambda: {"archetype.processor": name, "archetype.table": table, "archetype.rows": rows},
    )


def processor_skipped(current: Span, name: str, table: str, tick: int, failure: BaseException) -> None:
    """Log, count and trace that a failing processor's frame was dropped."""
    text = error_text(failure)
    log.warning("processor %s skipped on %s at tick %d: %s", name, table, tick, text, exc_info=exc_info(failure))
    counter("archetype.processor.skips").add(1, {"archetype.processor": name, "archetype.table": table})
    current.set_attribute("archetype.skipped", True)
    current.record_exception(failure)
    current.set_status(Status(StatusCode.ERROR, "skipped"))


def hook_failed(hook: str, event: str, failure: BaseException, *, is_raised: bool) -> None:
    """Log, count and trace that a hook failed; without its traceback if the caller gets that."""
    info = None if is_raised else exc_info(failure)
    log.warning("hook %s failed on %s: %s", hook, event, error_text(failure), exc_info=info)
    counter("archetype.hook.failures").add(1, {"archetype.hook": hook, "archetype.event": event})
    trace.get_current_span().add_event(
        "archetype.hook.failed",
        {"archetype.hook": hook, "archetype.event": event, "exception.message": error_text(failure)},
    )


def error_text(failure: BaseException) -> str:
    """Return the text of an exception, even if its ``__str__`` fails."""
    try:
        return str(failure)
    except Exception:  # noqa: BLE001  # reason: somebody else's __str__
        return f"({type(failure).__name__} whose text cannot be read)"


def counter(name: str) -> Counter:
    """Return the named counter of the configured meter provider."""
    return _counter(metrics.get_meter_provider(), name)


def histogram(name: str, unit: str) -> Histogram:
    """Return the named histogram of the configured meter provider."""
    return _histogram(metrics.get_meter_provider(), name, unit)


def in_current_context(work: Callable[[], Any]) -> Callable[[], Any]:
    """Bind a function to the current context variables, so that its spans in another thread find their parent."""
    context = contextvars.copy_context()
    return lambda: context.run(work)


@lru_cache(maxsize=8)
def _tracer(provider: trace.TracerProvider) -> Tracer:
    return provider.get_tracer("archetype_core")


@lru_cache(maxsize=64)
def _counter(provider: metrics.MeterProvider, name: str) -> Counter:
    return provider.get_meter("archetype_core").create_counter(name)


@lru_cache(maxsize=64)
def _histogram(provider: metrics.MeterProvider, name: str, unit: str) -> Histogram:
    return provider.get_meter("archetype_core").create_histogram(name, unit)
