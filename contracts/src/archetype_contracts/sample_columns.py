"""One column of every type, with the values that stores lose: extremes, nulls, NaN payloads, the sign of zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from functools import cache
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, create_model

from archetype_core.schema import Archetype, Column, Component, Snapshot, Vector

_FLOAT_BITS: dict[int, Sequence[int]] = {
    # ±0, ±inf, quiet and signalling NaN with payloads of either sign, smallest subnormal, largest, one
    16: (0, 0x8000, 0x7C00, 0xFC00, 0x7E00, 0x7E2A, 0xFE01, 0x7C01, 1, 0x7BFF, 0x3C00),
    32: (
        0, 1 << 31, 0x7F8 << 20, 0xFF8 << 20, 0x7FC << 20, 0x7FC0BEEF, 0xFFC00001, 0x7F800001,
        1, 0x7F7FFFFF, 0x3F8 << 20,
    ),
    64: (
        0, 1 << 63, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, 0x7FF80000DEADBEEF, 0xFFF8000000000001, 0x7FF0000000000001,
        1, 0x7FEFFFFFFFFFFFFF, 0x3FF << 52,
    ),
}  # fmt: skip


class _Part(BaseModel):
    """A nested model."""

    number: int
    text: str | None = None
    deep: list[float] = []


@dataclass(frozen=True, slots=True)
class SampleColumn:
    """A table with one component column, and the values for it."""

    kind: str
    archetype: Archetype
    column: pa.Array

    @property
    def name(self) -> str:
        """The name of the column."""
        name: str = self.archetype.schema.names[1]
        return name

    def snapshot(self, first_id: int = 1) -> Snapshot:
        """One row per value."""
        ids = pa.array(range(first_id, first_id + len(self.column)), pa.int64())
        return Snapshot(self.archetype, {"entity_id": Column(ids), self.name: Column(self.column)}, len(ids))


@cache
def sample_columns() -> dict[str, tuple[SampleColumn, ...]]:
    """All sample columns, by the group that a clause checks."""
    return {
        "integer": tuple(_integers()),
        "float": tuple(_floats()),
        "text": tuple(_texts()),
        "bytes": tuple(_bytes()),
        "time": tuple(_times()),
        "exact": tuple(_exact()),
        "nested": tuple(_nested()),
        "vector": tuple(_vectors()),
    }


def every_sample() -> tuple[SampleColumn, ...]:
    """All sample columns of all groups."""
    return tuple(sample for group in sample_columns().values() for sample in group)


def _sample(kind: str, annotation: Any, values: Any) -> SampleColumn:
    """A sample column for an annotation; a null is added to plain values."""
    optional: Any = annotation | None
    model = create_model(f"Sample{kind.title().replace(' ', '')}", __base__=Component, value=(optional, None))
    archetype = Archetype.of(model)
    kept = archetype.schema.field(1).type
    column = values if isinstance(values, pa.Array) else pa.array([*values, None], kept)
    return SampleColumn(kind, archetype, column.cast(kept))


def _integers() -> Iterator[SampleColumn]:
    for bits in (8, 16, 32, 64):
        high = 1 << (bits - 1)
        signed: Any = Annotated[int, getattr(pa, f"int{bits}")()]
        unsigned: Any = Annotated[int, getattr(pa, f"uint{bits}")()]
        yield _sample(f"int{bits}", signed, [0, 1, -1, high - 1, -high])
        yield _sample(f"uint{bits}", unsigned, [0, 1, high, 2 * high - 1])


def _floats() -> Iterator[SampleColumn]:
    for bits, patterns in _FLOAT_BITS.items():
        annotation: Any = Annotated[float, getattr(pa, f"float{bits}")()]
        yield _sample(f"float{bits}", annotation, float_array(bits, patterns))


def float_array(bits: int, patterns: Sequence[int]) -> pa.Array:
    """Floats with these bits, followed by a null."""
    values = np.array([*patterns, 0], dtype=f"uint{bits}").view(f"float{bits}")
    return pa.array(values, getattr(pa, f"float{bits}")(), mask=np.arange(len(values)) == len(patterns))


def _texts() -> Iterator[SampleColumn]:
    long = "long ünï " * 9_000
    yield _sample(
        "text", str, ["", " ", "plain", "\0", "a\0b", "é", "e\u0301", "🌍", "\ufeff", "\r\n", "'\"\\", "NULL", long]
    )


def _bytes() -> Iterator[SampleColumn]:
    yield _sample("bytes", bytes, [b"", b"\0", b"a\0", bytes(range(256)), b"\xff\xfe", bytes(70_000)])
    fixed: Any = Annotated[bytes, pa.binary(4)]
    yield _sample("fixed bytes", fixed, [b"\0\0\0\0", b"\xff\xff\xff\xff", b"a\0b\0"])


def _times() -> Iterator[SampleColumn]:
    first, last = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001  # reason: naive values are to be stored
    whole = [first, last, datetime(1970, 1, 1), datetime(1969, 12, 31, 23, 59, 59)]  # noqa: DTZ001  # reason: naive values are to be stored
    fractions = {"s": [0], "ms": [0, 1_000, 999_000], "us": [0, 1, 999_999]}
    for unit, parts in fractions.items():
        moments = [moment.replace(microsecond=part) for moment in whole for part in parts]
        naive: Any = Annotated[datetime, pa.timestamp(unit)]
        aware: Any = Annotated[datetime, pa.timestamp(unit, "UTC")]
        yield _sample(f"naive {unit}", naive, moments)
        yield _sample(f"utc {unit}", aware, [moment.replace(tzinfo=UTC) for moment in moments])
        length: Any = Annotated[timedelta, pa.duration(unit)]
        days = timedelta(days=100_000_000)
        yield _sample(
            f"duration {unit}", length, [timedelta(0), days, -days, *(timedelta(microseconds=p) for p in parts)]
        )
    yield _sample("date", date, [date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), date(1969, 12, 31)])


def _exact() -> Iterator[SampleColumn]:
    yield _sample("bool", bool, [True, False])
    nines = Decimal("9" * 20 + "." + "9" * 18)
    tiny = Decimal("0." + "0" * 17 + "1")
    yield _sample("decimal", Decimal, [Decimal(0), tiny, -tiny, nines, nines.copy_negate()])
    narrow: Any = Annotated[Decimal, pa.decimal128(5, 2)]
    yield _sample("narrow decimal", narrow, [Context().create_decimal(text) for text in ("999.99", "-999.99", "0.01")])


def _nested() -> Iterator[SampleColumn]:
    yield _sample("list", list[int | None], [[], [1], [None], [1, None, -(2**63)], list(range(300))])
    yield _sample("text list", list[str | None], [[], [""], [None], ["a", None, "🌍"]])
    yield _sample("list list", list[list[bool]], [[], [[]], [[True], [], [False, True]]])
    floats = pa.large_list(pa.field("item", pa.float64()))
    offsets = pa.array([0, 0, 11, 12], pa.int64())
    yield _sample(
        "float list",
        list[float | None],
        pa.LargeListArray.from_arrays(offsets, float_array(64, _FLOAT_BITS[64]), floats),
    )
    parts = [{"number": 1, "text": "a", "deep": [-0.0]}, {"number": 0, "text": None, "deep": []}]
    yield _sample("struct", _Part, parts)
    yield _sample("struct list", list[_Part], [[], parts, parts[:1]])
    yield _sample("map", dict[str, int | None], [[], [("a", 1)], [("", None), ("b", -1)]])
    yield _sample("list map", dict[str, list[float]], [[], [("a", [])], [("a", [0.5]), ("b", [-0.0, 1.0])]])


def _vectors() -> Iterator[SampleColumn]:
    yield _sample("vector", Vector(3), [[0.0, -0.0, 1.5], [float("inf"), float("-inf"), 3.4028234663852886e38]])
    bits = float_array(32, _FLOAT_BITS[32][:8]).slice(0, 8)
    yield _sample("bit vector", Vector(4), pa.FixedSizeListArray.from_arrays(bits, 4))
    wide = pa.array(np.arange(3 * 768, dtype=np.float32))
    yield _sample("embedding", Vector(768), pa.FixedSizeListArray.from_arrays(wide, 768))
