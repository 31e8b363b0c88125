"""The index from entity to archetype."""

from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from scene import Frozen, Health, Name, Position

from archetype_core.engine.entity_index import EntityIndex
from archetype_core.schema import Archetype

TABLES = [Archetype.of(kind) for kind in (Position, Health, Name, Frozen)]
BULK = 5000


def ids(*numbers: int) -> pa.Array:
    """Entity ids."""
    return pa.array(numbers, pa.int64())


def test_entities_enter_move_and_leave() -> None:
    """An entity is found where it was put last, and not at all once it left."""
    index = EntityIndex()
    index.enter(ids(1, 2, 3), TABLES[0])
    index.move([2], TABLES[1])
    index.move([3], None)
    assert [index.get(one) for one in (1, 2, 3, 4)] == [TABLES[0], TABLES[1], None, None]
    assert len(index) == 2


def test_unknown_and_odd_ids_are_not_there() -> None:
    """Unknown ids are None, at both ends of int64 and beyond, also in an empty index."""
    index = EntityIndex()
    odd = (0, -1, 2**31, 2**63 - 1, -(2**63), 2**64, -(2**70))
    assert [index.get(one) for one in odd] == [None] * len(odd)
    index.enter(pa.array(range(1, BULK + 1), pa.int64()), TABLES[0])
    assert [index.get(one) for one in odd] == [None] * len(odd)
    index.enter(ids(2**31 + 5, 2**62), TABLES[1])
    assert (index.get(2**31 + 5), index.get(2**62), index.get(2**32)) == (TABLES[1], TABLES[1], None)


def test_bulk_and_single_changes_agree() -> None:
    """Entities added in bulk can be moved and removed one by one, in any order."""
    index = EntityIndex()
    index.enter(pa.array(range(BULK * 2, BULK * 3), pa.int64()), TABLES[0])
    index.enter(pa.array(range(1, BULK + 1), pa.int64()), TABLES[1])
    index.move(range(1, 101), None)
    index.move([BULK * 2], TABLES[2])
    index.enter(pa.array(range(BULK * 5, BULK * 7), pa.int64()), TABLES[3])
    assert len(index) == BULK - 100 + BULK + BULK * 2
    assert [index.get(one) for one in (1, 100, 101, BULK)] == [None, None, TABLES[1], TABLES[1]]
    assert [index.get(one) for one in (BULK * 2, BULK * 2 + 1, BULK * 7 - 1)] == [TABLES[2], TABLES[0], TABLES[3]]


def test_copies_go_their_own_way() -> None:
    """A copy and its source do not share later changes."""
    index = EntityIndex()
    index.enter(pa.array(range(1, BULK + 1), pa.int64()), TABLES[0])
    index.move([1], TABLES[1])
    other = index.copy()
    index.move([1, 2], None)
    other.move([1], TABLES[2])
    other.enter(ids(BULK + 1), TABLES[3])
    assert [index.get(one) for one in (1, 2, BULK + 1)] == [None, None, None]
    assert [other.get(one) for one in (1, 2, BULK + 1)] == [TABLES[2], TABLES[0], TABLES[3]]
    assert (len(index), len(other)) == (BULK - 2, BULK + 1)


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["few", "many", "move", "leave", "copy"]), st.integers(0, 3), st.integers(0, 2**16))
    )
)
def test_index_is_a_dictionary(steps: list[tuple[str, int, int]]) -> None:
    """After any changes the index answers like a plain dictionary."""
    index, known = EntityIndex(), dict[int, Archetype | None]()
    fresh = itertools.count(1)
    for what, table, pick in steps:
        alive = [one for one, archetype in known.items() if archetype is not None]
        if what in ("few", "many"):
            new = list(itertools.islice(fresh, BULK if what == "many" else 3))
            index.enter(pa.array(new, pa.int64()), TABLES[table])
            known.update(dict.fromkeys(new, TABLES[table]))
        elif what == "copy":
            index = index.copy()
        elif alive:
            chosen = alive[pick % len(alive) :: max(1, len(alive) // 7)]
            target = TABLES[table] if what == "move" else None
            index.move(chosen, target)
            known.update(dict.fromkeys(chosen, target))
    assert len(index) == sum(archetype is not None for archetype in known.values())
    assert [index.get(one) for one in known] == list(known.values())
