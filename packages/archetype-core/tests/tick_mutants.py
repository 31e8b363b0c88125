"""Small breakages of the engine, each of one promise about the tick; the state machine must notice every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pyarrow as pa
import pytest

from archetype_core.engine import World, attempt, continuation, fold, fork, materialize, staging
from archetype_core.engine.attempt import Attempt, AttemptDraft
from archetype_core.engine.continuation import Continuation
from archetype_core.engine.entity_ids import IdBlocks
from archetype_core.engine.mutation_log import MutationLog
from archetype_core.engine.rng import Rng
from archetype_core.engine.state import WorldState
from archetype_core.engine.tick import Engine
from archetype_core.errors import EntityNotFound
from archetype_core.read import history
from archetype_core.store.commit import Rows

Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Mutant] = {}
"""What is broken, and the patch that breaks it."""


def mutant(text: str) -> Callable[[Mutant], Mutant]:
    """Enter a patch into the list."""

    def known(breaks: Mutant) -> Mutant:
        MUTANTS[text] = breaks
        return breaks

    return known


@mutant("mutations are folded before the processors, whose columns win (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    folded = materialize._folded

    def first(prior: Any, processed: Any, staged: Any, arriving: Any) -> Rows:
        changed = {name for name, one in processed.columns.items() if one is not prior.columns[name]}
        kept = [
            replace(one, columns={name: column for name, column in one.columns.items() if name not in changed})
            for one in staged.patches
        ]
        return folded(prior, processed, replace(staged, patches=tuple(kept)), arriving)

    patch.setattr(materialize, "_folded", first)


@mutant("an entity that is updated is not processed (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    folded = materialize._folded

    def frozen(prior: Any, processed: Any, staged: Any, arriving: Any) -> Rows:
        ids = [one.entity_ids for one in staged.patches]
        old = materialize.Patch(
            prior.entity_ids, {name: one.arrow for name, one in prior.columns.items() if name != "entity_id"}
        )
        if not ids or not prior.num_rows:
            return folded(prior, processed, staged, arriving)
        named = pa.compute.is_in(prior.entity_ids, value_set=pa.concat_arrays(ids))
        old = materialize.Patch(
            old.entity_ids.filter(named), {name: one.filter(named) for name, one in old.columns.items()}
        )
        return folded(prior, processed, replace(staged, patches=(old, *staged.patches)), arriving)

    patch.setattr(materialize, "_folded", frozen)


@mutant("an update names all fields (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    given = staging._given_values

    def every(kind: Any, component: Any, row: Any) -> Any:
        return given(kind, component, row) and dict(zip(staging._columns(kind), row, strict=True))

    patch.setattr(staging, "_given_values", every)


@mutant("a component that was read names all fields once one is assigned (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    from archetype_core.schema import ComponentType

    decode = ComponentType.decode

    def read(self: Any, row: Any, cls: Any = None) -> Any:
        component = decode(self, row, cls)
        component.model_fields_set.update(type(component).model_fields)
        return component

    patch.setattr(ComponentType, "decode", read)


@mutant("an entity that moves takes its values of the tick before along (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    arrived = materialize._arrived
    patch.setattr(materialize, "_arrived", lambda table, one, prior, processed: arrived(table, one, prior, {}))


@mutant("a tombstone has processed values (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    folded = materialize._folded
    patch.setattr(
        materialize, "_folded", lambda prior, processed, staged, new: folded(processed, processed, staged, new)
    )


@mutant("there are no tombstones (T3)")
def _(patch: pytest.MonkeyPatch) -> None:
    folded = materialize._folded
    patch.setattr(materialize, "_folded", lambda *given: Rows(folded(*given).live))


@mutant("the first write of a field wins (T4)")
def _(patch: pytest.MonkeyPatch) -> None:
    def lay(self: Any, values: Any) -> None:
        for kind, columns in values.items():
            self.values[kind] = {**columns, **self.values.get(kind, {})}

    patch.setattr(fold._Entity, "lay", lay)


@mutant("a spawn that is despawned in its tick leaves a row (T4)")
def _(patch: pytest.MonkeyPatch) -> None:
    folded = fold._Fold._folded

    def born(self: Any, patches: Any) -> Any:
        for one in self.entities.values():
            one.place = one.place or one.birth
        return folded(self, patches)

    patch.setattr(fold._Fold, "_folded", born)


@mutant("new rows are in the order of their ids (T4)")
def _(patch: pytest.MonkeyPatch) -> None:
    def ascending(new: Any, order: Any) -> Any:
        return new.take(pa.compute.sort_indices(new.entity_ids).cast(pa.int64()))

    patch.setattr(materialize, "_in_order", ascending)


@mutant("a component that is removed and added again keeps its processed values (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    move = fold._Fold._move

    def kept(self: Any, moved: Any, entity: Any) -> None:
        known = {kind for kind in moved.gained if entity.origin is not None and kind in entity.origin}
        move(self, moved, entity)
        for kind in known:
            entity.values.pop(kind, None)
            if entity.place != entity.origin:
                entity.values[kind] = moved.gained[kind]

    patch.setattr(fold._Fold, "_move", kept)


@mutant("an update of a despawned entity is staged (T4)")
def _(patch: pytest.MonkeyPatch) -> None:
    def placed(self: Any, draft: Any, entity_id: int) -> Any:
        found = draft.place(entity_id) or self._state.index.get(entity_id)
        if found is None:
            raise EntityNotFound(entity_id, "world")
        return found

    patch.setattr(staging.Staging, "_placed", placed)


@mutant("what a failed attempt's processors staged survives (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    fail = Attempt.fail

    def survive(self: Any) -> None:
        was_open = self.status == "open"
        fail(self)
        for draft in self._drafts.values() if was_open else ():
            self._state.pending.extend(draft.log)

    patch.setattr(Attempt, "fail", survive)


@mutant("what a failed attempt's hooks staged survives (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    freeze = WorldState.freeze

    def whole(self: Any, before: Any) -> Any:
        self._taken = freeze(self, before)
        return self._taken

    patch.setattr(WorldState, "freeze", whole)


@mutant("commands of a skipped processor are kept (T2)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attempt, "rewind", lambda *_: None)


@mutant("what a pre-tick hook stages lands one tick later (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    def later(self: Any) -> MutationLog:
        self._is_frozen = True
        self._drafts[attempt._HOOKS] = self._before
        return MutationLog()

    patch.setattr(Attempt, "freeze", later)


@mutant("ids of a failed attempt are not given back (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AttemptDraft, "drop", staticmethod(lambda _: None))


@mutant("ids of a table's block are lost if the commit fails (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AttemptDraft, "give_back", lambda self, ids: self.state.ids.undo([ids] if ids else [], ()))


@mutant("ids are given out again after a commit (M5)")
def _(patch: pytest.MonkeyPatch) -> None:
    commit = Attempt.commit

    def again(self: Any) -> None:
        commit(self)
        AttemptDraft.drop((*self._drafts.values(), self._before))

    patch.setattr(Attempt, "commit", again)


@mutant("tables that run side by side take ids from one counter (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IdBlocks, "__contains__", lambda *_: False)


@mutant("a tick in doubt is repeated although it is stored (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    def repeat(self: Any) -> None:
        doubt, self._doubt = self._doubt, None
        doubt.attempt.fail()

    patch.setattr(Engine, "resolve", repeat)


@mutant("a tick in doubt is adopted although it is not stored (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    def adopt(self: Any) -> Any:
        doubt, self._doubt = self._doubt, None
        self._swap(doubt)
        return doubt.outcome

    patch.setattr(Engine, "resolve", adopt)


@mutant("letters of processors are delivered twice (G7)")
def _(patch: pytest.MonkeyPatch) -> None:
    close = Attempt.close
    patch.setattr(Attempt, "close", lambda self: close(self) * 2)


@mutant("letters of processors are delivered a tick late (G7)")
def _(patch: pytest.MonkeyPatch) -> None:
    close = Attempt.close

    def late(self: Any) -> Any:
        for draft in self._drafts.values():
            for letter in draft.sent:
                draft.log.send(letter)
        close(self)
        return []

    patch.setattr(Attempt, "close", late)


@mutant("commands of tables are in the order in which threads began (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(attempt, "sorted", lambda found, **_: list(found), raising=False)


@mutant("commands see what others stage meanwhile (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    after_tick = WorldState.place_after_tick

    def place(self: Any, entity_id: int) -> Any:
        return self.pending.place(entity_id, lambda one: after_tick(self, one))

    patch.setattr(WorldState, "place", place)
    patch.setattr(WorldState, "place_after_tick", place)


@mutant("what is staged for another world is there before the commit (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    draft = Attempt.draft
    patch.setattr(
        Attempt, "draft", lambda self, state, table: draft(self, state, table) if state is self._state else state
    )


@mutant("what is staged for another world is lost (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AttemptDraft, "pass_on", lambda *_: None)


@mutant("a handle inside a processor is an outside caller (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staging, "draft_of", lambda state: state)


@mutant("a task that outlives a failed attempt is an outside caller (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    draft = Attempt.draft
    patch.setattr(
        Attempt, "draft", lambda self, state, table: state if self.status == "failed" else draft(self, state, table)
    )


@mutant("every attempt draws other random numbers (T10)")
def _(patch: pytest.MonkeyPatch) -> None:
    numbers, of = count(), Rng.of
    patch.setattr(Rng, "of", lambda seed, *given: of(seed + next(numbers), *given))


@mutant("a failed tick loses what was staged (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    def lose(self: Any) -> None:
        self.frozen = self._taken = None

    patch.setattr(WorldState, "restore", lose)


@mutant("a failed tick puts its mutations behind those staged since (T4)")
def _(patch: pytest.MonkeyPatch) -> None:
    def behind(self: Any) -> None:
        if self._taken is not None:
            self.pending = self.pending.then(self._taken)
        self.frozen = self._taken = None

    patch.setattr(WorldState, "restore", behind)


@mutant("what others stage during a tick is lost (T7)")
def _(patch: pytest.MonkeyPatch) -> None:
    commit = Attempt.commit

    def alone(self: Any) -> None:
        self._state.pending = MutationLog()
        commit(self)

    patch.setattr(Attempt, "commit", alone)


@mutant("a fork shares the live tables of its source (R3)")
def _(patch: pytest.MonkeyPatch) -> None:
    from archetype_core.engine import world

    def shared(state: Any, segment: Any) -> Any:
        branch = fork.branched(state, segment)
        branch.live = state.live
        return branch

    patch.setattr(world, "branched", shared)


@mutant("a fork loses the letters of the last tick (R3)")
def _(patch: pytest.MonkeyPatch) -> None:
    from archetype_core.engine import world

    def silent(state: Any, segment: Any) -> Any:
        branch = fork.branched(state, segment)
        branch.delivered = None
        return branch

    patch.setattr(world, "branched", silent)


@mutant("a fork does not copy what is pending (R3)")
def _(patch: pytest.MonkeyPatch) -> None:
    from archetype_core.engine import world

    def empty(state: Any, segment: Any) -> Any:
        branch = fork.branched(state, segment)
        branch.pending = MutationLog()
        return branch

    patch.setattr(world, "branched", empty)


@mutant("a world that is opened again has lost its letters (R5)")
def _(patch: pytest.MonkeyPatch) -> None:
    load = history.load
    patch.setattr(history, "load", lambda *given: (load(*given)[0], None))


@mutant("what processors staged is not stored with their tick (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    of = Continuation.of
    patch.setattr(Continuation, "of", lambda names, _=None: of(names))


@mutant("what processors staged comes back in another order (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    fill = continuation._fill
    patch.setattr(continuation, "_fill", lambda log, tables, where: fill(log, reversed(tables), where))
    patch.setattr(continuation, "sorted", lambda found, **_: list(found), raising=False)


@mutant("components that processors remove are there again after a restart (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    written = continuation._written
    patch.setattr(continuation, "_written", lambda group: written(replace(group, lost=())))


@mutant("messages of a handle inside a processor are lost in a restart (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(continuation, "_letters", lambda _: ())


@mutant("a fork of the past lacks what the processors of its tick staged (R3)")
def _(patch: pytest.MonkeyPatch) -> None:
    past = World._forked_past

    def bare(self: Any, segment: Any, tick: int) -> Any:
        there = past(self, segment, tick)
        there._state.pending, there._state.continuation = MutationLog(), Continuation()
        return there

    patch.setattr(World, "_forked_past", bare)


@mutant("what processors staged in the last tick refuses a fork (R3)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(staging.Staging, "uncommitted", staging.Staging.pending)


@mutant("handles of tables that run side by side take ids from one counter (T9)")
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attempt, "_id_run", lambda *_: None)


@mutant("messages that wait in a tick in doubt do not count as pending (R3)")
def _(patch: pytest.MonkeyPatch) -> None:
    def counted(self: Any) -> int:
        state = self._state
        return (state.frozen.count if state.frozen else 0) + int(state.pending.count)

    patch.setattr(staging.Staging, "pending", property(counted))
