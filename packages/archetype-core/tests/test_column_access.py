"""`Position.c.x`: the columns of a component class, by field."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import warnings
from typing import Annotated, Any, Generic, TypeVar

import daft
import pyarrow as pa
import pydantic
import pytest
from pydantic import BaseModel, PrivateAttr

from archetype_core.schema import Component

T = TypeVar("T")


class Place(Component):
    east: float = 0.0
    north: float = 0.0


class City(Place):
    name: str = ""


class Part(BaseModel):
    size: int = 0


class Tool(Component):
    part: Part = Part()
    _cache: dict[str, int] = PrivateAttr(default_factory=dict)


class Crate(Component, Generic[T]):
    item: T


class IntCrate(Crate[int]):
    pass


class Empty(Component):
    pass


def attribute(owner: object, name: str) -> Any:
    """An attribute that a type checker does not know."""
    return getattr(owner, name)


def test_a_field_is_a_daft_column() -> None:
    """`Place.c.east` is the column place__east, also for inherited, nested and generic fields. (M6)"""
    for column, name in [
        (Place.c.east, "place__east"),
        (City.c.east, "city__east"),
        (City.c.name, "city__name"),
        (Tool.c.part, "tool__part"),
        (IntCrate.c.item, "intcrate__item"),
    ]:
        assert isinstance(column, daft.Expression)
        assert column.name() == name
    frame = daft.from_pydict({"place__east": [1.0, 2.0]})
    assert frame.select((Place.c.east + 1).alias("next")).to_pydict() == {"next": [2.0, 3.0]}
    assert frame.where(Place.c.east > 1).count_rows() == 1


def test_a_column_is_the_same_object_each_time() -> None:
    """A column can be a key of a mapping, given once or twice; on the class itself it is that object, too. (M6)"""
    assert Place.c.east is Place.c.east
    assert attribute(Place, "east") is Place.c.east
    columns = [Place.c.east, Place.c.north, attribute(Place, "east")]
    changed = {column: index for index, column in enumerate(columns)}
    assert list(changed.values()) == [2, 1]
    assert changed[Place.c.east] == 2


@pytest.mark.parametrize("spelled", [lambda name: getattr(Place.c, name), lambda name: getattr(Place, name)])
def test_a_misspelt_field_is_an_attribute_error(spelled: Any) -> None:
    """The error names the class and its fields, and suggests the nearest. (M6)"""
    with pytest.raises(
        AttributeError, match="Place has no field 'nort'; it has east, north; did you mean north"
    ) as caught:
        spelled("nort")
    assert caught.value.name == "nort"
    with pytest.raises(AttributeError, match=r"it has east, north$"):
        spelled("altitude")


@pytest.mark.parametrize("owner", [Component, Crate, Empty], ids=lambda owner: owner.__name__)
def test_a_class_without_fields_has_no_columns(owner: type[Component]) -> None:
    """A template and a tag have no columns, neither by `c` nor on the class. (M6)"""
    for where in (owner, owner.c):
        assert not hasattr(where, "item")
        with pytest.raises(AttributeError, match=f"{owner.__name__} (is a template|has no field 'item')"):
            attribute(where, "item")


def test_columns_can_be_looked_at() -> None:
    """`dir` and the repr of `c` name the fields, for completion; `c` is copied and pickled as itself. (M6)"""
    assert dir(City.c) == ["east", "name", "north"]
    assert repr(City.c) == "City.c(east, north, name)"
    assert hasattr(City.c, "name")
    assert not hasattr(City.c, "_cache")
    assert copy.copy(City.c) is copy.deepcopy(City.c) is City.c
    assert pickle.loads(pickle.dumps(City.c)) is City.c
    assert City.c is not Place.c
    assert inspect.getmembers(City.c)


def test_an_instance_has_its_values() -> None:
    """Columns belong to the class: an instance has neither `c` nor the column of a field that was deleted. (M6)"""
    place = Place(east=2)
    assert place.east == 2.0
    del place.east
    for name in ("east", "c"):
        assert not hasattr(place, name)
    assert hasattr(Place, "east")
    assert not hasattr(Place, "up")
    assert not hasattr(Tool, "cache")


def test_overriding_an_inherited_field_warns_of_nothing() -> None:
    """Column attributes are invisible to pydantic: no shadowing, no expression as a default. (M6)"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Wide(Place):
            east: Annotated[float, pa.float32()]  # type: ignore[assignment]  # reason: this is what is refused

    with pytest.raises(pydantic.ValidationError):
        Wide()  # type: ignore[call-arg]  # reason: likewise
    assert Wide(east=0.1).north == 0.0


def test_defining_components_does_not_import_daft() -> None:
    """Only the first column expression pays for Daft. (M6)"""
    code = (
        "import sys\nfrom archetype_core import Archetype, Component\n"
        "class P(Component):\n    x: float = 0.0\nclass Q(P):\n    x: float = 1.0\n"
        "Archetype.of(P); dir(P.c); assert 'daft' not in sys.modules; P.c.x; assert 'daft' in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, env=environment)
