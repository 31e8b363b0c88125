"""The tests of T1, T8, T10 and M8 notice when the engine breaks these promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import test_evolution
import test_lens
import test_processor_result
import test_rng
import test_settle
import test_tick
import test_version

from archetype_core.engine import evolution, executor, frame_result, processor_result, settle, table_result
from archetype_core.engine.mutation_log import Despawned
from archetype_core.engine.rng import EntityRng, Rng
from archetype_core.engine.state import WorldState
from archetype_core.read import lens
from archetype_core.schema import Snapshot, version
from archetype_core.schema.evolution import Evolution
from archetype_core.schema.snapshot import Column, owned
from archetype_core.store import Rows

Patch = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, tuple[Patch, Callable[[], Any]]] = {}
"""What is broken, the patch that breaks it, and a test that must notice."""


def mutant(text: str, notices: Callable[[], Any]) -> Callable[[Patch], Patch]:
    """Enter a patch into the list."""

    def known(breaks: Patch) -> Patch:
        MUTANTS[text] = breaks, notices
        return breaks

    return known


_silent = test_processor_result.test_nothing_may_be_returned_by_who_can_have_an_effect


def _misspelt() -> None:
    test_processor_result.test_misspelt_columns_are_errors(lambda df: df)


def _filled() -> None:
    test_lens.test_snapshot_fills_what_is_missing_as_a_query_does(0)


@mutant("a table with nothing but despawns is not processed (T1)", test_tick.test_despawn_only_archetype_is_processed)
def _(patch: pytest.MonkeyPatch) -> None:
    busy = WorldState.busy

    def idle(self: Any, system: Any) -> Any:
        operations = self.frozen.operations if self.frozen else []
        gone = {self.index.get(one.entity_id) for one in operations if isinstance(one, Despawned)}
        return {table: slots for table, slots in busy(self, system).items() if table not in gone}

    patch.setattr(WorldState, "busy", idle)


@mutant(
    "a table is processed in the tick that fills it (T1)",
    lambda: test_tick.test_a_table_without_rows_is_not_processed("spawn"),
)
def _(patch: pytest.MonkeyPatch) -> None:
    freeze = WorldState.freeze

    def early(self: Any, before: Any) -> Any:
        frozen = freeze(self, before)
        for one in frozen.operations:
            if hasattr(one, "archetype"):
                self.live.setdefault(one.archetype, Snapshot.empty(one.archetype))
                self._busy = None
        return frozen

    patch.setattr(WorldState, "freeze", early)


@mutant(
    "values are not checked against their fields (T8)",
    lambda: test_settle.test_what_a_field_cannot_hold_is_refused("UUID"),
)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(executor, "settle", lambda rows, changed: rows.with_columns(changed))


@mutant("columns that are not returned are copied (T8)", test_processor_result.test_columns_that_are_not_returned_stand)
def _(patch: pytest.MonkeyPatch) -> None:
    whole = settle.settle

    def copied(rows: Any, changed: Any) -> Any:
        made = whole(rows, changed)
        others = {name: Column(owned(one.arrow)) for name, one in made.columns.items() if name not in changed}
        return made.with_columns(others)

    patch.setattr(executor, "settle", copied)


@mutant(
    "a column that the table does not have is dropped (T8)",
    _misspelt,
)
def _(patch: pytest.MonkeyPatch) -> None:
    def known(names: Any, rows: Any, kept: Any = ()) -> list[str]:
        return [name for name in names if name in rows.columns or name in kept]

    patch.setattr(frame_result, "check_names", known)
    patch.setattr(processor_result, "check_names", known)
    patch.setattr(table_result, "check_names", known)


@mutant(
    "a processor that forgets to return changes nothing (T8)",
    _silent,
)
def _(patch: pytest.MonkeyPatch) -> None:
    collect = processor_result.collect
    patch.setattr(executor, "collect", lambda box, call: {} if box[0] is None else collect(box, call))


@mutant("random numbers depend on the form of a component (T10)", test_evolution.test_random_numbers_stay_the_same)
def _(patch: pytest.MonkeyPatch) -> None:
    of = Rng.of

    def by_table(seed: int, tick: int, processor: str, rows: Any) -> Rng:
        return of(seed, tick, f"{processor} {rows.archetype.name}", rows)

    patch.setattr(Rng, "of", by_table)


@mutant("what an entity draws depends on its row (T10)", test_rng.test_branches_with_other_populations_draw_the_same)
def _(patch: pytest.MonkeyPatch) -> None:
    init = EntityRng.__init__

    def by_row(self: Any, keys: Any, rows: Any) -> None:
        init(self, keys, rows.with_columns({"entity_id": Column(pa.array(range(rows.num_rows), pa.int64()))}))

    patch.setattr(EntityRng, "__init__", by_row)


@mutant("all processors draw the same numbers (T10)", test_rng.test_seed_tick_processor_and_call_decide)
def _(patch: pytest.MonkeyPatch) -> None:
    of = Rng.of
    patch.setattr(Rng, "of", lambda seed, tick, _, rows: of(seed, tick, "", rows))


@mutant("a row that evolves leaves no tombstone (M8)", test_evolution.test_rows_move_like_a_migration)
def _(patch: pytest.MonkeyPatch) -> None:
    evolved = evolution.with_evolved

    def bare(written: Any, state: Any) -> dict[Any, Rows]:
        return {table: Rows(rows.live) for table, rows in evolved(written, state).items()}

    patch.setattr(evolution, "with_evolved", bare)


@mutant("declared renames, drops and conversions are passed over (M8)", test_version.test_declared_changes_are_made)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(version, "evolution_of", lambda _: Evolution())


@mutant(
    "undeclared changes are made in silence (M8)", test_version.test_undeclared_change_prints_both_schemas_and_the_line
)
def _(patch: pytest.MonkeyPatch) -> None:
    way = version.transition
    patch.setattr(evolution, "transition", lambda kind, cls, *, strict: way(kind, cls, strict=not strict))


@mutant(
    "rows of the previous name of a class stay as they are (M8)", test_version.test_renamed_class_takes_its_rows_along
)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolution, "claims", lambda *_: False)


@mutant(
    "staged mutations keep the form that their entity had (M8)",
    test_evolution.test_staged_mutations_fit_the_evolved_rows,
)
def _(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(evolution, "_translated", lambda log, *_: log)


@mutant(
    "history is filled with nulls where defaults were asked for (M8)",
    _filled,
)
def _(patch: pytest.MonkeyPatch) -> None:
    made = lens.Lens
    patch.setattr(lens, "Lens", lambda ways, schema, _: made(ways, schema, "null"))


@pytest.mark.parametrize("text", MUTANTS)
def test_a_test_notices(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test passes, and fails once the engine is broken."""
    breaks, notices = MUTANTS[text]
    notices()
    breaks(monkeypatch)
    with pytest.raises((Exception, pytest.fail.Exception)):  # reason: it may fail anyhow
        notices()
