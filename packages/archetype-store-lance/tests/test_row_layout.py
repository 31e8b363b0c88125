"""How ticks are grouped into row groups, and where their rows lie."""

from __future__ import annotations

import pytest

from archetype_contracts.sample import spots
from archetype_store_lance import Limits
from archetype_store_lance.row_layout import RowGroup, Write, row_groups


def writes(*groups: tuple[int, dict[int, float | None]]) -> list[Write]:
    """The rows that some ticks write to one table."""
    return [Write(tick, spots(values)) for tick, values in groups]


def grouped(ticks: list[Write], start: int = 0) -> list[RowGroup]:
    """The row groups of some writes, with the default limits."""
    return [group for group, _ in row_groups(ticks, start, Limits())]


def test_ticks_of_the_same_entities_share_a_row_group() -> None:
    """Consecutive ticks with the same entities in the same order are one row group; others begin the next."""
    same: dict[int, float | None] = {1: 1.0, 2: 2.0}
    found = grouped(writes((3, same), (4, same), (5, {2: 1.0, 1: 0.0}), (6, {}), (7, same), (9, same)), 10)
    assert [(one.first, one.ticks, one.start, one.live) for one in found] == [
        (3, 2, 10, 2),
        (5, 1, 14, 2),
        (6, 1, 16, 0),
        (7, 1, 16, 2),
        (9, 1, 18, 2),
    ]


def test_a_tick_with_tombstones_is_a_row_group_of_its_own() -> None:
    """A tick with tombstones shares its row group with no other, and its live rows come first."""
    gone = Write(2, spots({1: 1.0}, gone={2: 2.0}))
    found = grouped([*writes((1, {1: 1.0})), gone, *writes((3, {1: 1.0}))])
    values = [(one.first, one.ticks, one.live, one.tombstones) for one in found]
    assert values == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 0)]
    assert found[1].live_positions(2, 2).tolist() == [1]
    assert found[1].tombstone_positions().tolist() == [2]


def test_limits_are_positive() -> None:
    """Limits of zero are refused by name."""
    for wrong in ({"fragment_rows": 0}, {"small_fragments": (4, 0)}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]  # reason: of several types


def test_row_groups_are_bounded() -> None:
    """A row group has at most as many ticks and rows as the limits allow."""
    limits = Limits()
    small = grouped([Write(tick, spots({1: 0.0})) for tick in range(limits.group_ticks + 1)])
    assert [one.ticks for one in small] == [limits.group_ticks, 1]
    wide = spots(dict.fromkeys(range(1, limits.group_rows // 2 + 1), 0.0))
    large = grouped([Write(tick, wide) for tick in range(3)])
    assert [one.ticks for one in large] == [2, 1]
