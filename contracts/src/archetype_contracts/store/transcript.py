"""A record of the verbs a clause called, printed as a program where the clause fails."""

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
    """Lines of a program, in the order of the calls."""

    lines: list[str] = field(default_factory=list)

    def note(self, line: str) -> None:
        self.lines.append(line)

    def __str__(self) -> str:
        hidden = len(self.lines) - _SHOWN
        lines = self.lines if hidden <= 0 else [*self.lines[:5], f"… {hidden} more", *self.lines[5 - _SHOWN :]]
        return "\n".join(["The program so far:", *(f"  {line}" for line in lines)])


class Witness:
    """A ``Store`` that passes every verb on to another and notes it."""

    def __init__(self, store: Store, name: str, transcript: Transcript) -> None:
        self.inner, self.name, self._transcript = store, name, transcript

    def __repr__(self) -> str:
        return self.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        self._noted(f"commit([{', '.join(map(spell_tick, ticks))}])", lambda: self.inner.commit(ticks))

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return self._noted(spell_scan(scan), lambda: self.inner.scan(scan))

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        call = f"head({world_id[:8]}…{'' if at is None else f', at={at}'})"
        return self._noted(call, lambda: self.inner.head(world_id, at=at))

    def timeline(self, world_id: str) -> Timeline:
        return self._noted(f"timeline({world_id[:8]}…)", lambda: self.inner.timeline(world_id))

    def worlds(self) -> tuple[WorldRecord, ...]:
        return self._noted("worlds()", self.inner.worlds)

    def files(self, scan: Scan) -> tuple[str, ...]:
        return self._noted(f"files({spell_scan(scan)})", lambda: self.inner.files(scan))

    def close(self) -> None:
        self._noted("close()", self.inner.close)

    def _noted(self, call: str, act: Callable[[], T]) -> T:
        try:
            result = act()
        except BaseException as exc:
            self._transcript.note(f"{self.name}.{call}  # {type(exc).__name__}")
            raise
        self._transcript.note(f"{self.name}.{call}")
        return result


def spell_segment(segment: Segment) -> str:
    """A segment in a few characters."""
    parent = segment.parent
    grown = "" if parent is None else f" after {parent.world_id[:8]}…/{parent.run_id[:8]}… tick {parent.tick}"
    return f"{segment.name!r}/{segment.run_id[:8]}…{grown}"


def spell_tick(commit: TickCommit) -> str:
    """A tick in one line: the rows and tombstones of every table."""
    try:
        tables = [f"{name}: {_spell_rows(rows)}" for name, rows in commit.written.items()]
    except Exception:  # noqa: BLE001  # reason: clauses commit mappings that break on purpose
        tables = ["breaks while it is read"]
    tables += [f"{name}: {snapshot.num_rows} carried" for name, snapshot in commit.carried.items()]
    return f"tick {commit.tick} of {spell_segment(commit.segment)} {{{', '.join(tables)}}}"


def spell_scan(scan: Scan) -> str:
    """A scan in one line."""
    ids: Any = "" if scan.entity_ids is None else f", entity_ids={scan.entity_ids.to_pylist()}"
    where = "" if scan.where is None else f", where={scan.where}"
    ticks = f"{scan.first}..{scan.last}"
    return f"scan({scan.table}, {spell_segment(scan.segment)}, {ticks}, {list(scan.columns)}{ids}{where})"


def _spell_rows(rows: Rows) -> str:
    gone = f" + {rows.tombstones.num_rows} tombstones" if rows.tombstones else ""
    return f"{rows.live.num_rows} rows{gone}"
