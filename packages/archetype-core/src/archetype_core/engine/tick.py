"""Runs one tick as a transaction: all of it is committed and becomes live, or none of it (T7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from archetype_core import telemetry
from archetype_core.engine import evolution
from archetype_core.engine.mutation_log import Change, Folded, fold
from archetype_core.errors import (
    ArchetypeError,
    CommitError,
    CommitUncertain,
    StoreClosed,
    TickConflict,
    WorldNotFound,
)
from archetype_core.schema import message
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.snapshot import Snapshot
from archetype_core.store.commit import Rows, TickCommit
from archetype_core.store.timeline import Segment

if TYPE_CHECKING:
    from archetype_core.engine.attempt import Attempt
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
class _Made:
    """A tick as it was committed, and what becomes live by it."""

    attempt: Attempt
    outcome: Outcome
    written: Mapping[Archetype, Rows]
    letters: Snapshot | None


@dataclass(slots=True)
class Engine:
    """What runs the ticks of one world."""

    state: WorldState
    system: System
    store: Store
    kernel: Kernel
    executor: Executor
    _doubt: _Made | None = None
    """A tick whose commit raised when its data may have been on disk already."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether the last commit may have succeeded or not; ``resolve`` finds out."""
        return self._doubt is not None

    def run(self, segment: Segment, context: TickContext, applied: tuple[str, ...]) -> Outcome:
        """Run and commit the next tick; blocks. After any failure the world is unchanged."""
        began = time.perf_counter()
        attributes = {
            "archetype.world": segment.world_id,
            "archetype.run": segment.run_id,
            "archetype.tick": context.tick,
        }
        state, attempt = self.state, context.attempt
        with telemetry.span("archetype.step", lambda: attributes):
            try:
                before = attempt.freeze()
                evolution.evolve(state, self.system, before)
                evolution.warn(state, self.system)
                frozen = state.freeze(before)
                if frozen.commands:
                    applied = (*frozen.commands, *applied)
                folded = fold(frozen, state.index.get) if frozen else _UNFOLDED
                context.leaving = {
                    one.origin: one.entity_ids for one in folded.changes if one.origin and not one.target
                }
                folded_at = time.perf_counter()
                written = self._materialize(folded, context)
                sent = [*frozen.letters, *attempt.close()]
                letters = message.rows(sent) if sent else None
                if context.is_cancelled:
                    raise asyncio.CancelledError
                made_at = time.perf_counter()
                commit = self._commit(segment, context, written, letters, applied)
                outcome = Outcome(
                    context.tick,
                    segment,
                    tuple(folded.changes),
                    time.perf_counter() - began,
                    applied,
                    (("fold", folded_at - began), ("processors", made_at - folded_at)),
                    {archetype.name: rows.num_rows for archetype, rows in written.items()},
                )
                made = _Made(attempt, outcome, written, letters)
                self._store(commit, made)
            except BaseException:
                if self._doubt is None:
                    attempt.fail()
                raise
            stored_at = time.perf_counter()
            self._swap(made)
        duration = time.perf_counter() - began
        if telemetry.is_measured():
            telemetry.counter("archetype.ticks").add(1)
            telemetry.histogram("archetype.tick.duration", "s").record(duration)
        phases = (*outcome.phases, ("commit", stored_at - made_at))
        return replace(outcome, duration_s=duration, phases=phases)

    def resolve(self) -> Outcome | None:
        """Settle a tick whose commit is in doubt: adopt it if the store has it, else undo it; blocks.

        Returns what an adopted tick did, ``None`` if there was no doubt or the tick is not stored.
        """
        doubt = self._doubt
        if doubt is None:
            return None
        segment, tick = doubt.outcome.segment, doubt.outcome.tick
        try:
            head = self.store.head(segment.world_id)
            is_stored = head.tick == tick and head.attempt == doubt.attempt.id
        except WorldNotFound:
            is_stored = False
        self._doubt = None
        if not is_stored:
            doubt.attempt.fail()
            return None
        telemetry.log.warning(
            "tick %s of world %s is stored although its commit raised; it is adopted", tick, segment.name
        )
        self._swap(doubt)
        return doubt.outcome

    def _swap(self, made: _Made) -> None:
        """Make a committed tick the live state."""
        with self.state.lock:
            evolution.announce(self.state, made.outcome.tick)
            self.state.swap(made.outcome.segment, made.written, made.outcome.changes, made.letters)
            made.attempt.commit()

    def _materialize(self, folded: Folded, context: TickContext) -> dict[Archetype, Rows]:
        live = self.state.live
        busy = self.state.busy(self.system)
        with telemetry.span("archetype.phase.execute"):
            frames: Mapping[Archetype, Snapshot] = {}
            if busy:
                staging = [one.name for one, slots in busy.items() if any(slot.takes("commands") for slot in slots)]
                if staging:
                    context.attempt.run_side_by_side(staging)
                frames = self.executor.run(live, busy, context)
        with telemetry.span("archetype.phase.materialize"):
            # A table that did not change is not written again.
            processed = {archetype: rows for archetype, rows in frames.items() if rows is not live[archetype]}
            written = self.kernel.materialize(live, processed, folded.tables)
            return evolution.with_evolved(written, self.state)

    def _commit(
        self,
        segment: Segment,
        context: TickContext,
        written: Mapping[Archetype, Rows],
        letters: Snapshot | None,
        applied: tuple[str, ...],
    ) -> TickCommit:
        tables = {archetype.name: rows for archetype, rows in written.items()}
        if letters is not None:
            name = letters.archetype.name
            rows = tables.get(name, Rows(self.state.live.get(letters.archetype) or Snapshot.empty(letters.archetype)))
            tables[name] = Rows(rows.live, letters)
        return TickCommit(
            segment=segment,
            tick=context.tick,
            written=tables,
            next_entity_id=self.state.ids.next,
            carried=self.state.carried(frozenset(written)),
            applied=applied,
            attempt=context.attempt.id,
        )

    def _store(self, commit: TickCommit, made: _Made) -> None:
        with telemetry.span("archetype.commit", lambda: {"archetype.tables": len(commit.written)}):
            try:
                self.store.commit((commit,))
            except (TickConflict, StoreClosed):
                raise
            except CommitError:
                self._doubt = made
                raise
            except ArchetypeError:
                raise
            # Whatever a store's engine raises, the caller gets one type; the data may be on disk.
            except Exception as failure:
                self._doubt = made
                reason = f"{type(failure).__name__}: {failure}"
                raise CommitUncertain(commit.segment.world_id, commit.tick, reason) from failure
        if telemetry.is_measured():
            rows_written = sum(rows.num_rows for rows in commit.written.values())
            telemetry.counter("archetype.commit.rows").add(rows_written)
