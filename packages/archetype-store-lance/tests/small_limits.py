"""Limits so small that a few ticks of a few rows reach every split and merge that millions of rows reach."""

from __future__ import annotations

from archetype_store_lance import Limits

SMALL = Limits(
    group_rows=16,
    group_ticks=4,
    batch_rows=6,
    fragment_rows=24,
    small_fragments=(3, 6, 12),
    merge_fragments=3,
    checkpoint_records=3,
    merge_indexes=2,
    index_cache_bytes=1,
)
