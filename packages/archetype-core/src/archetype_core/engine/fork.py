"""Forks: copies a world's live state without copying rows, and moves it to another store."""

from __future__ import annotations

from dataclasses import replace

from archetype_core.engine.entity_ids import EntityIds
from archetype_core.engine.state import WorldState
from archetype_core.store.commit import Rows, TickCommit
from archetype_core.store.port import Store
from archetype_core.store.timeline import Segment


def branched(state: WorldState, segment: Segment) -> WorldState:
    """The state of a fork of ``state``: rows are shared, staged mutations are copied."""
    with state.lock:
        pending = state.staged.copy()
        # A command applies once, in the world it was sent to.
        pending.commands.clear()
        return WorldState(
            replace(segment, first_tick=state.tick, parent=state.tip),
            tick=state.tick,
            ids=EntityIds(state.ids.next),
            live=dict(state.live),
            index=state.index.copy(),
            delivered=state.delivered,
            pending=pending,
            continuation=state.continuation.for_another_world(),
            has_history=state.has_history,
            components=state.components,
            committed=state.committed,
            known=set(state.known),
            evolutions=list(state.evolutions),
            checked=set(state.checked),
        )


def carry_over(state: WorldState, store: Store) -> None:
    """Commit the live rows to a store without the world's ancestors, as the world's first tick there; blocks."""
    if not state.has_history:
        return
    tick, active = state.tick - 1, state.segment
    segment = Segment(active.world_id, active.run_id, tick, None, active.name, active.seed)
    written = {archetype.name: Rows(rows) for archetype, rows in state.last.items()}
    if state.delivered is not None:
        mail = state.delivered.archetype
        written[mail.name] = Rows(type(state.delivered).empty(mail), state.delivered)
    store.commit((TickCommit(segment, tick, written, state.ids.next, continuation=state.continuation.data),))
    state.segment = segment
