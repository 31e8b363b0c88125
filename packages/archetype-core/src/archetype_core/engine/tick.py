"""Runs one tick as a transaction: all of it is committed and becomes live, or none of it (T7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archetype_core import telemetry
from archetype_core.engine import evolution
from archetype_core.engine.mutation_log import Change, Folded, fold
from archetype_core.errors import ArchetypeError, CommitError
from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.snapshot import Snapshot
from archetype_core.store.commit import Rows, TickCommit
from archetype_core.store.timeline import Segment

if TYPE_CHECKING:
    from archetype_core.engine.context import TickContext
    from archetype_core.engine.port import Executor, Kernel
    from archetype_core.engine.processor import System
    from archetype_core.engine.state import WorldState
    from archetype_core.store.port import Store

_UNFOLDED = Folded({}, ())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a committed tick did."""

    tick: int
    segment: Segment
    changes: tuple[Change, ...]
    duration_s: float
    applied: tuple[str, ...] = ()
    """Ids of the commands that the tick applied; they are part of its commit."""
    phases: tuple[tuple[str, float], ...] = ()
    """The duration of each phase in seconds, in order."""
    written: Mapping[str, int] = field(default_factory=dict)
    """The number of rows written, by table."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The ticks that a run committed, ``first_tick`` to ``final_tick``; none if ``final_tick`` is the lower."""

    world_id: str
    run_id: str
    first_tick: int
    final_tick: int
    applied: int
    """The number of commands they applied, direct and queued."""
    duration_s: float

    @property
    def steps(self) -> int:
        """The number of committed ticks."""
        return self.final_tick - self.first_tick + 1


@dataclass(frozen=True, slots=True)
class Engine:
    """What runs the ticks of one world."""

    state: WorldState
    system: System
    store: Store
    kernel: Kernel
    executor: Executor

    def run(self, segment: Segment, context: TickContext, applied: tuple[str, ...]) -> Outcome:
        """Run and commit the next tick; blocks. After any failure the world is unchanged."""
        began = time.perf_counter()
        attributes = {
            "archetype.world": segment.world_id,
            "archetype.run": segment.run_id,
            "archetype.tick": context.tick,
        }
        with telemetry.span("archetype.step", lambda: attributes):
            evolution.evolve(self.state, self.system)
            evolution.warn(self.state, self.system)
            frozen, outbox = self.state.freeze()
            try:
                if frozen.commands:
                    applied = (*frozen.commands, *applied)
                folded = fold(frozen, self.state.index.get) if frozen else _UNFOLDED
                folded_at = time.perf_counter()
                written, letters = self._materialize(folded, context, outbox)
                made_at = time.perf_counter()
                self._commit(segment, context, written, letters, applied)
                stored_at = time.perf_counter()
            except BaseException:
                self.state.restore()
                if telemetry.is_measured():
                    telemetry.counter("archetype.tick.failures").add(1)
                raise
            evolution.announce(self.state, context.tick)
            self.state.swap(segment, written, folded.changes, letters)
        duration = time.perf_counter() - began
        if telemetry.is_measured():
            telemetry.counter("archetype.ticks").add(1)
            telemetry.histogram("archetype.tick.duration", "s").record(duration)
        return Outcome(
            context.tick,
            segment,
            tuple(folded.changes),
            duration,
            applied,
            (("fold", folded_at - began), ("processors", made_at - folded_at), ("commit", stored_at - made_at)),
            {archetype.name: rows.num_rows for archetype, rows in written.items()},
        )

    def _materialize(
        self, folded: Folded, context: TickContext, outbox: list[Any]
    ) -> tuple[dict[Archetype, Rows], Snapshot | None]:
        live = self.state.live
        busy = self.state.busy(self.system)
        with telemetry.span("archetype.phase.execute"):
            frames: Mapping[Archetype, Snapshot] = {}
            if busy:
                frames = self.executor.run(live, busy, context)
        with telemetry.span("archetype.phase.materialize"):
            # A table that did not change is not written again.
            processed = {archetype: rows for archetype, rows in frames.items() if rows is not live[archetype]}
            written = self.kernel.materialize(live, processed, folded.tables)
            written = evolution.with_evolved(written, self.state)
        sent = [*outbox, *(one for name in sorted(context.mailboxes) for one in context.mailboxes[name].sent)]
        return written, message.rows(sent) if sent else None

    def _commit(
        self,
        segment: Segment,
        context: TickContext,
        written: Mapping[Archetype, Rows],
        letters: Snapshot | None,
        applied: tuple[str, ...],
    ) -> None:
        tables = {archetype.name: rows for archetype, rows in written.items()}
        if letters is not None:
            name = letters.archetype.name
            rows = tables.get(name, Rows(self.state.live.get(letters.archetype) or Snapshot.empty(letters.archetype)))
            tables[name] = Rows(rows.live, letters)
        state = self.state
        if context.is_cancelled:
            raise asyncio.CancelledError
        commit = TickCommit(
            segment=segment,
            tick=context.tick,
            written=tables,
            next_entity_id=state.ids.next,
            carried=state.carried(frozenset(written)),
            applied=applied,
        )
        with telemetry.span("archetype.commit", lambda: {"archetype.tables": len(tables)}):
            try:
                self.store.commit((commit,))
            except ArchetypeError:
                raise
            # Whatever a store's engine raises, the caller gets one type.
            except Exception as failure:
                raise CommitError(
                    f"tick {context.tick} was not committed: {type(failure).__name__}: {failure}"
                ) from failure
        if telemetry.is_measured():
            rows_written = sum(rows.num_rows for rows in tables.values())
            telemetry.counter("archetype.commit.rows").add(rows_written)
