"""Codecs of single values: how each Python type is checked, stored in Arrow, read back, and written as JSON.

A codec raises `Refusal` with the reason; the component adds its own name and the field's.
"""

from __future__ import annotations

import base64
import binascii
import decimal
import enum
import math
import re
import struct
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa


class Refusal(ValueError):
    """A value that its column cannot hold; the message is the reason."""


def wrong_type(expected: str, value: object) -> Refusal:
    """Return the `Refusal` of a value of another type."""
    return Refusal(f"expected {expected}, got {type(value).__name__} ({clip(value)})")


def clip(value: object) -> str:
    """Return a short, printable repr for a message."""
    try:
        text = ascii(value)
    except Exception as exc:  # noqa: BLE001  # reason: a user's __repr__ may raise anything, and must not hide the refusal
        text = f"unprintable: {type(exc).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


class Codec:
    """Translates one Python type; the base passes values through unchanged.

    Instances of exactly `exact` need no check. `settles` says that `settle` may change a value.
    """

    exact: type | None = None
    settles: bool = False

    def __init__(self, arrow_type: pa.DataType) -> None:
        self.type = arrow_type

    def encode(self, value: Any) -> Any:
        """Return the value as pyarrow takes it, or raise `Refusal`."""
        return value

    def decode(self, stored: Any) -> Any:
        """Return the Python value of what `to_pylist` gave."""
        return stored

    def settle(self, value: Any) -> Any:
        """Return the value rounded to what the column can hold."""
        return value

    def to_json(self, value: Any) -> Any:
        """Return a checked value in a form that survives JSON."""
        return value

    def from_json(self, raw: Any) -> Any:
        """Undo `to_json`; other values pass through, for pydantic to validate."""
        return raw


class Bool(Codec):
    """`bool`."""

    exact = bool

    def encode(self, value: Any) -> Any:
        if type(value) is bool:
            return value
        raise wrong_type("bool", value)


class Int(Codec):
    """`int`, in an Arrow integer of any width."""

    def __init__(self, arrow_type: pa.DataType) -> None:
        super().__init__(arrow_type)
        signed = pa.types.is_signed_integer(arrow_type)
        bits: int = arrow_type.bit_width
        self.least: int
        self.most: int
        self.least, self.most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    def encode(self, value: Any) -> Any:
        if type(value) is not int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise wrong_type("int", value)
            value = int(value)
        if self.least <= value <= self.most:
            return value
        raise Refusal(f"{_clip_int(value)} is outside {self.type} ({self.least} to {self.most})")


def _clip_int(value: int) -> str:
    # str() of an int beyond 4 300 digits raises
    return str(value) if value.bit_length() < 200 else f"an int of {value.bit_length()} bits"


_NAN = math.nan
_NAN_BITS = struct.pack(">d", _NAN)
_NAN_FORM = re.compile(r"NaN\(0x([0-9a-f]{16})\)")
_NON_FINITE = {"NaN": _NAN, "Infinity": math.inf, "-Infinity": -math.inf}


class Float(Codec):
    """`float`; in a 16 or 32 bit column, values are rounded when the component is made."""

    def __init__(self, arrow_type: pa.DataType) -> None:
        super().__init__(arrow_type)
        self._narrow = {16: struct.Struct("<e"), 32: struct.Struct("<f")}.get(arrow_type.bit_width)
        self.settles = self._narrow is not None
        self.exact = None if self.settles else float

    def encode(self, value: Any) -> Any:
        if type(value) is not float:
            value = as_float(value)
        return value if self._narrow is None else self._round(value)

    def settle(self, value: Any) -> Any:
        return self.encode(value)

    def _round(self, value: float) -> float:
        assert self._narrow is not None
        if value != value and self._narrow.size == 2:  # a half float cannot keep the payload of a NaN
            return _NAN
        try:
            rounded: float = self._narrow.unpack(self._narrow.pack(value))[0]
        except OverflowError:
            raise Refusal(f"{value!r} overflows {self.type}") from None
        return rounded

    def to_json(self, value: Any) -> Any:
        value = float(value)
        if math.isfinite(value):
            return value
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        bits = struct.pack(">d", value)
        return "NaN" if bits == _NAN_BITS else f"NaN(0x{bits.hex()})"

    def from_json(self, raw: Any) -> Any:
        if not isinstance(raw, str):
            return raw
        if raw in _NON_FINITE:
            return _NON_FINITE[raw]
        form = _NAN_FORM.fullmatch(raw)
        value: float = math.nan if form is None else struct.unpack(">d", bytes.fromhex(form[1]))[0]
        return value if form is not None and math.isnan(value) else raw


def as_float(value: Any) -> float:
    """Return a float, or an int that is exact as one, as float."""
    if isinstance(value, float):
        return float(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type("float", value)
    try:
        result = float(value)
    except OverflowError:
        raise Refusal(f"{_clip_int(value)} overflows float") from None
    if int(result) != value:
        raise Refusal(f"{_clip_int(value)} is not exact as a float")
    return result


class Text(Codec):
    """`str`; refuses lone surrogates, which have no UTF-8."""

    def encode(self, value: Any) -> Any:
        if type(value) is not str:
            if not isinstance(value, str):
                raise wrong_type("str", value)
            value = str.__str__(value)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as exc:
                raise Refusal(f"{clip(value)} is not UTF-8 text: lone surrogate at {exc.start}") from None
        return value


class Bytes(Codec):
    """`bytes`, in JSON as base64; a fixed-size column refuses other lengths."""

    def encode(self, value: Any) -> Any:
        if not isinstance(value, bytes):
            raise wrong_type("bytes", value)
        if pa.types.is_fixed_size_binary(self.type) and len(value) != self.type.byte_width:
            raise Refusal(f"expected {self.type.byte_width} bytes, got {len(value)}")
        return value if type(value) is bytes else bytes(value)

    def to_json(self, value: Any) -> Any:
        return base64.b64encode(value).decode()

    def from_json(self, raw: Any) -> Any:
        if not isinstance(raw, str):
            return raw
        try:
            return base64.b64decode(raw, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise Refusal(f"{clip(raw)} is not base64: {exc}") from None


class DecimalNumber(Codec):
    """`Decimal`; never rounds: refuses NaN, infinities and digits beyond the column's precision and scale."""

    def __init__(self, arrow_type: pa.DataType) -> None:
        super().__init__(arrow_type)
        self._step = Decimal(1).scaleb(-arrow_type.scale)
        self._context = decimal.Context(
            prec=arrow_type.precision, traps=[decimal.Inexact, decimal.InvalidOperation], Emin=-999999, Emax=999999
        )

    def encode(self, value: Any) -> Any:
        if not isinstance(value, Decimal):
            raise wrong_type("Decimal", value)
        if not value.is_finite():
            raise Refusal(f"{value} has no decimal form")
        try:
            return value.quantize(self._step, context=self._context.copy())
        except decimal.DecimalException:
            raise Refusal(f"{clip(value)} does not fit {self.type} exactly") from None

    def to_json(self, value: Any) -> Any:
        return str(value)


class Uuid(Codec):
    """`UUID`, stored as its canonical text."""

    def encode(self, value: Any) -> Any:
        if isinstance(value, UUID):
            return str(value)
        raise wrong_type("UUID", value)

    def decode(self, stored: Any) -> Any:
        return UUID(stored)

    def to_json(self, value: Any) -> Any:
        return str(value)


class Choice(Codec):
    """One of the values of a `Literal`."""

    def __init__(self, arrow_type: pa.DataType, choices: Iterable[Any]) -> None:
        super().__init__(arrow_type)
        self.stored = tuple(choices)

    def encode(self, value: Any) -> Any:
        for choice in self.stored:
            if type(value) is type(choice) and value == choice:
                return choice
        raise Refusal(f"{clip(value)} is none of {', '.join(map(repr, self.stored))}")


class Member(Codec):
    """An enum member, stored as its value, or as its name if the values are not all text or all int.

    `raw` is for models with `use_enum_values`, which hold the value instead of the member.
    """

    def __init__(self, arrow_type: pa.DataType, kind: type[enum.Enum], by_name: bool, *, raw: bool = False) -> None:
        super().__init__(arrow_type)
        self.kind, self.by_name, self.raw = kind, by_name, raw
        self.combines = issubclass(kind, enum.Flag) and not by_name
        self.stored = tuple(self._store(member) for member in kind)

    def _store(self, member: enum.Enum) -> Any:
        return member.name if self.by_name else member.value

    def encode(self, value: Any) -> Any:
        if isinstance(value, self.kind):
            return self._store(value)
        if self.raw:
            try:
                return self._store(self.kind(value))
            except ValueError:
                pass
        raise wrong_type(self.kind.__name__, value)

    def decode(self, stored: Any) -> Any:
        try:
            member = self.kind[stored] if self.by_name else self.kind(stored)
        except (KeyError, ValueError):
            raise Refusal(f"{clip(stored)} is not a member of {self.kind.__name__}") from None
        return member.value if self.raw else member

    def to_json(self, value: Any) -> Any:
        return self.encode(value)

    def from_json(self, raw: Any) -> Any:
        if isinstance(raw, enum.Enum):
            return raw
        try:
            return self.kind[raw] if self.by_name else self.kind(raw)
        except (KeyError, ValueError, TypeError):
            known = ", ".join(repr(stored) for stored in self.stored)
            raise Refusal(f"{clip(raw)} is not a member of {self.kind.__name__} ({known})") from None
