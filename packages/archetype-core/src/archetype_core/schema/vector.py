"""`Vector(n)`: marks a field of n float32 values, for embeddings and other points."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Union

import pyarrow as pa
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from archetype_core.schema.scalar import Codec, Float, Refusal, as_float, wrong_type

_COMPONENT = Float(pa.float64())


@dataclass(frozen=True)
class Vector:
    """Marks a field as a vector of `size` float32 values.

    It takes lists, tuples and NumPy arrays; the component holds a list of floats, rounded to float32.

        class Memory(Component):
            embedding: Annotated[list[float], Vector(384)]

    `embedding: Vector(384)` means the same at run time, but is no type to a type checker.
    """

    size: int

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int):
            raise TypeError(f"Vector(n) takes an int, got {self.size!r}")
        if not 1 <= self.size < 2**31:
            raise ValueError(f"Vector(n) takes n of at least 1, got {self.size}")

    def __repr__(self) -> str:
        return f"Vector({self.size})"

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007  # reason: this is what defines `|`

    __ror__ = __or__

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(VectorOf(self.size).settle)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "number"}, "minItems": self.size, "maxItems": self.size}


class VectorOf(Codec):
    """The codec of `Vector(size)`."""

    settles = True

    def __init__(self, size: int) -> None:
        super().__init__(pa.list_(pa.float32(), size))
        self.size = size
        self._packed = struct.Struct(f"<{size}f")

    def encode(self, value: Any) -> Any:
        return self.settle(value)

    def settle(self, value: Any) -> list[float]:
        if not isinstance(value, list | tuple):
            # a NumPy array, recognized without importing NumPy
            if not hasattr(value, "__array__") or not hasattr(value, "tolist"):
                raise wrong_type(f"{self.size} floats", value)
            value = value.tolist()
            if not isinstance(value, list):
                raise wrong_type(f"{self.size} floats", value)
        if len(value) != self.size:
            raise Refusal(f"expected {self.size} floats, got {len(value)}")
        if set(map(type, value)) != {float}:
            value = [self._item(index, item) for index, item in enumerate(value)]
        try:
            return list(self._packed.unpack(self._packed.pack(*value)))
        except OverflowError:
            raise Refusal("a value overflows float32") from None

    @staticmethod
    def _item(index: int, item: Any) -> float:
        try:
            # a NumPy float32 is not a float, but converts to one
            return as_float(item.item() if hasattr(item, "__array__") and hasattr(item, "item") else item)
        except Refusal as exc:
            raise Refusal(f"[{index}]: {exc}") from None

    def to_json(self, value: Any) -> Any:
        return [_COMPONENT.to_json(item) for item in value]

    def from_json(self, raw: Any) -> Any:
        return [_COMPONENT.from_json(item) for item in raw] if isinstance(raw, list | tuple) else raw
