"""A store whose sizes are so small that a few ticks of a few rows have the life of millions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

_SIZES = {
    "archetype_store_lance.table": {"_FRAGMENT_ROWS": 24, "_SMALL": (3, 6, 12), "_PIECE_ROWS": 7, "MANY": 3},
    "archetype_store_lance.scanning": {"_PIECE_ROWS": 5},
    "archetype_store_lance.upkeep": {"MANY": 3},
    "archetype_store_lance.row_layout": {"MOST_ROWS": 16, "MOST_TICKS": 4},
    "archetype_store_lance.log": {"CHECKPOINT": 3, "_FAN": 2, "_CACHED": 1},
}


@contextmanager
def cramped() -> Iterator[None]:
    """Keep the sizes small in here: fragments, tiles, blocks, and how many of each are many."""
    with ExitStack() as patched:
        for module, sizes in _SIZES.items():
            patched.enter_context(patch.multiple(module, **sizes))
        yield
