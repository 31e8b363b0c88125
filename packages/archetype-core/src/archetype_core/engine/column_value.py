"""Turns a value that a processor returned for a column into an Arrow array whose memory nobody else can write to (T8)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from archetype_core.schema.cast import is_list
from archetype_core.schema.fit import Misfit
from archetype_core.schema.nested import Nullable
from archetype_core.schema.scalar import Bool, Codec, Float, Int, Refusal, clip
from archetype_core.schema.snapshot import contiguous, owned

_UNORDERED = (set, frozenset)


def references(box: list[Any]) -> int:
    """Return how many references there are to the one object in a list."""
    return sys.getrefcount(box[0])


ALONE = references([object()])
"""The number of references if nothing but the list refers to the object; versions of Python count differently."""


def to_arrow(box: list[Any], arrow_type: pa.DataType, codec: Codec, size: int) -> pa.Array:
    """Return the one value in a list as an array of ``size`` rows; `Misfit` if it is none.

    Takes the value out of the list. The array may still have another type than the column.
    """
    kind = _kind(box[0])
    if isinstance(box[0], np.ma.MaskedArray):
        masked = box.pop()
        _check_size(masked, size)
        return owned(pa.array(masked.data, mask=np.ma.getmaskarray(masked)))
    if kind == "numpy" and type(box[0]) is not np.ndarray:
        box = [np.asarray(box.pop())]
    if kind == "numpy" and box[0].dtype.kind in "biufmM" and box[0].ndim:
        _check_size(box[0], size)
        return _from_numpy(box, arrow_type)
    value = box.pop()
    if kind == "arrow":
        array = _from_arrow(value)
        _check_size(array, size)
        return owned(array)
    if kind == "numpy":
        value = value if value.ndim == 0 else value.tolist()
    if not isinstance(value, Sequence) or kind == "scalar":
        return _repeated(value, codec, size)
    _check_size(value, size)
    return _from_rows(value, codec)


def _kind(value: Any) -> str:
    if isinstance(value, np.generic | pa.Scalar):
        return "scalar"
    # Before Arrow: a pandas column has both, and turns NaN into null on its way to Arrow.
    if isinstance(getattr(value, "dtype", None), np.dtype):
        return "numpy"
    if any(hasattr(value, name) for name in ("__arrow_c_stream__", "__arrow_c_array__", "to_arrow")):
        return "arrow"
    if hasattr(value, "__array__"):
        return "numpy"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return "rows"
    if isinstance(value, _UNORDERED) or hasattr(value, "__next__"):
        raise Misfit(
            None, f"a {type(value).__name__} is not a column: use a list or an array, in the order of the rows"
        )
    return "scalar"


def _check_size(values: Any, size: int) -> None:
    if len(values) != size:
        missing = len(values) if len(values) < size else None
        raise Misfit(missing, f"there are {len(values)} values for {size} entities")


def _from_arrow(value: Any) -> pa.Array:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return contiguous(value)
    if hasattr(value, "__arrow_c_stream__"):
        return contiguous(pa.chunked_array(value))
    return pa.array(value) if hasattr(value, "__arrow_c_array__") else _from_arrow(value.to_arrow())


def _from_numpy(box: list[Any], arrow_type: pa.DataType) -> pa.Array:
    """Take over an array that nothing else refers to, and copy any other."""
    shape, dtype = box[0].shape, box[0].dtype
    if len(shape) > 2 or (len(shape) == 2 and (not is_list(arrow_type) or not shape[1])):
        raise Misfit(0, f"an array of shape {shape} does not fit a column of {arrow_type}")
    wanted = _supported(dtype)
    if wanted != dtype or not _is_plain(box[0]):
        box[0] = np.array(box[0], wanted, order="C")
    elif not box[0].flags.owndata or box[0].base is not None or references(box) > ALONE:
        # a buffer of Arrow's pool, which the caller cannot reach
        return _shaped(owned(pa.array(box[0].reshape(-1))), shape, arrow_type)
    array = box.pop()
    array.flags.writeable = False
    try:
        flat = pa.array(array.reshape(-1))
    except pa.ArrowException as failure:
        raise Misfit(0, f"numpy's {dtype} has no Arrow form: {failure}") from None
    return _shaped(flat, shape, arrow_type)


def _is_plain(array: np.ndarray[Any, Any]) -> bool:
    # in a function of its own, because the flags refer to the array
    flags = array.flags
    return bool(flags.c_contiguous and flags.aligned)


def _supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of the machine's byte order, and with a unit of time that Arrow has."""
    if dtype.kind in "mM" and np.datetime_data(dtype)[0] not in ("s", "ms", "us", "ns"):
        is_date = dtype.kind == "M" and np.datetime_data(dtype) == ("D", 1)
        return dtype if is_date else np.dtype(f"{dtype.kind}8[s]")
    return dtype.newbyteorder("=")


def _shaped(flat: pa.Array, shape: tuple[int, ...], arrow_type: pa.DataType) -> pa.Array:
    if len(shape) == 2:
        return pa.FixedSizeListArray.from_arrays(flat, shape[1])
    if pa.types.is_timestamp(arrow_type):
        if pa.types.is_date(flat.type):
            flat = flat.cast(pa.timestamp("s"))
        if pa.types.is_timestamp(flat.type) and arrow_type.tz is not None:
            # numpy's times have no zone: they are UTC, as ``arrays`` shows them
            return flat.cast(pa.timestamp(flat.type.unit, arrow_type.tz))
    return flat


def _repeated(value: Any, codec: Codec, size: int) -> pa.Array:
    one = pa.array([value.as_py()], value.type) if isinstance(value, pa.Scalar) else _from_rows([value], codec)
    return one.take(pa.array(np.zeros(size, np.int64)))


def _from_rows(values: Sequence[Any], codec: Codec) -> pa.Array:
    inner = codec.inner if isinstance(codec, Nullable) else codec
    kinds = set(map(type, values))
    if (kinds == {float} and type(inner) is Float) or (kinds == {int} and type(inner) is Int):
        try:
            return pa.array(values, pa.float64() if type(inner) is Float else pa.int64())
        except (pa.ArrowException, OverflowError):
            pass  # a value that the encoder refuses, by row
    stored = []
    for row, value in enumerate(values):
        try:
            stored.append(None if value is None else _stored(value, inner))
        except Refusal as exc:
            raise Misfit(row, str(exc)) from None
    try:
        return pa.array(stored, codec.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as failure:
        raise Misfit(None, f"{clip(values)} does not fit {codec.type}: {failure}") from None


def _stored(value: Any, codec: Codec) -> Any:
    """The stored form of a field's value, or of a value that is in its stored form already."""
    if isinstance(value, np.generic | np.ndarray):
        value = _python(value)
    elif isinstance(value, pa.Scalar):
        value = value.as_py()
    try:
        return None if value is None else codec.encode(value)
    except Refusal as refusal:
        if isinstance(codec, Bool | Int | Float):
            raise
        try:
            return codec.encode(codec.decode(value))
        except Refusal as better:
            # It is of the stored form, and wrong inside.
            raise better if isinstance(value, dict | list) else refusal from None
        except (ValueError, TypeError, KeyError, AttributeError, LookupError):
            raise refusal from None


def _python(value: Any) -> Any:
    if value.dtype.kind in "mM":
        microseconds = value.astype(f"{value.dtype.kind}8[us]")
        if np.any((microseconds != value) & ~np.isnat(value)):
            raise Refusal(f"{value} is finer than a microsecond")
        value = microseconds
    return value.tolist()
