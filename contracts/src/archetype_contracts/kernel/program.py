"""The clause that tries random mutations and compares the kernel with a few lines of plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype_contracts.assertion import require_equal
from archetype_contracts.kernel.registry import clause
from archetype_contracts.kernel.subject import KernelSubject, Values, both, require_rows, staged
from archetype_contracts.sample import BOTH, SPOT, snapshot
from archetype_core.engine import Arrival

_IDS = st.integers(1, 8)
_MOVING = st.integers(9, 12)
_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "motto__text": st.sampled_from([None, "", "a", "é🌍", "long text " * 5]),
    "motto__data": st.sampled_from([None, b"", b"\0", b"\xff"]),
    "motto__rank": st.sampled_from([None, 0, -(2**15), 2**15 - 1]),
    "spot__x": st.sampled_from([None, 0.0, -0.0, 1.5, float("nan"), -float("nan"), float("inf")]),
}
_NAMES = tuple(_CELLS)
_VALUES = st.tuples(*_CELLS.values())
_PatchRows = list[tuple[int, dict[str, Any]]]


@st.composite
def _patch_rows(draw: st.DrawFn) -> _PatchRows:
    names = draw(st.lists(st.sampled_from(_NAMES), unique=True, max_size=3))
    one = st.tuples(_IDS | _MOVING, st.fixed_dictionaries({name: _CELLS[name] for name in names}))
    return draw(st.lists(one, min_size=1, max_size=4))


def expected(
    prior: Mapping[int, Values],
    processed: Mapping[int, Values],
    entering: Sequence[tuple[int, Values]],
    patches: Sequence[_PatchRows],
    leaving: Sequence[int],
) -> tuple[dict[int, Values], dict[int, Values]]:
    """The active rows and tombstones that the port promises."""
    gone = {entity: values for entity, values in prior.items() if entity in leaving}
    base = {entity: values for entity, values in processed.items() if entity not in leaving}
    base |= {entity: values for entity, values in dict(entering).items() if entity not in leaving}
    live = {}
    for entity, values in base.items():
        fields = dict(zip(_NAMES, values, strict=True))
        for named in (fields for patch in patches for other, fields in patch if other == entity):
            fields |= named
        live[entity] = tuple(fields[name] for name in _NAMES)
    return live, gone


@clause("K-301", "For any staged mutations of two tables the rows agree with a model in plain Python.")
def any_mutations(subject: KernelSubject) -> None:
    chosen = settings(deadline=None, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)

    @settings(chosen)
    @given(
        prior=st.dictionaries(_IDS, _VALUES, max_size=6),
        spare=st.lists(_VALUES, min_size=6, max_size=6),
        entering=st.lists(st.tuples(_IDS, _VALUES), max_size=5),
        moving=st.dictionaries(_MOVING, st.tuples(_VALUES, _CELLS[_NAMES[-1]]), max_size=3),
        patches=st.lists(_patch_rows(), max_size=3),
        leaving=st.lists(_IDS, max_size=4),
        is_processed=st.booleans(),
        shuffled=st.randoms(use_true_random=False),
    )
    def folds_like_the_model(
        *,
        prior: dict[int, Values],
        spare: list[Values],
        entering: list[tuple[int, Values]],
        moving: dict[int, tuple[Values, Any]],
        patches: list[_PatchRows],
        leaving: list[int],
        is_processed: bool,
        shuffled: Random,
    ) -> None:
        processed = dict(zip(prior, spare, strict=False))
        # The last value of a moving entity is what it has, changed by processors or not; the others it gains.
        had = {entity: values[-1] for entity, (values, _) in moving.items()}
        brings = {entity: after for entity, (_, after) in moving.items()} if is_processed else had
        arriving = [(entity, (*values[:-1], brings[entity])) for entity, (values, _) in moving.items()]
        mutations = staged(entering, patches, leaving)
        new = [*entering, *arriving]
        if moving:
            ids = pa.array(list(moving), pa.int64())
            columns = {
                name: pa.array([values[place] for values, _ in moving.values()], BOTH.schema.field(name).type)
                for place, name in enumerate(_NAMES[:-1])
            }
            shuffled.shuffle(new)
            order = pa.array([entity for entity, _ in new], pa.int64())
            mutations = replace(mutations, arriving=[Arrival(SPOT, ids, columns)], order=order)
            # Which values an entity that enters twice has does not depend on the order of the result.
            new = [(entity, dict([*entering, *arriving])[entity]) for entity, _ in new]
        tables = {BOTH: both(prior), SPOT: snapshot(SPOT, had)}
        after = {**({SPOT: snapshot(SPOT, brings)} if is_processed else {}), BOTH: both(processed)}
        gone = staged(leaving=list(moving), archetype=SPOT)
        found = subject.fold_all(tables, after, {SPOT: gone, BOTH: mutations})
        require_rows(found[BOTH], *expected(prior, processed, new, patches, leaving))
        require_rows(found[SPOT], {}, {entity: (value,) for entity, value in had.items()})

    require_equal(_NAMES, tuple(BOTH.schema.names[1:]), "columns of the model")
    folds_like_the_model()
