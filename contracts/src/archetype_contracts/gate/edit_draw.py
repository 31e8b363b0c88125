"""What the state machine of a gate draws: edits of entities, and when they apply."""

from __future__ import annotations

from hypothesis import strategies as st

from archetype_contracts.gate.model import (
    AddSash,
    DespawnCoins,
    Edit,
    PaintCoins,
    RemoveComponent,
    SendMessage,
    SetNumber,
    SpawnCoin,
    SpawnCoins,
    Unhandled,
)
from archetype_contracts.gate.sample import Coin, Sash

NTH = st.integers(-1, 5)
NUMBERS = st.integers(0, 99)
COLOURS = st.sampled_from(["red", "blue"])

SPAWNS: st.SearchStrategy[Edit] = st.builds(SpawnCoin, NUMBERS, st.sampled_from(["", "", "red"]))
EDITS: st.SearchStrategy[Edit] = st.one_of(
    SPAWNS,
    st.builds(SpawnCoins, st.lists(NUMBERS, min_size=1, max_size=3).map(tuple)),
    st.builds(SetNumber, NTH, NUMBERS),
    st.builds(DespawnCoins, st.lists(NTH, min_size=1, max_size=2).map(tuple)),
    st.builds(AddSash, NTH, COLOURS),
    st.builds(RemoveComponent, NTH, st.sampled_from([Coin, Sash])),
    st.builds(Unhandled),
    st.builds(SendMessage, NTH, NUMBERS),
)
"""Edits that are executed. ``PaintCoins`` is only queued: reopening stages executed commands before its handler is added."""
QUEUED: st.SearchStrategy[Edit] = st.one_of(
    EDITS, st.builds(PaintCoins, st.lists(NTH, min_size=1, max_size=3).map(tuple), st.sampled_from(["heads", "tails"]))
)
SOME_EDITS = st.lists(EDITS, min_size=1, max_size=4)
SOME_QUEUED: st.SearchStrategy[list[Edit]] = st.one_of(
    st.lists(QUEUED, min_size=1, max_size=4),
    # Changes of one coin, for their order and their number show in it only.
    st.builds(
        lambda nth, numbers: [SetNumber(nth, number) for number in numbers],
        st.integers(0, 1),
        st.lists(NUMBERS, min_size=1, max_size=3, unique=True),
    ),
)
LATER = st.none() | st.integers(0, 3)
"""How many ticks after the next one."""
PRIORITIES = st.integers(-1, 1)
SENT: st.SearchStrategy[Edit] = st.one_of(
    SPAWNS,
    st.builds(SpawnCoins, st.lists(NUMBERS, min_size=1, max_size=2).map(tuple)),
    st.builds(SendMessage, st.integers(0, 5), NUMBERS),
)
"""Edits that apply to any world; messages to entities that are not alive are left out."""
SOME_SENT = st.lists(st.tuples(SENT, st.booleans(), st.booleans()), min_size=1, max_size=3)
"""What a processor sends: whether to another world, and whether to be queued."""
