"""What a Vector field takes and holds."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pydantic
import pytest

from archetype_core.schema import Component, Vector


class Embedded(Component):
    at: Annotated[list[float], Vector(3)]


class Defaulted(Component):
    at: Annotated[list[float], Vector(1)] = [0.1]


def bits(value: float) -> bytes:
    """The bits of a float, by which -0.0 is not 0.0."""
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
