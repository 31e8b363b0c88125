"""Codecs made of other codecs: optional values, lists, maps and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel

from archetype_core.schema.scalar import Codec, Refusal, Text, clip, wrong_type

M = TypeVar("M", bound=BaseModel)

_KEY = Text(pa.large_string())


def at(place: str, act: Callable[[Any], Any], value: Any) -> Any:
    """Apply a codec's method to a nested value; a `Refusal` names the place."""
    try:
        return act(value)
    except Refusal as exc:
        raise Refusal(f"{place}: {exc}") from None


class Nullable(Codec):
    """`Optional` of another codec."""

    def __init__(self, inner: Codec) -> None:
        super().__init__(inner.type)
        self.inner, self.exact, self.settles = inner, inner.exact, inner.settles

    def encode(self, value: Any) -> Any:
        return None if value is None else self.inner.encode(value)

    def decode(self, stored: Any) -> Any:
        return None if stored is None else self.inner.decode(stored)

    def settle(self, value: Any) -> Any:
        return None if value is None else self.inner.settle(value)

    def to_json(self, value: Any) -> Any:
        return None if value is None else self.inner.to_json(value)

    def from_json(self, raw: Any) -> Any:
        return None if raw is None else self.inner.from_json(raw)


class ListOf(Codec):
    """`list[T]`."""

    def __init__(self, item: Codec) -> None:
        super().__init__(pa.large_list(pa.field("item", item.type)))
        self.item, self.settles = item, item.settles

    def encode(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise wrong_type("list", value)
        if self.item.exact is not None and set(map(type, value)) <= {self.item.exact}:
            return list(value)
        return self._each(self.item.encode, value)

    def decode(self, stored: Any) -> Any:
        return [self.item.decode(item) for item in stored]

    def settle(self, value: Any) -> Any:
        return self._each(self.item.settle, value) if isinstance(value, list) else value

    def to_json(self, value: Any) -> Any:
        return [self.item.to_json(item) for item in value]

    def from_json(self, raw: Any) -> Any:
        return self._each(self.item.from_json, raw) if isinstance(raw, list) else raw

    @staticmethod
    def _each(act: Callable[[Any], Any], values: list[Any]) -> list[Any]:
        return [at(f"[{index}]", act, value) for index, value in enumerate(values)]


class MapOf(Codec):
    """`dict[str, T]`; keeps the order of its keys."""

    def __init__(self, item: Codec) -> None:
        super().__init__(pa.map_(pa.large_string(), item.type))
        self.item, self.settles = item, item.settles

    def encode(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong_type("dict", value)
        return [(at("key", _KEY.encode, key), at(f"[{clip(key)}]", self.item.encode, value[key])) for key in value]

    def decode(self, stored: Any) -> Any:
        pairs = stored.items() if isinstance(stored, Mapping) else stored
        return {key: self.item.decode(item) for key, item in pairs}

    def settle(self, value: Any) -> Any:
        return self._each(self.item.settle, value) if isinstance(value, dict) else value

    def to_json(self, value: Any) -> Any:
        return {key: self.item.to_json(item) for key, item in value.items()}

    def from_json(self, raw: Any) -> Any:
        return self._each(self.item.from_json, raw) if isinstance(raw, Mapping) else raw

    @staticmethod
    def _each(act: Callable[[Any], Any], values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {key: at(f"[{clip(key)}]", act, value) for key, value in values.items()}


class StructOf(Codec):
    """A nested pydantic model, as a struct. An instance of a subclass is refused, since it may hold more."""

    def __init__(self, model: type[BaseModel], fields: Mapping[str, Codec]) -> None:
        # Daft keeps no nullability inside a column, so none is declared; `encode` refuses nulls instead
        super().__init__(pa.struct([pa.field(name, codec.type) for name, codec in fields.items()]))
        self.model, self.fields = model, dict(fields)
        self.settles = any(codec.settles for codec in fields.values())

    def encode(self, value: Any) -> Any:
        if type(value) is not self.model:
            raise wrong_type(self.model.__name__, value)
        held = value.__dict__
        missing = [name for name in self.fields if name not in held]
        if missing:
            raise Refusal(f".{missing[0]}: the value is missing")
        return {name: at(f".{name}", codec.encode, held[name]) for name, codec in self.fields.items()}

    def decode(self, stored: Any) -> Any:
        if stored.keys() != self.fields.keys():
            missing = [name for name in self.fields if name not in stored]
            unknown = [name for name in stored if name not in self.fields]
            raise Refusal(f".{missing[0]}: the value is missing" if missing else self._no_field(unknown))
        return build(self.model, {name: codec.decode(stored[name]) for name, codec in self.fields.items()})

    def _no_field(self, unknown: Iterable[Any]) -> str:
        return f"{self.model.__name__} has no field {', '.join(map(repr, unknown))}"

    def settle(self, value: Any) -> Any:
        if not isinstance(value, self.model):
            return value
        settled = {
            name: at(f".{name}", codec.settle, value.__dict__[name])
            for name, codec in self.fields.items()
            if codec.settles and name in value.__dict__
        }
        # a copy: the caller may hold the model elsewhere
        return value.model_copy(update=settled)

    def to_json(self, value: Any) -> Any:
        return {name: codec.to_json(value.__dict__[name]) for name, codec in self.fields.items()}

    def from_json(self, raw: Any) -> Any:
        if not isinstance(raw, Mapping):
            return raw
        unknown = [str(name) for name in raw if name not in self.fields]
        if unknown:
            raise Refusal(self._no_field(unknown))
        return {name: at(f".{name}", self.fields[name].from_json, value) for name, value in raw.items()}


def build(model: type[M], values: dict[str, Any]) -> M:
    """Return an instance that holds exactly these values; no validator runs."""
    made = model.__new__(model)
    object.__setattr__(made, "__dict__", dict(values))
    object.__setattr__(made, "__pydantic_fields_set__", set(values))
    object.__setattr__(made, "__pydantic_extra__", None)
    if model.__pydantic_post_init__:
        # it sets up private attributes; its changes to fields are part of the values already
        made.model_post_init(None)
        made.__dict__.update(values)
    elif not hasattr(made, "__pydantic_private__"):
        object.__setattr__(made, "__pydantic_private__", None)
    return made
