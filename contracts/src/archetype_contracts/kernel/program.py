"""The clause that tries random mutations and compares the kernel with a few lines of plain Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype_contracts.assertion import require_equal
from archetype_contracts.kernel.registry import clause
from archetype_contracts.kernel.subject import KernelSubject, Values, both, require_rows, staged
from archetype_contracts.sample import BOTH

_IDS = st.integers(1, 8)
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
    one = st.tuples(_IDS, st.fixed_dictionaries({name: _CELLS[name] for name in names}))
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
    entered = {entity: values for entity, values in dict(entering).items() if entity not in leaving}
    base = {entity: values for entity, values in prior.items() if entity not in leaving} | entered
    live = {}
    for entity, values in base.items():
        named = [fields for patch in patches for other, fields in patch if other == entity]
        if entity not in entered and not named:
            live[entity] = processed[entity]
            continue
        fields = dict(zip(_NAMES, values, strict=True))
        for each in named:
            fields |= each
        live[entity] = tuple(fields[name] for name in _NAMES)
    return live, gone


@clause("K-301", "For any staged mutations the rows agree with a model in plain Python.")
def any_mutations(subject: KernelSubject) -> None:
    chosen = settings(deadline=None, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)

    @settings(chosen)
    @given(
        prior=st.dictionaries(_IDS, _VALUES, max_size=6),
        spare=st.lists(_VALUES, min_size=6, max_size=6),
        entering=st.lists(st.tuples(_IDS, _VALUES), max_size=5),
        patches=st.lists(_patch_rows(), max_size=3),
        leaving=st.lists(_IDS, max_size=4),
    )
    def folds_like_the_model(
        prior: dict[int, Values],
        spare: list[Values],
        entering: list[tuple[int, Values]],
        patches: list[_PatchRows],
        leaving: list[int],
    ) -> None:
        processed = dict(zip(prior, spare, strict=False))
        result = subject.fold(both(prior), both(processed), staged(entering, patches, leaving))
        require_rows(result, *expected(prior, processed, entering, patches, leaving))

    require_equal(_NAMES, tuple(BOTH.schema.names[1:]), "columns of the model")
    folds_like_the_model()
