"""Stores that break values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from store_mutants import ChangedScans, breaks


def _is_float(array: pa.Array) -> bool:
    return bool(pa.types.is_float64(array.type))


def _remade(array: pa.Array, values: np.ndarray) -> pa.Array:
    return pa.array(values, array.type, mask=np.asarray(array.is_null()))


@breaks("S-302", "S-309", machine=True)
class NullsBecomeNaN(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        return pc.fill_null(array, float("nan")) if _is_float(array) else array


@breaks("S-302")
class OneNaN(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not _is_float(array):
            return array
        values = np.array(pc.fill_null(array, 0.0))
        values[np.isnan(values)] = np.nan
        return _remade(array, values)


@breaks("S-302", machine=True)
class NoNegativeZero(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        return _remade(array, np.array(pc.fill_null(array, 0.0)) + 0.0) if _is_float(array) else array


@breaks("S-303")
class ShortText(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        return pc.utf8_slice_codeunits(array, 0, 1000) if pa.types.is_large_string(array.type) else array


@breaks("S-303", machine=True)
class EmptyTextIsNull(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_large_string(array.type):
            return array
        return pa.array([text or None for text in array.to_pylist()], array.type)


@breaks("S-304")
class CStrings(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_large_binary(array.type):
            return array
        return pa.array([data and data.rstrip(b"\0") for data in array.to_pylist()], array.type)


@breaks("S-305")
class Milliseconds(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_timestamp(array.type) or array.type.unit != "us":
            return array
        return array.cast(pa.timestamp("ms", array.type.tz), safe=False).cast(array.type)


@breaks("S-301", "S-310")
class IntegersAreDoubles(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        return array.cast(pa.float64(), safe=False).cast(array.type, safe=False) if array.type == pa.int64() else array


@breaks("S-306")
class DecimalsAreDoubles(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_decimal(array.type):
            return array
        rough = [None if value is None else round(float(value), 2) for value in array.to_pylist()]
        return pa.array([None if value is None else 0 for value in rough], pa.int64()).cast(array.type, safe=False)


@breaks("S-307")
class EmptyListsAreNull(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_large_list(array.type):
            return array
        return pc.if_else(pc.equal(pc.list_value_length(array), 0), pa.scalar(None, array.type), array)


@breaks("S-308")
class NoNullVectors(ChangedScans):
    def values(self, array: pa.Array) -> pa.Array:
        if not pa.types.is_fixed_size_list(array.type):
            return array
        zeros = [0.0] * array.type.list_size
        return pa.array([zeros if value is None else value for value in array.to_pylist()], array.type)
