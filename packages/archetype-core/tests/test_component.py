"""Component classes: fields, identity and payloads."""

from __future__ import annotations

import copy
import datetime as dt
import inspect
import json
import os
import pickle
import subprocess
import sys
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import pyarrow as pa
import pydantic
import pytest
from pydantic import BaseModel, Field, PrivateAttr

from archetype_core.errors import ComponentTypeError, PayloadError, UnknownComponent, ValueRejected
from archetype_core.schema import Component, ComponentType, resolve


class Position(Component):
    x: float = 0.0
    y: float = 0.0


class Base(Component):
    name: str = "base"


class Mid(Base):
    level: int = 0


class Leaf(Mid):
    level: int = 7
    when: dt.datetime | None = None


class Tag(Component):
    pass


class Part(BaseModel):
    size: int = 0


class Machine(Component):
    part: Part = Part()


def names(component: type[Component]) -> list[str]:
    """The column names of a component."""
    return [field.name for field in component.component_type().fields]


def test_columns_carry_the_class_name() -> None:
    """The columns of a component are its lower-case class name, two underscores and the field. (M1)"""
    assert names(Position) == ["position__x", "position__y"]
    assert names(Tag) == []
    assert Position.component_type().prefix == "position"


def test_inherited_fields_are_columns_of_the_subclass() -> None:
    """A component of a component has the inherited fields under its own prefix. (M1)"""
    assert names(Leaf) == ["leaf__name", "leaf__level", "leaf__when", "leaf__when__zone"]
    assert Leaf().level == 7


def test_class_variables_and_private_attributes_are_no_columns() -> None:
    """Only declared fields are columns. (M1)"""

    class Partly(Component):
        kind: ClassVar[str] = "k"
        x: int = 0
        _cache: dict[str, int] = PrivateAttr(default_factory=dict)

        def cache(self) -> dict[str, int]:
            return self._cache

    component = Partly(x=3)
    [values] = [Partly.component_type().values(component)]
    back = Partly.component_type().decode({"partly__x": 3})
    assert names(Partly) == ["partly__x"]
    assert values == (3,)
    assert back == component
    assert isinstance(back, Partly)
    assert back.cache() == {}


def test_decoding_does_not_change_what_was_stored() -> None:
    """Validators and post-init hooks do not change stored values again. (M7)"""

    class Doubled(Component):
        x: int = 0

        def model_post_init(self, context: Any) -> None:
            self.x *= 2

        @pydantic.field_validator("x")
        @classmethod
        def increment(cls, value: int) -> int:
            return value + 1

    component = Doubled(x=1)
    component_type = Doubled.component_type()
    assert component.x == 4
    decoded: Any = component_type.decode(dict(zip(names(Doubled), component_type.values(component), strict=True)))
    assert decoded.x == 4


def test_aliases_do_not_name_columns() -> None:
    """Fields are columns and payload keys by their own name, even where aliases swap them. (M1, M3)"""

    class Swapped(Component):
        a: int = Field(default=1, alias="b")
        b: int = Field(default=2, alias="a")

    component = Swapped.model_validate({"a": 20, "b": 10})
    component_type = Swapped.component_type()
    decoded: Any = component_type.decode(dict(zip(names(Swapped), component_type.values(component), strict=True)))
    assert (decoded.a, decoded.b) == (10, 20)
    assert component.to_payload() == {"type": "Swapped", "a": 10, "b": 20}
    assert Swapped.from_payload(component.to_payload()) == component


def test_an_unknown_argument_is_refused() -> None:
    """A misspelt constructor argument is an error. (M1)"""
    with pytest.raises(pydantic.ValidationError, match="Extra inputs"):
        Position(z=1.0)  # type: ignore[call-arg]  # reason: this is what is refused


def test_a_misspelt_argument_is_noted_with_the_fields() -> None:
    """The traceback of a misspelt constructor argument ends with the fields and the nearest one. (M1)"""
    with pytest.raises(pydantic.ValidationError) as caught:
        Position(xx=1.0)  # type: ignore[call-arg]  # reason: this is what is refused
    assert caught.value.__notes__ == ["Position has no field 'xx'; it has x, y; did you mean x?"]


def test_fields_are_given_by_name() -> None:
    """A field that is given by position is refused with the names. (M1)"""
    with pytest.raises(TypeError, match=r"Position takes its fields by name, Position\(x=…, y=…\), not 1.0"):
        Position(1.0)  # type: ignore[misc]  # reason: this is what is refused


def test_unresolvable_forward_references_are_refused() -> None:
    """A forward reference that is not defined yet is refused with the remedy. (M2)"""
    with pytest.raises(ComponentTypeError, match="Define it before this class") as refusal:

        class Early(Component):
            later: list[Later]  # type: ignore[name-defined]  # noqa: F821  # reason: it is defined nowhere, which is the point

    assert (refusal.value.component, refusal.value.field) == ("Early", "later")


def test_local_types_are_resolved() -> None:
    """A field may have a type that is local to the function that defines the class. (M2)"""

    class Local(BaseModel):
        x: int

    class Holds(Component):
        local: Local

    assert Holds(local=Local(x=1)).local.x == 1


def test_a_component_that_contains_itself_is_refused() -> None:
    """A recursive component has no Arrow form. (M2)"""
    with pytest.raises(ComponentTypeError):

        class Node(Component):
            parent: Node | None = None


def test_colliding_columns_are_refused() -> None:
    """A field whose column is the zone column of another is refused, naming both. (M2)"""
    with pytest.raises(ComponentTypeError, match="taken by field 'at'"):

        class Clash(Component):
            at: dt.datetime
            at__zone: str


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize("field", ["type", "to_payload", "model_fields_set", "copy", "c"])
def test_reserved_names_are_refused(field: str) -> None:
    """A field may not hide the payload's type or an attribute of every component. (M3)"""
    with pytest.raises(ComponentTypeError, match="Choose another name"):
        type("Reserved", (Component,), {"__annotations__": {field: int}, "__module__": __name__})


def test_extra_fields_cannot_be_allowed() -> None:
    """A component that would hold undeclared fields is refused: they have no column. (M2)"""
    with pytest.raises(ComponentTypeError, match="extra='allow'"):

        class Open(Component, extra="allow"):
            x: int = 0


def test_a_generic_component_is_a_template() -> None:
    """A generic class is a template; its concrete subclass is a component. (M2)"""
    T = TypeVar("T")

    class Box(Component, Generic[T]):
        item: T

    class IntBox(Box[int]):
        pass

    assert names(IntBox) == ["intbox__item"]
    for template in (Component, Box, Box[int]):
        with pytest.raises(ComponentTypeError, match="template"):
            template.component_type()


def test_components_behave_like_models() -> None:
    """Copies, pickles, introspection and JSON schema of a component work as for any model. (M1)"""
    component = Leaf(name="x", when=dt.datetime(2000, 1, 1))
    assert copy.copy(component) == copy.deepcopy(component) == component.model_copy() == component
    assert pickle.loads(pickle.dumps(component)) == component
    assert list(inspect.signature(Leaf).parameters) == ["name", "level", "when"]
    assert inspect.getmembers(Leaf)
    assert set(Leaf.model_json_schema()["properties"]) == {"name", "level", "when"}


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **more}


_DEFINE = """
import datetime, decimal, enum, uuid, typing
import pyarrow, pydantic
from archetype_core.schema import Archetype
from archetype_core.schema import Component
from archetype_core.schema import Vector
class Inner(pydantic.BaseModel):
    x: float
class Stable(Component):
    a: int; b: list[str]; k: dict[str, Inner]; d: datetime.datetime; e: Vector(4) | None; f: decimal.Decimal
    g: typing.Annotated[datetime.timedelta, pyarrow.duration('s')]; h: typing.Annotated[bytes, pyarrow.binary(2)]
class Other(Component):
    x: float
print(Stable.component_type().key, Archetype.of(Other, Stable).name)
"""


@pytest.mark.thorough
def test_keys_and_table_names_are_the_same_in_every_process() -> None:
    """Table identity depends on neither hash seed nor order, and is pinned for stores on disk. (M4)"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", _DEFINE],
            check=True,
            capture_output=True,
            text=True,
            env=_environment(PYTHONHASHSEED=seed),
        ).stdout.strip()
        for seed in ("0", "1", "4242")
    }
    assert printed == {"b500f0c7cb7cc19e69775a8e8ffd38f5 other_stable_ab5dd126b3ce5f34"}


def test_redefining_a_class_with_the_same_fields_is_the_same_component() -> None:
    """After a redefinition with the same fields, old instances can be stored and rows decode to the latest class. (M4)"""

    def define() -> Any:
        class Cell(Component):
            x: int = 0
            part: Part = Part()

        return Cell

    first, second = define(), define()
    assert first.component_type() == second.component_type()
    assert hash(first.component_type()) == hash(second.component_type())
    assert first.component_type().cls is resolve("Cell") is second
    values = second.component_type().values(first(x=2))
    assert type(first.component_type().decode(dict(zip(names(first), values, strict=True)))) is second


def test_redefining_a_class_with_other_fields_is_another_component() -> None:
    """Other fields, types or nullability are another key; the old form keeps its class. (M4, S6)"""
    annotations: tuple[Any, ...] = (int, float, int | None, Annotated[int, pa.int32()])
    forms: list[Any] = [
        type("Formed", (Component,), {"__annotations__": {"x": annotation}, "__module__": __name__})
        for annotation in annotations
    ]
    forms.append(type("Formed", (Component,), {"__annotations__": {"y": int}, "__module__": __name__}))
    assert len({form.component_type().key for form in forms}) == len(forms)
    assert [form.component_type().cls for form in forms] == forms
    assert resolve("Formed") is forms[-1]
    with pytest.raises(ValueRejected, match="expected a Formed"):
        forms[0].component_type().values(forms[1](x=1.0))


def test_a_type_without_its_class_describes_columns_only() -> None:
    """A type without its class has columns; using its class is UnknownComponent with its name. (S6)"""
    ghost = ComponentType.of("Ghost", [pa.field("ghost__x", pa.int64(), nullable=False)])
    assert [array.to_pylist() for array in ghost.arrays([(1,), (2,)])] == [[1, 2]]
    with pytest.raises(UnknownComponent, match="Ghost") as unknown:
        ghost.decode({"ghost__x": 1})
    assert isinstance(unknown.value, LookupError)
    with pytest.raises(UnknownComponent, match="other fields"):
        _ = ComponentType.of("Position", ghost.fields).cls
    with pytest.raises(UnknownComponent, match="did you mean Position"):
        resolve("Positon")


@pytest.mark.parametrize("value", [None, 3, Part(), Leaf()])
def test_values_of_something_else_are_refused(value: Any) -> None:
    """Values of anything but an instance of the component are refused. (M7)"""
    with pytest.raises(ValueRejected, match="expected a Position"):
        Position.component_type().values(value)


def test_a_missing_field_is_named() -> None:
    """An unvalidated instance without one of the fields is refused by the field's name. (M7)"""
    component = Position(x=1)
    del component.y
    with pytest.raises(ValueRejected, match="missing") as refusal:
        Position.component_type().values(component)
    assert refusal.value.field == "y"


def test_no_rows_are_empty_arrays() -> None:
    """No rows give typed, empty columns; a tag has no columns. (M1)"""
    assert [array.type for array in Leaf.component_type().arrays([])] == [
        field.type for field in Leaf.component_type().fields
    ]
    assert Tag.component_type().arrays([(), ()]) == []


def test_payloads_rebuild_the_concrete_class_at_any_depth() -> None:
    """A payload names its class, and every base of it rebuilds that class. (M3)"""
    payload = {"type": "Leaf", "name": "n", "level": 3, "when": "2024-01-01T00:00:00+01:00[Europe/Berlin]"}
    given_payload = copy.deepcopy(payload)
    for base in (Component, Base, Mid, Leaf):
        made = base.from_payload(payload)
        assert type(made) is Leaf
        assert made.to_payload() == payload
    assert payload == given_payload


def test_payloads_take_plain_python_values_and_fill_defaults() -> None:
    """Missing fields get their defaults, and Python values are accepted as well as JSON. (M3)"""
    when = dt.datetime(2024, 1, 1)
    assert Component.from_payload({"type": "Leaf", "when": when}) == Leaf(when=when)
    assert Component.from_payload({"type": "Machine", "part": {"size": 2}}) == Machine(part=Part(size=2))
    assert Component.from_payload({"type": "Tag"}) == Tag()


@pytest.mark.parametrize(
    ("base", "payload", "reason"),
    [
        (Component, {}, '"type"'),
        (Component, {"x": 1.0}, '"type"'),
        (Component, {"type": 3}, '"type"'),
        (Component, [], "mapping"),
        (Component, {"type": "Positron"}, "did you mean Position"),
        (Component, {"type": "Component"}, "unknown"),
        (Leaf, {"type": "Mid"}, "Mid is not a subclass of Leaf"),
        (Position, {"type": "Leaf"}, "Leaf is not a subclass of Position"),
        (Component, {"type": "Mid", "z": 1}, "no field 'z'; it has name, level"),
        (Component, {"type": "Tag", "z": 1}, "no field 'z'; it has none"),
        (Component, {"type": "Machine", "part": {"size": 1, "colour": 2}}, "part: Part has no field 'colour'"),
        (Component, {"type": "Position", "x": "far"}, "does not fit Position"),
        (Component, {"type": "Position", "x": None}, "does not fit Position"),
        (Component, {"type": "Mid", "level": 2**63}, "outside int64"),
        (Component, {"type": "Mid", "level": [1]}, "does not fit Mid"),
        (Component, {"type": "Leaf", "when": "2024-01-01T00:00:00+01:00[Nowhere/Land]"}, "Nowhere/Land"),
    ],
)
def test_payloads_that_do_not_fit_fail_loudly(base: type[Component], payload: Any, reason: str) -> None:
    """A payload without type, of an unknown type, with an unknown field or a wrong value is a PayloadError. (M3)"""
    with pytest.raises(PayloadError, match=reason):
        base.from_payload(payload)


def test_malformed_base64_and_unknown_members_are_payload_errors() -> None:
    """A JSON value that does not decode is an error with its field. (M3)"""

    class Blob(Component):
        data: bytes = b""
        mode: Literal["a", "b"] = "a"

    with pytest.raises(PayloadError, match=r"Blob\.data.*base64"):
        Blob.from_payload({"type": "Blob", "data": "***"})
    with pytest.raises(PayloadError, match="mode"):
        Blob.from_payload({"type": "Blob", "mode": "c"})


def test_a_class_that_shares_its_name_with_a_later_one_rebuilds_itself() -> None:
    """`from_payload` on a class prefers the class itself over a later one of the same name. (M3)"""

    def define() -> type[Component]:
        class Twin(Component):
            x: int = 0

        return Twin

    first, second = define(), define()
    assert type(first.from_payload({"type": "Twin"})) is first
    assert type(Component.from_payload({"type": "Twin"})) is second


def test_an_invalid_value_does_not_become_a_payload() -> None:
    """A value that cannot be stored does not become a payload. (M7)"""
    component = Position()
    component.x = "far"  # type: ignore[assignment]  # reason: this is what is refused
    with pytest.raises(ValueRejected):
        component.to_payload()


def test_a_payload_of_everything_is_plain_json() -> None:
    """`json.dumps` takes a payload as it is, without NaN literals. (M3)"""
    payload = Leaf(when=dt.datetime(2000, 1, 1, tzinfo=dt.UTC)).to_payload()
    assert json.loads(json.dumps(payload, allow_nan=False)) == payload
