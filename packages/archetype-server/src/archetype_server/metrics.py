"""What a server counts, as Prometheus reads it. Labels are templates of routes, kinds and codes: never ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from archetype_core.errors import PermissionDenied, QuotaExceeded

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""The upper bounds of durations, in seconds."""
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The counts of one server since its start. Of its event loop."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, ...]] = Counter()
        self._durations: dict[tuple[str, str], tuple[list[int], float]] = {}
        self._problems: Counter[tuple[str, ...]] = Counter()
        self._verdicts: Counter[tuple[str, ...]] = Counter()
        self.in_flight = 0
        """Requests that are not answered yet, event streams among them."""

    def answered(self, method: str, route: str, status: int, duration_s: float, *, is_stream: bool) -> None:
        """Count an answer; a stream lasts as long as its reader likes, so its duration says nothing."""
        method = method if method in METHODS else "OTHER"
        self._requests[method, route, str(status)] += 1
        if is_stream:
            return
        counts, total = self._durations.setdefault((method, route), ([0] * (len(BUCKETS) + 1), 0.0))
        place = next((place for place, most in enumerate(BUCKETS) if duration_s <= most), len(BUCKETS))
        counts[place] += 1
        self._durations[method, route] = (counts, total + duration_s)

    def refused(self, code: str) -> None:
        """Count a problem by its code."""
        self._problems[(code,)] += 1

    @contextmanager
    def deciding(self, kind: str) -> Iterator[None]:
        """Count what the gate says about a command: it is accepted, denied, or ends with another error."""
        verdict = "error"
        try:
            yield
            verdict = "accepted"
        except (PermissionDenied, QuotaExceeded):
            verdict = "denied"
            raise
        finally:
            self._verdicts[kind, verdict] += 1

    def text(self, *, ticks: int, streams: int, worlds: int) -> str:
        """Return everything in Prometheus' text format."""
        lines = [
            *_family("archetype_http_requests_total", "counter", "Requests that were answered."),
            *_samples("archetype_http_requests_total", ("method", "route", "status"), self._requests),
            *_family(
                "archetype_http_request_duration_seconds", "histogram", "How long answers took, streams excepted."
            ),
            *self._histogram_lines("archetype_http_request_duration_seconds"),
            *_family("archetype_http_requests_in_flight", "gauge", "Requests that are not answered yet."),
            f"archetype_http_requests_in_flight {self.in_flight}",
            *_family("archetype_problems_total", "counter", "Answers that were no success, by code."),
            *_samples("archetype_problems_total", ("code",), self._problems),
            *_family("archetype_gate_verdicts_total", "counter", "What became of commands."),
            *_samples("archetype_gate_verdicts_total", ("kind", "verdict"), self._verdicts),
            *_family("archetype_ticks_total", "counter", "Ticks that were committed."),
            f"archetype_ticks_total {ticks}",
            *_family("archetype_event_streams", "gauge", "Event streams that are open."),
            f"archetype_event_streams {streams}",
            *_family("archetype_worlds", "gauge", "Worlds that are live."),
            f"archetype_worlds {worlds}",
        ]
        return "\n".join(lines) + "\n"

    def _histogram_lines(self, name: str) -> Iterable[str]:
        for (method, route), (counts, total) in sorted(self._durations.items()):
            labels = _labels(("method", "route"), (method, route))
            reached = 0
            for most, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                reached += count
                yield f'{name}_bucket{{{labels},le="{most}"}} {reached}'
            yield f"{name}_sum{{{labels}}} {total!r}"
            yield f"{name}_count{{{labels}}} {reached}"


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _samples(name: str, labels: tuple[str, ...], counts: Mapping[tuple[str, ...], int]) -> Iterable[str]:
    for values, count in sorted(counts.items()):
        yield f"{name}{{{_labels(labels, values)}}} {count}"


def _labels(names: Iterable[str], values: Iterable[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
