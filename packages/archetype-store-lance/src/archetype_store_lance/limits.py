"""Thresholds that decide how a Lance store groups rows and merges files."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of one store handle; the defaults are measured, tests use small ones so that few rows reach every merge.

    They affect only what is written from then on, so a place can be opened with other limits at any time.
    """

    group_rows: int = 65_536
    """The most rows in a row group of several ticks."""
    group_ticks: int = 1_024
    """The most ticks in a row group."""
    group_bytes: int = 64 << 20
    """The most bytes in a row group of several ticks."""
    batch_rows: int = 65_536
    """Rows per read from a table."""
    fragment_rows: int = 1 << 20
    """The most rows in a Lance fragment."""
    small_fragments: tuple[int, ...] = (4_096, 65_536, 1 << 18)
    """Fragments below one of these row counts are merged once enough of them lie side by side."""
    merge_fragments: int = 16
    """How many small fragments, or new versions of a table, make compaction due."""
    checkpoint_records: int = 64
    """How many log records make a checkpoint due."""
    merge_indexes: int = 8
    """How many row indexes of one level a checkpoint merges into one."""
    index_cache_bytes: int = 64 << 20
    """Memory for row indexes; at least one is kept."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if min(value if isinstance(value, tuple) else (value,), default=1) < 1:
                raise ValueError(f"{one.name} must be 1 or more, not {value!r}")
