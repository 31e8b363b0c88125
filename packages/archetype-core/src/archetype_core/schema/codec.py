"""From a field's annotation to the codec that stores its values.

The Arrow types are those that Daft emits, so that a query returns a column with its type: `large_string`, `large_list` with
an item named "item", and nullability only at the top.
"""

from __future__ import annotations

import datetime as dt
import enum
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ForwardRef, Literal, NoReturn, TypeVar
from uuid import UUID

import pyarrow as pa
import pydantic

from archetype_core.errors import ComponentTypeError
from archetype_core.schema.nested import ListOf, MapOf, Nullable, StructOf
from archetype_core.schema.scalar import (
    Bool,
    Bytes,
    Choice,
    Codec,
    DecimalNumber,
    Float,
    Int,
    Member,
    Refusal,
    Text,
    Uuid,
)
from archetype_core.schema.temporal import Date, Duration, Instant, Moment
from archetype_core.schema.vector import Vector, VectorOf

_TEXT, _INT64 = pa.large_string(), pa.int64()
_SUPPORTED = (
    "bool, int, float, str, bytes, datetime, date, timedelta, Decimal, UUID, Enum, Literal, Optional[T], list[T], "
    "dict[str, T], a pydantic model or Vector(n)"
)
_OTHER_LISTS = (set, frozenset, tuple, typing.get_origin(typing.Sequence[int]), typing.get_origin(typing.Iterable[int]))
_DATETIMES = {dt.datetime, pydantic.PastDatetime, pydantic.FutureDatetime}
_DATES = {dt.date, pydantic.PastDate, pydantic.FutureDate}


@dataclass(frozen=True)
class _Place:
    """The place of an annotation in a component; `raw_enums` is the `use_enum_values` of its model."""

    component: str
    field: str
    models: tuple[type, ...] = ()
    raw_enums: bool = False

    def refuse(self, reason: str, remedy: str) -> NoReturn:
        raise ComponentTypeError(self.component, self.field, reason, remedy)


def codec_for(
    component: str, field: str, annotation: Any, metadata: typing.Iterable[Any] = (), *, raw_enums: bool = False
) -> Codec:
    """Return the codec of a field; `ComponentTypeError` for a type without an Arrow form."""
    return _codec(annotation, tuple(metadata), _Place(component, field, raw_enums=raw_enums))


def _codec(annotation: Any, metadata: tuple[Any, ...], place: _Place) -> Codec:
    annotation, metadata = _unwrap(annotation, metadata)
    if marks := [one for one in (annotation, *metadata) if isinstance(one, Vector)]:
        if annotation not in (marks[-1], list[float], typing.List[float]):  # noqa: UP006  # reason: the old spelling
            remedy = f"Write Annotated[list[float], {marks[-1]}], followed by '| None' if it is optional"
            place.refuse(f"{marks[-1]} marks a list[float], not {_spell(annotation)}", remedy)
        return VectorOf(marks[-1].size)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return _union(annotation, arguments, metadata, place)
    override = next((mark for mark in reversed(metadata) if isinstance(mark, pa.DataType)), None)
    if origin is Literal:
        return _literal(arguments, override, place)
    if origin is list and arguments and override is None:
        return ListOf(_codec(arguments[0], (), place))
    if origin is dict and arguments and override is None:
        if _unwrap(arguments[0], ())[0] is not str:
            place.refuse(f"{_spell(annotation)} has keys that are not str", "Use dict[str, T]")
        return MapOf(_codec(arguments[1], (), place))
    if isinstance(annotation, type) and origin is None:
        codec = _plain(annotation, override, place)
        if codec is not None:
            return codec
    return _refuse(annotation, origin, override, place)


def _unwrap(annotation: Any, metadata: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Strip `Annotated`, `NewType` and `type` aliases."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            # the outer annotation wins
            metadata = (*annotation.__metadata__, *metadata)
            annotation = annotation.__origin__
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType" and hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            return annotation, metadata


def _union(annotation: Any, arguments: tuple[Any, ...], metadata: tuple[Any, ...], place: _Place) -> Codec:
    inner = [argument for argument in arguments if argument is not type(None)]
    if len(inner) != 1:
        place.refuse(
            f"{_spell(annotation)} is a union, and a column has one type",
            "Choose one type, or give each its own optional field",
        )
    codec = _codec(inner[0], metadata, place)
    return codec if isinstance(codec, Nullable) else Nullable(codec)


def _literal(arguments: tuple[Any, ...], override: pa.DataType | None, place: _Place) -> Codec:
    choices = [argument for argument in arguments if argument is not None]
    kinds = {type(choice) for choice in choices}
    if len(kinds) != 1 or not kinds <= {str, int, bool}:
        place.refuse(
            f"Literal[{', '.join(map(repr, arguments))}] mixes types or holds values other than str, int and bool",
            "Use values of one of these types, or an Enum",
        )
    arrow_type = _choose(kinds.pop(), override, place)
    codec = Choice(arrow_type, choices)
    _check_choices(choices, arrow_type, place)
    return Nullable(codec) if len(choices) < len(arguments) else codec


def _member(kind: type[enum.Enum], override: pa.DataType | None, place: _Place) -> Codec:
    # a flag has more values than members
    values = [member.value for member in kind]
    if not values:
        place.refuse(f"{kind.__name__} is an enum with no members", "Give it members")
    kinds = {type(value) for value in values}
    by_name = kinds not in ({str}, {int})
    arrow_type = _choose(str if by_name else kinds.pop(), override, place)
    if not by_name:
        _check_choices(values, arrow_type, place)
    return Member(arrow_type, kind, by_name, raw=place.raw_enums)


def _check_choices(values: list[Any], arrow_type: pa.DataType, place: _Place) -> None:
    check = Int(arrow_type) if pa.types.is_integer(arrow_type) else Text(arrow_type)
    for value in values:
        if isinstance(value, bool):
            return
        try:
            check.encode(value)
        except Refusal as exc:
            place.refuse(str(exc), "Choose values that fit the column, or a wider Arrow type")


def _is_text(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type))


def _is_bytes(arrow_type: pa.DataType) -> bool:
    types_ = pa.types
    return any(test(arrow_type) for test in (types_.is_binary, types_.is_large_binary, types_.is_fixed_size_binary))


def _is_decimal(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_decimal128(arrow_type) and arrow_type.scale >= 0)


# Python's datetime and timedelta have microseconds, and would lose nanoseconds
def _is_timestamp(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(arrow_type) and arrow_type.unit != "ns")


def _is_duration(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_duration(arrow_type) and arrow_type.unit != "ns")


# Python type → (codec, default Arrow type, which override is allowed, remedy)
_PLAIN: Mapping[type, tuple[type[Codec], pa.DataType, Callable[[pa.DataType], bool], str]] = {
    bool: (Bool, pa.bool_(), pa.types.is_boolean, "bool is always pa.bool_()"),
    int: (Int, _INT64, pa.types.is_integer, "Use an Arrow integer, such as pa.int16()"),
    float: (Float, pa.float64(), pa.types.is_floating, "Use pa.float16(), pa.float32() or pa.float64()"),
    str: (Text, _TEXT, _is_text, "str is always pa.large_string()"),
    bytes: (Bytes, pa.large_binary(), _is_bytes, "Use pa.large_binary() or pa.binary(width)"),
    Decimal: (
        DecimalNumber,
        pa.decimal128(38, 18),
        _is_decimal,
        "Use pa.decimal128(precision, scale), scale at least 0",
    ),
    dt.date: (Date, pa.date32(), pa.types.is_date32, "date is always pa.date32()"),
    dt.timedelta: (Duration, pa.duration("us"), _is_duration, "Use pa.duration with 's', 'ms' or 'us'"),
    dt.datetime: (Instant, pa.timestamp("us"), _is_timestamp, "Use pa.timestamp with 's', 'ms' or 'us'"),
    UUID: (Uuid, _TEXT, _is_text, "UUID is always pa.large_string()"),
}


def _choose(kind: type, override: pa.DataType | None, place: _Place) -> pa.DataType:
    _, default, fits, remedy = _PLAIN[kind]
    if override is None:
        return default
    if not fits(override):
        place.refuse(f"{override} does not hold {kind.__name__}", remedy)
    if _is_text(override):
        return _TEXT
    # Daft has one type of variable-size bytes
    return pa.large_binary() if pa.types.is_binary(override) else override


def _plain(annotation: type, override: pa.DataType | None, place: _Place) -> Codec | None:
    kind = dt.date if annotation in _DATES else dt.datetime if annotation in _DATETIMES else annotation
    if kind is dt.datetime and override is None:
        return Moment()
    if annotation in (pydantic.AwareDatetime, pydantic.NaiveDatetime):
        kind, wants_zone = dt.datetime, annotation is pydantic.AwareDatetime
        override = override or pa.timestamp("us", "UTC" if wants_zone else None)
        if (getattr(override, "tz", None) is not None) is not wants_zone:
            place.refuse(
                f"{override} does not hold {annotation.__name__}", "Give the Arrow type a zone, or take it away"
            )
    if kind in _PLAIN:
        arrow_type = _choose(kind, override, place)
        try:
            return _PLAIN[kind][0](arrow_type)
        except Refusal as exc:
            place.refuse(str(exc), "Name a zone that zoneinfo knows")
    if issubclass(annotation, enum.Enum):
        return _member(annotation, override, place)
    if issubclass(annotation, pydantic.BaseModel) and override is None:
        return _model(annotation, place)
    return None


def _model(model: type[pydantic.BaseModel], place: _Place) -> Codec:
    name = model.__name__
    if model in place.models:
        place.refuse(f"{name} contains itself", "Store a UUID or an entity id in place of the nested model")
    if issubclass(model, pydantic.RootModel):
        place.refuse(f"{name} is a RootModel, which has no fields", "Use the type that it wraps")
    if model.model_config.get("extra") == "allow":
        place.refuse(f"{name} allows extra fields, which have no column", "Remove extra='allow', or use dict[str, T]")
    if not model.__pydantic_fields_complete__:
        model.model_rebuild(raise_errors=False)
    if not model.model_fields:
        place.refuse(f"{name} has no fields, and an empty struct has no place in Parquet", "Give it a field")
    raw_enums = bool(model.model_config.get("use_enum_values"))
    inner = replace(place, models=(*place.models, model), raw_enums=raw_enums)
    fields = {
        key: _codec(info.annotation, tuple(info.metadata), replace(inner, field=f"{place.field}.{key}"))
        for key, info in model.model_fields.items()
    }
    return StructOf(model, fields)


def _refuse(annotation: Any, origin: Any, override: pa.DataType | None, place: _Place) -> NoReturn:
    spelled = _spell(annotation)
    if isinstance(annotation, str | ForwardRef):
        place.refuse(f"{spelled} is not defined yet", "Define it before this class, at module level")
    if override is not None:
        place.refuse(f"{override} does not hold {spelled}", "Annotate the item type, or drop the Arrow type")
    if isinstance(annotation, TypeVar):
        place.refuse(f"{spelled} is a type variable", "Use a concrete type")
    if annotation in (list, typing.List):  # noqa: UP006  # reason: the spelling that is being refused
        place.refuse("a bare list does not say what it holds", "Use list[T]")
    if annotation in (dict, typing.Dict, Mapping):  # noqa: UP006  # reason: the spelling that is being refused
        place.refuse("a bare dict does not say what it holds", "Use dict[str, T]")
    if annotation in _OTHER_LISTS or origin in _OTHER_LISTS:
        place.refuse(f"{spelled} has no Arrow form that keeps its type", "Use list[T]")
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        place.refuse(f"{spelled} has no Arrow form that keeps its type", "Use dict[str, T]")
    if annotation is Any or annotation is object:
        place.refuse(f"{spelled} does not say what it holds", f"Use one of {_SUPPORTED}; for JSON, a str")
    place.refuse(f"{spelled} has no Arrow form", f"Use one of {_SUPPORTED}")


def _spell(annotation: Any) -> str:
    if isinstance(annotation, ForwardRef):
        return repr(annotation.__forward_arg__)
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
