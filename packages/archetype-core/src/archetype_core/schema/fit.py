"""Casts Arrow arrays to what a field stores, and finds the first row that the field cannot hold.

Vectorised at every depth: items of lists, values of maps and fields of models are checked as arrays. An array that has its
type is not copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.schema.cast import is_kin, is_text
from archetype_core.schema.nested import ListOf, MapOf, Nullable, StructOf
from archetype_core.schema.scalar import Choice, Codec, DecimalNumber, Float, Member, Refusal, Text, Uuid, clip
from archetype_core.schema.temporal import SECOND, UNIT_US, Moment, zone_named
from archetype_core.schema.vector import VectorOf

Values: TypeAlias = "pa.Array | pa.ChunkedArray"

_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_DAY_US = 86_400_000_000
# the microseconds since 1970 that Python's datetime spans, without the days that a zone may need
_FIRST_US, _LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999
_NULL = "null in a field that is not optional"
_TEXT = Text(pa.large_string())
_WALL = Codec(pa.timestamp("us"))


class Misfit(Refusal):
    """A value that a field cannot hold, at a row; no row if there are none and the type is wrong.

    If the type is wrong, every row is, and ``row`` is the one that shows it best.
    """

    def __init__(self, row: int | None, reason: str, *, is_type: bool = False) -> None:
        self.row, self.is_type = row, is_type
        super().__init__(reason)


def fit(values: Values, codec: Codec) -> Values:
    """Return the values as the codec stores them; `Misfit` for the first one that it cannot store."""
    try:
        return _fit_all(values, codec)
    except Misfit as misfit:
        raise _first(misfit, lambda size: _fit_all(values.slice(0, size), codec)) from None


def fit_moment(at: Values, zone: Values | None, *, nullable: bool) -> list[Values]:
    """Return the two columns of a plain `datetime` field.

    Without `zone`, values are naive, or in the zone of the type of `at`.
    """
    try:
        return _fit_moment(at, zone, nullable)
    except Misfit as misfit:
        raise _first(
            misfit,
            lambda size: _fit_moment(at.slice(0, size), None if zone is None else zone.slice(0, size), nullable),
        ) from None


def _first(misfit: Misfit, check: Callable[[int], object]) -> Misfit:
    """The misfit of the lowest row: checks run one after the other, and a later one may fail at an earlier row."""
    while misfit.row and not misfit.is_type:
        try:
            check(misfit.row)
        except Misfit as earlier:
            misfit = earlier
        else:
            break
    return misfit


def _fit_all(values: Values, codec: Codec) -> Values:
    if isinstance(values, pa.Array):
        return _fit(values, codec)
    if not is_kin(values.type, codec.type):
        raise _wrong_type(values, codec)
    chunks, offset = [], 0
    for chunk in values.chunks:
        try:
            chunks.append(_fit(chunk, codec))
        except Misfit as exc:
            raise Misfit(None if exc.row is None else exc.row + offset, str(exc)) from None
        offset += len(chunk)
    return pa.chunked_array(chunks, codec.type)


def _fit_moment(at: Values, zone: Values | None, nullable: bool) -> list[Values]:
    at = _plain(at)
    if not nullable and at.null_count:
        raise Misfit(first(at.is_null()), _NULL)
    if not pa.types.is_null(at.type) and not pa.types.is_timestamp(at.type):
        raise _wrong_type(at, _WALL)
    source_zone = getattr(at.type, "tz", None)
    at = _cast(at, Codec(pa.timestamp("us", source_zone)))
    if source_zone is not None:
        # the same instants, without the zone in the type
        at = _each_chunk(at, lambda chunk: chunk.view(_WALL.type))
    if zone is None:
        zone = _each_chunk(at, lambda chunk: _zones(chunk, source_zone))
    zone = _fit_all(zone, Nullable(_TEXT))
    _check_each(zone, lambda name: name == SECOND or zone_named(name))
    refuse_where(pc.and_(at.is_null(), zone.is_valid()), zone, "is a zone without a time")
    _check_range(at)
    if zone.null_count < len(zone):
        is_aware = pc.fill_null(pc.not_equal(zone, SECOND), fill_value=False)
        _check_range(pc.if_else(is_aware, at, pa.scalar(None, at.type)), _DAY_US)
    return [at, zone]


def refuse_where(bad: Values, values: Values, reason: str) -> None:
    """Raise `Misfit` for the first row that a mask marks."""
    row = first(bad)
    if row is not None:
        raise Misfit(row, f"{clip(_peek(values, row))} {reason}")


def first(mask: Values) -> int | None:
    """The first row that a mask marks."""
    row: int = pc.index(mask, True).as_py()
    return None if row < 0 else row


def _wrong_type(values: Values, codec: Codec) -> Misfit:
    reason = f"a column of {values.type} does not fit {codec.type}"
    if not len(values):
        return Misfit(None, reason, is_type=True)
    if pa.types.is_floating(values.type) and pa.types.is_integer(codec.type):
        return _not_whole(values, codec, reason)
    return Misfit(0, reason, is_type=True)


def _not_whole(values: Values, codec: Codec, reason: str) -> Misfit:
    """The misfit of floats in a field of ints: the first that is no int of its size, or else the first."""
    wide = values.cast(pa.float64())
    bits = codec.type.bit_width
    is_signed = pa.types.is_signed_integer(codec.type)
    least, most = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1)) if is_signed else (0.0, 2.0**bits)
    is_whole = pc.equal(wide, pc.floor(wide))
    is_held = pc.and_(is_whole, pc.and_(pc.greater_equal(wide, least), pc.less(wide, most)))
    row = first(pc.invert(is_held))
    remedy = "cast it, such as with .astype(int) or .cast(daft.DataType.int64()), or declare the field as float"
    if row is None:
        row = first(values.is_valid()) or 0
        why = f"{_peek(values, row)} is a float, and floats are refused where they are whole too; {remedy}"
    elif not pc.is_finite(wide[row]).as_py():
        why = f"{_peek(values, row)} is no number that an int can be; replace it and {remedy}"
    elif is_whole[row].as_py():
        why = f"{_peek(values, row)} is outside {codec.type}; limit it and {remedy}"
    else:
        why = f"{_peek(values, row)} is not whole; round and {remedy}"
    return Misfit(row, f"{reason}: {why}", is_type=True)


def _each_chunk(values: Values, act: Callable[[pa.Array], pa.Array]) -> Values:
    if isinstance(values, pa.Array):
        return act(values)
    made = [act(chunk) for chunk in values.chunks]
    return pa.chunked_array(made) if made else pa.chunked_array([act(pa.array([], values.type))])


def _zones(at: pa.Array, zone: str | None) -> pa.Array:
    if zone is None:
        return pa.nulls(len(at), _TEXT.type)
    named = pa.array([zone], _TEXT.type).take(pa.array(np.zeros(len(at), np.int64)))
    return pc.if_else(at.is_valid(), named, pa.scalar(None, _TEXT.type)) if at.null_count else named


def _fit(array: pa.Array, codec: Codec) -> pa.Array:
    array = _plain(array)
    inner = codec.inner if isinstance(codec, Nullable) else codec
    if inner is codec and array.null_count:
        raise Misfit(first(array.is_null()), _NULL)
    if pa.types.is_null(array.type):
        return array.cast(inner.type)
    if not is_kin(array.type, inner.type):
        raise _wrong_type(array, inner)
    if not pa.types.is_nested(inner.type):
        fitted = _cast(array, inner)
        _check(fitted, inner)
        return fitted
    if not array.null_count:
        return _fit_nested(array, inner)
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    there = np.flatnonzero(valid)
    try:
        fitted = _fit_nested(array.take(pa.array(there)), inner)
    except Misfit as exc:
        raise Misfit(None if exc.row is None else int(there[exc.row]), str(exc)) from None
    return array if array.type == inner.type else fitted.take(pa.array(np.cumsum(valid) - 1, mask=~valid))


def _plain(values: Values) -> Values:
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _fit_nested(array: pa.Array, codec: Codec) -> pa.Array:
    """Fit an array without nulls at its top."""
    match codec:
        case VectorOf():
            return _fit_vector(array, codec)
        case ListOf():
            values, lengths = _flat(array)
            fitted = _inside(values, codec.item, lengths)
            if array.type == codec.type:
                return array
            return pa.LargeListArray.from_arrays(_offsets(lengths), fitted, type=codec.type)
        case MapOf():
            return _fit_map(array, codec)
        case StructOf():
            parts = [_part(array, name, part) for name, part in codec.fields.items()]
        case Moment():
            try:
                parts = _fit_moment(array.field("at"), array.field("zone"), nullable=False)
            except Misfit as exc:
                raise Misfit(exc.row, f".at: {exc}") from None
        case _:
            # no class says more than the Arrow type
            return _cast(array, codec)
    return array if array.type == codec.type else pa.StructArray.from_arrays(parts, fields=list(codec.type))


def _part(array: pa.Array, name: str, codec: Codec) -> pa.Array:
    try:
        return _fit(array.field(name), codec)
    except Misfit as exc:
        raise Misfit(exc.row, f".{name}: {exc}") from None


def _flat(array: pa.Array) -> tuple[pa.Array, np.ndarray[Any, Any]]:
    return array.flatten(), pc.list_value_length(array).to_numpy(zero_copy_only=False)


def _offsets(lengths: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _inside(values: pa.Array, codec: Codec, lengths: np.ndarray[Any, Any], place: str | None = None) -> pa.Array:
    """Fit the items of lists of some lengths; a `Misfit` names the row of the list and the place in it."""
    try:
        return _fit(values, codec)
    except Misfit as exc:
        offsets = _offsets(lengths)
        # only an array without items has no row, and that fits
        item = exc.row or 0
        row = int(np.searchsorted(offsets[1:], item, side="right"))
        raise Misfit(row, f"{place or f'[{item - offsets[row]}]'}: {exc}") from None


def _fit_vector(array: pa.Array, codec: VectorOf) -> pa.Array:
    values, lengths = _flat(array)
    wrong = np.flatnonzero(lengths != codec.size)
    if len(wrong):
        raise Misfit(int(wrong[0]), f"expected {codec.size} floats, got {lengths[wrong[0]]}")
    fitted = _inside(values, Float(pa.float32()), lengths)
    return array if array.type == codec.type else pa.FixedSizeListArray.from_arrays(fitted, type=codec.type)


def _fit_map(array: pa.Array, codec: MapOf) -> pa.Array:
    offsets = array.offsets.to_numpy()
    begin, size = offsets[0], offsets[-1] - offsets[0]
    lengths = np.diff(offsets)
    keys = _inside(array.keys.slice(begin, size), _TEXT, lengths, "key")
    items = _inside(array.items.slice(begin, size), codec.item, lengths)
    rows = np.repeat(np.arange(len(array)), lengths)
    names = keys.dictionary_encode().indices.to_numpy()
    order = np.lexsort((names, rows))
    again = np.flatnonzero((np.diff(rows[order]) == 0) & (np.diff(names[order]) == 0))
    if len(again):
        place = int(order[again[0] + 1])
        raise Misfit(int(rows[place]), f"key {clip(keys[place].as_py())} is there twice")
    if array.type == codec.type:
        return array
    # maps have 32-bit offsets
    made = pa.MapArray.from_arrays(pa.array((offsets - begin).astype(np.int32)), keys, items)
    return made.cast(codec.type)


def _cast(values: Values, codec: Codec) -> Values:
    if values.type == codec.type:
        return values
    if isinstance(codec, Float) and pa.types.is_floating(values.type):
        cast = values.cast(codec.type, safe=False)
        overflow = pc.and_not(pc.is_inf(cast.cast(pa.float64())), pc.is_inf(values.cast(pa.float64())))
        refuse_where(overflow, values, f"overflows {codec.type}")
        return cast
    try:
        return values.cast(codec.type)
    except pa.ArrowNotImplementedError:
        return _by_row(values, codec)
    except pa.ArrowInvalid:
        row = _first_uncastable(values, codec.type)
        raise Misfit(row, f"{clip(_peek(values, row))} does not fit {codec.type}") from None


def _first_uncastable(values: Values, arrow_type: pa.DataType) -> int:
    good, bad = 0, len(values)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            values.slice(good, middle - good).cast(arrow_type)
        except pa.ArrowInvalid:
            bad = middle
        else:
            good = middle
    return good


def _by_row(values: Values, codec: Codec) -> Values:
    """Cast where Arrow has no cast."""
    encoded = []
    for row, value in enumerate(values.to_pylist()):
        try:
            encoded.append(None if value is None else codec.encode(value))
        except Refusal as exc:
            raise Misfit(row, str(exc)) from None
    made = pa.array(encoded, codec.type)
    return made if isinstance(values, pa.Array) else pa.chunked_array([made])


def _check(values: Values, codec: Codec) -> None:
    """Refuse values that fit the Arrow type and not the Python type."""
    if is_text(codec.type) or isinstance(codec, DecimalNumber):
        _check_valid(values)
    match codec:
        case Member() if codec.combines:
            _check_each(values, codec.decode)
        case Choice() | Member():
            allowed = pc.is_in(values, pa.array(codec.stored, codec.type))
            known = ", ".join(map(repr, codec.stored))
            refuse_where(pc.and_(pc.invert(allowed), values.is_valid()), values, f"is none of {known}")
        case Uuid():
            refuse_where(pc.invert(pc.match_substring_regex(values, _UUID)), values, "is not canonical UUID text")
        case _ if pa.types.is_temporal(codec.type):
            _check_range(values)


def _check_each(values: Values, check: Callable[[Any], Any]) -> None:
    """Call `check` with each distinct value; a `Refusal` gets the value's first row."""
    for value in values.unique().drop_null():
        try:
            check(value.as_py())
        except Refusal as exc:
            raise Misfit(first(pc.equal(values, value)), str(exc)) from None


def _check_valid(values: Values) -> None:
    """Refuse text that is not UTF-8, and decimals beyond their precision."""
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        for row in range(len(values)):
            try:
                values.slice(row, 1).validate(full=True)
            except pa.ArrowInvalid as exc:
                is_text = not pa.types.is_decimal(values.type)
                raise Misfit(row, "not UTF-8 text" if is_text else f"{exc}") from None
        raise


def _check_range(values: Values, margin_us: int = 0) -> None:
    """Refuse dates, times and durations outside Python's range."""
    arrow_type = values.type
    counts = values.cast(pa.int32() if pa.types.is_date32(arrow_type) else pa.int64())
    unit_us = _DAY_US if pa.types.is_date32(arrow_type) else UNIT_US[arrow_type.unit]
    if pa.types.is_duration(arrow_type):
        begin, end = -999_999_999 * _DAY_US, 1_000_000_000 * _DAY_US - 1
    else:
        margin_us = _DAY_US if getattr(arrow_type, "tz", None) not in (None, "UTC") else margin_us
        begin, end = _FIRST_US + margin_us, _LAST_US - margin_us
    # the least int64 is NumPy's "not a time"
    least, most = max(-(-begin // unit_us), -(2**63) + 1), min(end // unit_us, 2**63 - 1)
    found = pc.min_max(counts)
    low, high = found["min"].as_py(), found["max"].as_py()
    if low is None or (low >= least and high <= most):
        return
    outside = pc.or_(pc.less(counts, least), pc.greater(counts, most))
    row = first(outside)
    raise Misfit(row, f"{counts[row]} is out of Python's range for {arrow_type}")


def _peek(values: Values, row: int) -> Any:
    try:
        return values[row].as_py()
    except UnicodeDecodeError:
        return values[row].as_buffer().to_pybytes()
    except (ValueError, OverflowError):
        # a time that Python cannot hold, as its count
        return getattr(values[row], "value", values.type)
