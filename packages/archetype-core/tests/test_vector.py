"""Vector fields: spellings, values and defaults."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pydantic
import pytest

from archetype_core.errors import ComponentTypeError
from archetype_core.schema import Component, Vector


class Embedded(Component):
    at: Annotated[list[float], Vector(3)]


class Defaulted(Component):
    at: Annotated[list[float], Vector(1)] = [0.1]


class Spelled(Component):
    """Every way to spell a vector at run time."""

    marked: Annotated[list[float], Vector(2)]
    called: Vector(2)  # type: ignore[valid-type]  # reason: a call is an annotation only at run time
    maybe_marked: Annotated[list[float], Vector(2)] | None = None
    maybe_called: Vector(2) | None = None  # type: ignore[valid-type]  # reason: likewise
    none_first: None | Vector(2) = None  # type: ignore[valid-type]  # noqa: RUF036  # reason: likewise
    several: list[Annotated[list[float], Vector(2)]] = []


def bits(value: float) -> bytes:
    """The bits of a float, which differ for -0.0 and 0.0."""
    return struct.pack("<d", value)


@pytest.mark.parametrize("given_as", [list, tuple, np.array, lambda values: np.array(values, np.float32)])
def test_a_vector_takes_any_sequence_of_numbers(given_as: Callable[[list[float]], Any]) -> None:
    """Lists, tuples and arrays become a list of float32 values; also as a default. (M2)"""
    component: Any = Embedded(at=given_as([0.1, 1, -0.0]))
    assert [bits(float(np.float32(item))) for item in (0.1, 1, -0.0)] == [bits(item) for item in component.at]
    default: Any = Defaulted()
    assert default.at == [float(np.float32(0.1))]


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "3"])
def test_a_vector_has_at_least_one_value(size: Any) -> None:
    """Vector(n) refuses anything but a positive whole number. (M2)"""
    with pytest.raises((TypeError, ValueError), match=r"Vector\(n\) takes"):
        Vector(size)


def test_a_wrong_vector_is_refused_when_the_component_is_made() -> None:
    """A vector of another length does not become a component. (M7)"""
    with pytest.raises(pydantic.ValidationError, match="expected 3 floats"):
        Embedded(at=[1.0])


def test_both_spellings_are_one_type() -> None:
    """`Annotated[list[float], Vector(n)]` and the published `Vector(n)` are the same column, optional or not. (M2)"""
    vector = pa.list_(pa.float32(), 2)
    types = [(field.type, field.nullable) for field in Spelled.component_type().fields]
    assert types[:2] == [(vector, False)] * 2
    assert types[2:5] == [(vector, True)] * 3
    assert types[5] == (pa.large_list(pa.field("item", vector)), False)
    schema = Spelled.model_json_schema()["properties"]
    assert schema["marked"] | {"title": ""} == schema["called"] | {"title": ""}
    assert schema["marked"]["maxItems"] == 2
    assert (repr(Vector(2)), Vector(2), hash(Vector(2))) == ("Vector(2)", Vector(2), hash(Vector(2)))


@pytest.mark.parametrize("marked", [list[int], list[float] | None, float], ids=str)
def test_a_vector_marks_a_list_of_floats(marked: Any) -> None:
    """`Vector(n)` on any other type is refused when the class is defined. (M2)"""
    with pytest.raises(ComponentTypeError, match=r"Annotated\[list\[float\], Vector\(2\)\]"):
        type("Marked", (Component,), {"__annotations__": {"x": Annotated[marked, Vector(2)]}, "__module__": __name__})


@pytest.mark.parametrize("default", [[1.0], "ab", [1.0, None], [1e300, 0.0]], ids=str)
def test_a_default_that_is_no_vector_is_refused(default: Any) -> None:
    """A default that no component could hold is refused when the class is defined. (M2, M7)"""
    with pytest.raises(ComponentTypeError, match="default") as refusal:

        class Wrong(Component):
            at: Annotated[list[float], Vector(2)] = default

    assert refusal.value.field == "at"
