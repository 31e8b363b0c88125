"""The calls that a clause made, printed as a program when the clause fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from archetype_core.store import Capability, Head, Rows, Scan, Segment, Store, TickCommit, Timeline, WorldRecord

T = TypeVar("T")

_SHOWN = 40


@dataclass(slots=True)
class Transcript:
    """Lines of a program, in the order of the calls; long programs are shortened in the middle."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def __str__(self) -> str:
        hidden = len(self.lines) - _SHOWN
        lines = self.lines if hidden <= 0 else [*self.lines[:5], f"… {hidden} more", *self.lines[5 - _SHOWN :]]
        return "\n".join(["The calls so far:", *(f"  {line}" for line in lines)])


class RecordingStore:
    """A ``Store`` that passes every call to another store and records it."""

    def __init__(self, store: Store, name: str, transcript: Transcript) -> None:
        self.inner, self.name, self._transcript = store, name, transcript

    def __repr__(self) -> str:
        return self.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._recorded(f"commit([{', '.join(map(render_tick, ticks))}])", lambda: self.inner.commit(ticks))

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return self._recorded(render_scan(scan), lambda: self.inner.scan(scan))

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        call = f"head({world_id[:8]}…{'' if at is None else f', at={at}'})"
        return self._recorded(call, lambda: self.inner.head(world_id, at=at))

    def timeline(self, world_id: str) -> Timeline:
        return self._recorded(f"timeline({world_id[:8]}…)", lambda: self.inner.timeline(world_id))

    def worlds(self) -> tuple[WorldRecord, ...]:
        return self._recorded("worlds()", self.inner.worlds)

    def files(self, scan: Scan) -> tuple[str, ...]:
        return self._recorded(f"files({render_scan(scan)})", lambda: self.inner.files(scan))

    def close(self) -> None:
        self._recorded("close()", self.inner.close)

    def _recorded(self, call: str, act: Callable[[], T]) -> T:
        try:
            result = act()
        except BaseException as exc:
            self._transcript.add(f"{self.name}.{call}  # {type(exc).__name__}")
            raise
        self._transcript.add(f"{self.name}.{call}")
        return result


def render_segment(segment: Segment) -> str:
    """A short form of a segment."""
    parent = segment.parent
    after = "" if parent is None else f" after {parent.world_id[:8]}…/{parent.run_id[:8]}… tick {parent.tick}"
    return f"{segment.name!r}/{segment.run_id[:8]}…{after}"


def render_tick(commit: TickCommit) -> str:
    """A tick in one line, with the number of rows and tombstones of every table."""
    try:
        tables = [f"{name}: {_render_rows(rows)}" for name, rows in commit.written.items()]
    except Exception:  # noqa: BLE001  # reason: some clauses commit tables that raise on purpose
        tables = ["raises when it is read"]
    tables += [f"{name}: {snapshot.num_rows} carried" for name, snapshot in commit.carried.items()]
    beside = f"attempt {commit.attempt[:20]!r}, continuation of {len(commit.continuation)} bytes"
    return f"tick {commit.tick} of {render_segment(commit.segment)} {{{', '.join(tables)}}}, {beside}"


def render_scan(scan: Scan) -> str:
    """A scan in one line."""
    ids: Any = "" if scan.entity_ids is None else f", entity_ids={scan.entity_ids.to_pylist()}"
    where = "" if scan.where is None else f", where={scan.where}"
    ticks = f"{scan.first}..{scan.last}"
    return f"scan({scan.table}, {render_segment(scan.segment)}, {ticks}, {list(scan.columns)}{ids}{where})"


def _render_rows(rows: Rows) -> str:
    gone = f" + {rows.tombstones.num_rows} tombstones" if rows.tombstones else ""
    return f"{rows.live.num_rows} rows{gone}"
