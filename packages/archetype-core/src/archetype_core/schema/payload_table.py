"""Payloads of many entities as columns: checked as one by one, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from archetype_core.errors import ArchetypeError
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, ComponentField, fields_of, resolve
from archetype_core.schema.scalar import Bool, Codec, Float, Int, Text

Payload = Mapping[str, Any]
_TYPES: Mapping[type[Codec], type] = {Bool: bool, Float: float, Int: int, Text: str}
"""What values of JSON are in the columns of these codecs, if nothing else is asked of them."""


def payload_table(bundles: Sequence[Sequence[Payload]]) -> tuple[pa.Table, Archetype] | None:
    """Return the payloads of entities as a table, if all have the same components in the same order and every value fits.

    Validators run. ``Component.from_payload`` says what is wrong with payloads for which the answer is ``None``.
    """
    if not bundles or len(set(map(len, bundles))) != 1:
        return None
    try:
        classes = [resolve(one["type"]) for one in bundles[0]]
        archetype = Archetype.of(*classes)
        columns: dict[str, pa.Array] = {}
        for cls, payloads in zip(classes, zip(*bundles, strict=True), strict=True):
            if set(map(itemgetter("type"), payloads)) != {cls.component_type().name}:
                return None
            found = _plain_columns(cls, payloads) or _checked_columns(cls, payloads)
            if found is None:
                return None
            columns |= found
    except (ArchetypeError, ValidationError, KeyError, TypeError, ValueError, OverflowError):
        return None
    names = list(archetype.column_names)
    if not names:
        return None
    return pa.Table.from_arrays([columns[name] for name in names], names=names), archetype


def _plain_columns(cls: type[Component], payloads: Sequence[Payload]) -> dict[str, pa.Array] | None:
    """The columns of payloads whose values need no validator; ``None`` if one may."""
    fields = _plain_fields(cls)
    if not fields:
        return None
    columns, entries = {}, len(payloads)
    for field in fields:
        kind, default = _TYPES[type(field.codec)], field.info.default
        given = [one.get(field.name, PydanticUndefined) for one in payloads]
        types = set(map(type, given))
        missing = 0
        if types != {kind}:
            missing = given.count(PydanticUndefined)
            if missing:
                if default is PydanticUndefined:
                    return None
                given = [default if one is PydanticUndefined else one for one in given]
            if kind is float:
                given = [float(one) if type(one) is int else one for one in given]
            if set(map(type, given)) != {kind}:
                return None
        entries += len(payloads) - missing
        if field.codec.exact is None:
            given = list(map(field.codec.encode, given))
        columns[field.columns[0].name] = pa.array(given, field.columns[0].type)
    # A field that the class does not have is named by the slow way.
    return columns if sum(map(len, payloads)) == entries else None


@lru_cache(maxsize=256)
def _plain_fields(cls: type[Component]) -> tuple[ComponentField, ...]:
    """The fields of a class whose values only have to be of their type; none if anything else is asked of one."""
    fields = fields_of(cls.component_type())
    decorators = cls.__pydantic_decorators__
    has_more = (
        decorators.field_validators
        or decorators.model_validators
        or decorators.root_validators
        or decorators.validators
        or cls.model_post_init is not Component.model_post_init
        or cls.__init__ is not Component.__init__
        or cls.__get_pydantic_core_schema__.__func__ is not Component.__get_pydantic_core_schema__.__func__  # type: ignore[attr-defined]  # reason: a class method
        or cls.model_config != Component.model_config
    )
    if has_more or not all(map(_is_plain, fields)):
        return ()
    return fields


def _is_plain(field: ComponentField) -> bool:
    info = field.info
    kind = _TYPES.get(type(field.codec))
    # A type of the user's own may validate itself.
    return kind is info.annotation and not (
        info.metadata or info.default_factory or info.validate_default or field.codec.settles or info.discriminator
    )


def _checked_columns(cls: type[Component], payloads: Sequence[Payload]) -> dict[str, pa.Array] | None:
    """The columns of payloads of a class, checked by its validators; ``None`` if one has another field."""
    kind = cls.component_type()
    fields = fields_of(kind)
    known = {field.name for field in fields} | {"type"}
    arguments: list[dict[str, Any]] = []
    for one in payloads:
        if not one.keys() <= known:
            return None
        given = dict(one)
        del given["type"]
        arguments.append(given)
    for field in fields:
        codec = field.codec
        if type(codec).from_json is Codec.from_json:
            continue
        name, exact, read = field.name, codec.exact, codec.from_json
        for given in arguments:
            if name in given and type(given[name]) is not exact:
                given[name] = read(given[name])
    made = _validator(cls).validate_python(arguments, by_alias=False, by_name=True)
    return dict(zip((column.name for column in kind.fields), kind.columns(made), strict=True))


@lru_cache(maxsize=256)
def _validator(cls: type[Component]) -> TypeAdapter[list[Component]]:
    return TypeAdapter(list[cls])  # type: ignore[valid-type]  # reason: the class is known when this is called
