"""Runs one tick as a transaction: all of it is committed and becomes live, or none of it (T7)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from archetype_core import telemetry
from archetype_core.engine import evolution
from archetype_core.engine.continuation import Continuation
from archetype_core.engine.fold import Change, Folded, fold
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
from archetype_core.store.timeline import Head, Segment

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
    """A tick that is ready to be committed, and what becomes live by it."""

    segment: Segment
    tick: int
    attempt: Attempt
    changes: Sequence[Change]
    written: Mapping[Archetype, Rows]
    letters: Snapshot | None
    continuation: Continuation
    applied: tuple[str, ...]
    phases: tuple[tuple[str, float], ...]

    def outcome(self, duration_s: float, commit_s: float) -> Outcome:
        """What the tick did, once it is committed."""
        return Outcome(
            self.tick,
            self.segment,
            tuple(self.changes),
            duration_s,
            self.applied,
            (*self.phases, ("commit", commit_s)),
            {archetype.name: rows.num_rows for archetype, rows in self.written.items()},
        )


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
        with telemetry.span("archetype.step", lambda: attributes, traced=context.is_traced):
            try:
                before = attempt.freeze()
                evolution.evolve(state, self.system, before)
                evolution.warn(state, self.system)
                frozen = state.freeze(before)
                if frozen.commands:
                    applied = (*frozen.commands, *applied)
                folded = fold(frozen, state.index) if frozen else _UNFOLDED
                context.leaving = {
                    one.origin: one.entity_ids
                    for one in folded.changes
                    if one.origin is not None and one.target is None
                }
                folded_at = time.perf_counter()
                written = self._materialize(folded, context)
                sent = [*frozen.letters, *attempt.close()]
                letters = message.rows(sent) if sent else None
                continuation = Continuation.of(self.system.names, attempt.staged())
                if context.is_cancelled:
                    raise asyncio.CancelledError
                made_at = time.perf_counter()
                phases = (("fold", folded_at - began), ("processors", made_at - folded_at))
                made = _Made(
                    segment, context.tick, attempt, folded.changes, written, letters, continuation, applied, phases
                )
                attempt.prepare()
                self._commit(made, traced=context.is_traced)
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
            rows = [*(one.num_rows for one in written.values()), letters.num_rows if letters else 0]
            telemetry.counter("archetype.commit.rows").add(sum(rows))
        return made.outcome(duration, stored_at - made_at)

    def resolve(self) -> Outcome | None:
        """Settle a tick whose commit is in doubt: adopt it if the store has it, else undo it; blocks.

        Returns what an adopted tick did, ``None`` if there was no doubt or the tick is not stored.
        """
        doubt = self._doubt
        if doubt is None:
            return None
        segment = doubt.segment
        try:
            head = self._head(doubt)
            is_stored = head.tick == doubt.tick and head.attempt == doubt.attempt.id
        except WorldNotFound:
            is_stored = False
        self._doubt = None
        if not is_stored:
            doubt.attempt.fail()
            return None
        telemetry.log.warning(
            "tick %s of world %s is stored although its commit raised; it is adopted", doubt.tick, segment.name
        )
        self._swap(doubt)
        return doubt.outcome(0.0, 0.0)

    def _head(self, doubt: _Made) -> Head:
        try:
            return self.store.head(doubt.segment.world_id)
        except ArchetypeError:
            raise
        # Whatever a store's engine raises, the tick stays in doubt.
        except Exception as failure:
            reason = f"the store's head cannot be read: {type(failure).__name__}: {failure}"
            raise CommitUncertain(doubt.segment.world_id, doubt.tick, reason) from failure

    def _swap(self, made: _Made) -> None:
        """Make a committed tick the live state."""
        with self.state.lock:
            evolution.announce(self.state, made.tick)
            self.state.swap(made.segment, made.written, made.changes, made.letters)
            self.state.continuation = made.continuation
            made.attempt.commit()
        made.attempt.release()

    def _materialize(self, folded: Folded, context: TickContext) -> dict[Archetype, Rows]:
        live = self.state.live
        busy = self.state.busy(self.system)
        with telemetry.span("archetype.phase.execute", traced=context.is_traced):
            frames: Mapping[Archetype, Snapshot] = {}
            if busy:
                context.attempt.run_side_by_side(one.name for one in busy)
                frames = self.executor.run(live, busy, context)
        with telemetry.span("archetype.phase.materialize", traced=context.is_traced):
            # A table that did not change is not written again.
            processed = {archetype: rows for archetype, rows in frames.items() if rows is not live[archetype]}
            written = self.kernel.materialize(live, processed, folded.tables)
            return evolution.with_evolved(written, self.state)

    def _commit(self, made: _Made, *, traced: bool) -> None:
        state, letters = self.state, made.letters
        tables = {archetype.name: rows for archetype, rows in made.written.items()}
        if letters is not None:
            name = letters.archetype.name
            rows = tables.get(name, Rows(state.live.get(letters.archetype) or Snapshot.empty(letters.archetype)))
            tables[name] = Rows(rows.live, letters)
        commit = TickCommit(
            segment=made.segment,
            tick=made.tick,
            written=tables,
            next_entity_id=state.ids.next,
            carried=state.carried(frozenset(made.written)),
            applied=made.applied,
            attempt=made.attempt.id,
            continuation=made.continuation.data,
        )
        with telemetry.span("archetype.commit", lambda: {"archetype.tables": len(tables)}, traced=traced):
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
            except BaseException:
                self._doubt = made
                raise
