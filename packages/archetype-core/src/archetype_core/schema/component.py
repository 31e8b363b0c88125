"""Components: typed data of an entity, and the columns that store it.

A component class is checked once, when it is defined, so no tick fails for the type of a field.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast, dataclass_transform

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, PrivateAttr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from archetype_core.argument import nearest
from archetype_core.errors import ComponentTypeError, PayloadError, SignatureError, UnknownComponent, ValueRejected
from archetype_core.schema.codec import codec_for
from archetype_core.schema.column_access import Columns, column_of, no_field
from archetype_core.schema.datatype import describe
from archetype_core.schema.evolution import Evolution
from archetype_core.schema.nested import Nullable, build
from archetype_core.schema.scalar import Codec, Refusal, clip
from archetype_core.schema.temporal import Moment

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # pydantic gives it no public name

ZONE_SUFFIX = "__zone"
_TYPE = "type"

Encoder = tuple[str, type | None, Callable[[Any], Any]]
"""A field's name, the type whose values need no check, and the check."""


@dataclass(frozen=True)
class ComponentField:
    """A declared field: its codec, its pydantic description, and its one or two columns."""

    name: str
    info: FieldInfo
    codec: Codec
    columns: tuple[pa.Field, ...]

    @property
    def nullable(self) -> bool:
        """Whether None is one of its values."""
        return isinstance(self.codec, Nullable)

    def read(self, row: Mapping[str, Any]) -> Any:
        """Return the field's value in a row of stored values."""
        stored = row[self.columns[0].name]
        if len(self.columns) == 2 and stored is not None:
            stored = {"at": stored, "zone": row[self.columns[1].name]}
        return self.codec.decode(stored)

    def encoders(self) -> Iterator[Encoder]:
        """Return an encoder for each of its columns."""
        if len(self.columns) == 1:
            yield self.name, self.codec.exact, self.codec.encode
            return
        for part in (Moment.at, Moment.zone):
            yield self.name, None, _or_none(part) if self.nullable else part


def is_moment(codec: Codec) -> bool:
    """Return whether values of a codec fill two columns."""
    return isinstance(codec.inner if isinstance(codec, Nullable) else codec, Moment)


@dataclass(frozen=True, eq=False)
class ComponentType:
    """The stored form of a component: its name and its columns. Two are equal if they are stored alike.

    A type that is read from a store needs no class; only `values`, `decode` and `cls` do.
    """

    name: str
    prefix: str
    fields: tuple[pa.Field, ...]
    key: str

    @classmethod
    def of(cls, name: str, fields: Sequence[pa.Field]) -> ComponentType:
        """Return the type of that name and those columns. Its key is the same in every process."""
        form = [name, [[field.name, describe(field.type), field.nullable] for field in fields]]
        digest = hashlib.sha256(json.dumps(form, ensure_ascii=True, separators=(",", ":")).encode())
        return cls(name, name.lower(), tuple(fields), digest.hexdigest()[:32])

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, ComponentType) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def cls(self) -> type[Component]:
        """The latest class that is stored like this; `UnknownComponent` if this process defines none."""
        return _plan_for(self).cls

    def values(self, component: Component) -> tuple[Any, ...]:
        """Return an instance's values as pyarrow takes them, in column order.

        A value that its column cannot hold is a `ValueRejected`. Pydantic's constraints are not checked again.
        """
        plan: _Plan | None = getattr(type(component), "__archetype_plan__", None)
        if plan is None or (plan.type is not self and plan.type.key != self.key):
            raise ValueRejected(self.name, "*", f"expected a {self.name}, got {_spell_class(type(component))}")
        held = component.__dict__
        values = []
        try:
            for name, exact, encode in plan.encoders:
                value = held[name]
                values.append(value if type(value) is exact else encode(value))
        except (Refusal, KeyError) as exc:
            if name not in held:
                raise ValueRejected(self.name, name, "the value is missing") from None
            raise ValueRejected(self.name, name, str(exc)) from None
        return tuple(values)

    def columns(self, components: Sequence[Component]) -> list[pa.Array]:
        """Return one array per column, from instances of one class; raises as `values` does for one of them."""
        plan: _Plan | None = getattr(type(components[0]), "__archetype_plan__", None) if components else None
        if plan is None or plan.type.key != self.key:
            return self.arrays([self.values(one) for one in components])
        held = [one.__dict__ for one in components]
        arrays = []
        try:
            for (name, exact, encode), field in zip(plan.encoders, self.fields, strict=True):
                column = [one[name] for one in held]
                if exact is None or set(map(type, column)) != {exact}:
                    column = [value if type(value) is exact else encode(value) for value in column]
                arrays.append(pa.array(column, field.type))
        except (Refusal, KeyError):
            # Name what is refused.
            for one in components:
                self.values(one)
            raise
        return arrays

    def arrays(self, rows: Sequence[tuple[Any, ...]]) -> list[pa.Array]:
        """Return one array per column, from tuples that `values` returned."""
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(self.fields)
        return [pa.array(column, field.type) for column, field in zip(columns, self.fields, strict=True)]

    def decode(self, row: Mapping[str, Any], cls: type[Component] | None = None) -> Component:
        """Return the component of a row of `to_pylist(maps_as_pydicts="strict")`; other columns are ignored.

        It is of class `cls`, by default the latest class stored like this. Validators do not run again. Its
        `model_fields_set` is empty, so that an update with it writes only what is assigned to it afterwards.
        """
        plan = cls.__archetype_plan__ if cls is not None else _plan_for(self)
        if plan is None or plan.type != self:
            raise UnknownComponent(self.name, f"{cls} is stored in another form")
        values = {}
        for field in plan.fields:
            try:
                values[field.name] = field.read(row)
            except Refusal as exc:
                raise ValueRejected(self.name, field.name, str(exc)) from None
        made = build(plan.cls, values)
        made.model_fields_set.clear()
        return made


class _Plan:
    """Everything that is derived from a component class, once."""

    def __init__(self, cls: type[Component]) -> None:
        self.cls = cls
        self.fields = tuple(_fields_of(cls))
        self.type = ComponentType.of(cls.__name__, [column for field in self.fields for column in field.columns])
        self.encoders = tuple(encoder for field in self.fields for encoder in field.encoders())
        self.settling = tuple((field.name, field.codec.settle) for field in self.fields if field.codec.settles)
        self.evolution = _evolution_of(cls, [field.name for field in self.fields])


def _evolution_of(cls: type[Component], fields: Sequence[str]) -> Evolution:
    declared = cls.evolution
    if declared is None:
        return Evolution()
    remedy = "Write evolution = Evolution(...), and name current fields where it asks for them"
    if not isinstance(declared, Evolution):
        raise ComponentTypeError(cls.__name__, "evolution", f"{declared!r} is not an Evolution", remedy)
    if "evolution" not in cls.__dict__:
        declared = replace(declared, previous=(), refuse=())
    for fault in declared.faults(cls.__name__, fields):
        raise ComponentTypeError(cls.__name__, "evolution", fault, remedy)
    return declared


def _fields_of(cls: type[Component]) -> Iterator[ComponentField]:
    name, prefix = cls.__name__, cls.__name__.lower()
    if cls.model_config.get("extra") == "allow":
        raise ComponentTypeError(name, "*", "extra fields have no column", "Remove extra='allow', or use dict[str, T]")
    raw_enums = bool(cls.model_config.get("use_enum_values"))
    taken: dict[str, str] = {}
    for key, info in cls.__pydantic_fields__.items():
        if key == _TYPE or hasattr(Component, key):
            what = "a key of every payload" if key == _TYPE else "an attribute of every component"
            remedy = "Choose another name, such as 'kind'"
            if key == "evolution":
                remedy = "Choose another name; for an Evolution, write evolution = Evolution(...) without a type"
            raise ComponentTypeError(name, key, f"{key!r} is {what}", remedy)
        codec = codec_for(name, key, info.annotation, info.metadata, raw_enums=raw_enums)
        _check_default(name, key, info, codec)
        nullable = isinstance(codec, Nullable)
        column = f"{prefix}__{key}"
        columns: tuple[pa.Field, ...] = (pa.field(column, codec.type, nullable=nullable),)
        if is_moment(codec):
            columns = (
                pa.field(column, pa.timestamp("us"), nullable=nullable),
                pa.field(column + ZONE_SUFFIX, pa.large_string()),
            )
        for each in columns:
            if each.name in taken:
                reason = f"column {each.name} is taken by field {taken[each.name]!r}"
                raise ComponentTypeError(name, key, reason, "Rename one of the two fields")
            taken[each.name] = key
        yield ComponentField(key, info, codec, columns)


def _check_default(component: str, field: str, info: FieldInfo, codec: Codec) -> None:
    """Refuse a default that no instance can hold."""
    if codec.settles and info.default is not PydanticUndefined:
        try:
            codec.settle(info.default)
        except Refusal as exc:
            reason = f"its default is refused: {exc}"
            raise ComponentTypeError(component, field, reason, "Give a default that the field can hold") from None


def _or_none(act: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else act(value)


# Strong references: a component class is part of reference cycles, so a weak entry would vanish whenever the collector
# runs, and its rows could no longer be decoded. A redefinition replaces the class of the same form.
_BY_KEY: dict[str, _Plan] = {}
_BY_NAME: dict[str, _Plan] = {}


def _plan_for(component_type: ComponentType) -> _Plan:
    try:
        return _BY_KEY[component_type.key]
    except KeyError:
        pass
    stored = ", ".join(f"{field.name}: {field.type}" for field in component_type.fields) or "no columns"
    is_other = component_type.name in _BY_NAME
    reason = "the class of that name has other fields" if is_other else "import the module that defines it"
    raise UnknownComponent(component_type.name, f"{reason}; the stored columns are {stored}")


def no_component(given: object) -> SignatureError:
    """Return the refusal of what is no component, such as the class of one."""
    hint = f": make one, {given.__name__}(…)" if isinstance(given, type) else ""
    return SignatureError(f"an entity is made of component instances, not {given!r}{hint}")


def fields_of(component_type: ComponentType) -> tuple[ComponentField, ...]:
    """Return the declared fields of a type's class; `UnknownComponent` if there is none."""
    return _plan_for(component_type).fields


def declared_fields(cls: type[Component]) -> tuple[ComponentField, ...]:
    """Return the fields that a class declares; none for a template."""
    plan = cls.__archetype_plan__
    return () if plan is None else plan.fields


def evolution_of(cls: type[Component]) -> Evolution:
    """Return what a class declares about its earlier forms; an empty `Evolution` if it declares nothing."""
    plan = cls.__archetype_plan__
    return Evolution() if plan is None else plan.evolution


def is_known(component_type: ComponentType) -> bool:
    """Return whether this process defines a class that is stored like this."""
    return component_type.key in _BY_KEY


def is_defined(name: str) -> bool:
    """Return whether this process defines a component class of that name."""
    return name in _BY_NAME


def resolve(name: str) -> type[Component]:
    """Return the latest component class of that name; `UnknownComponent` if there is none."""
    try:
        return _BY_NAME[name].cls
    except KeyError:
        raise UnknownComponent(name, f"import the module that defines it{nearest(name, _BY_NAME)}") from None


def type_of_class(given: object) -> ComponentType:
    """Return the type of a component class; ``TypeError`` for anything else, such as its name or an instance."""
    if isinstance(given, type) and issubclass(given, Component):
        return given.component_type()
    hint = f": pass the class {type(given).__name__}" if isinstance(given, Component) else ""
    if isinstance(given, str):
        hint = f": pass the class {given}" if given in _BY_NAME else nearest(given, _BY_NAME)
    raise TypeError(f"a component is named by its class, such as Position, not {given!r}{hint}")


def types_with_column(name: str) -> list[ComponentType]:
    """Return the component types that have a column of that name: the latest of their names, then older ones."""
    kinds = dict.fromkeys(plan.type for plan in (*_BY_NAME.values(), *reversed(_BY_KEY.values())))
    return [kind for kind in kinds if any(field.name == name for field in kind.fields)]


def _spell_class(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


@dataclass_transform(kw_only_default=True, field_specifiers=(Field, PrivateAttr))
class _ComponentMeta(ModelMetaclass):
    """Checks a component class when it is defined, and makes its fields Daft columns."""

    # not `__new__`: pydantic reads the frame that called its `__new__` to resolve local annotations
    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(name, bases, namespace)
        component = cast("type[Component]", cls)
        cls.__archetype_columns__ = Columns(component)
        is_root = not any(isinstance(base, _ComponentMeta) for base in bases)
        generic = component.__pydantic_generic_metadata__
        if is_root or generic["parameters"] or generic["origin"]:
            # a template: only its concrete subclasses are components
            cls.__archetype_plan__ = None
            return
        plan = cls.__dict__.get("__archetype_plan__") or _Plan(component)
        cls.__archetype_plan__ = plan
        _BY_KEY[plan.type.key] = _BY_NAME[name] = plan

    @property
    def c(cls) -> Columns:
        """The columns of this class, by field."""
        return cls.__archetype_columns__

    if not TYPE_CHECKING:  # with these, type checkers would accept any argument and any attribute

        def __call__(cls, *args: Any, **values: Any) -> Any:
            if args and issubclass(cls, Component):
                fields = ", ".join(f"{name}=…" for name in cls.__pydantic_fields__)
                raise TypeError(
                    f"{cls.__name__} takes its fields by name, {cls.__name__}({fields}), not {clip(args[0])}"
                )
            try:
                return super().__call__(*args, **values)
            except ValidationError as failure:
                fields = list(cls.__pydantic_fields__)
                for one in failure.errors(include_url=False, include_context=False, include_input=False):
                    if one["type"] == "extra_forbidden" and len(one["loc"]) == 1:
                        failure.add_note(no_field(cls, str(one["loc"][0]), fields))
                raise

        def __getattr__(cls, name: str) -> Any:
            # Pydantic reads class attributes to find defaults and shadowed names, and must not see columns there.
            if name.startswith("_") or sys._getframe(1).f_globals.get("__name__", "").startswith("pydantic."):
                return super().__getattr__(name)
            return column_of(cls, name)


class Component(BaseModel, metaclass=_ComponentMeta):
    """Typed data of an entity. A subclass declares fields, each stored in a column `<class name lower>__<field>`.

    A field without an Arrow form is a `ComponentTypeError` when the class is defined. `Position.c.x` is the Daft column
    `position__x`; so is `Position.x` on the class, but type checkers see a float there.

        class Position(Component):
            x: float = 0.0
            y: float = 0.0
    """

    # arbitrary types pass pydantic, so that our own error names the field and the remedy
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, ignored_types=(Evolution,))

    evolution: ClassVar[Evolution | None] = None
    """What became of the fields of earlier forms of this class; see `Evolution`."""

    __archetype_plan__: ClassVar[_Plan | None] = None

    @classmethod
    def component_type(cls) -> ComponentType:
        """Return the stored form of this class."""
        plan = cls.__archetype_plan__
        if plan is None:
            remedy = "Define a subclass with concrete field types"
            raise ComponentTypeError(cls.__name__, "*", "the class is a template, not a component", remedy)
        return plan.type

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        plan = cls.__dict__.get("__archetype_plan__")
        try:
            plan = plan or _Plan(cls)
        except ComponentTypeError:
            return schema  # raised again when the class is there, where no library wraps it
        cls.__archetype_plan__ = plan
        if not plan.settling:
            return schema
        return core_schema.no_info_after_validator_function(_settle, schema)

    def to_payload(self) -> dict[str, Any]:
        """Return the component as JSON data, with its class name as `"type"`.

        Non-finite floats are "NaN", "Infinity" and "-Infinity", bytes are base64, dates and times ISO 8601 (an IANA zone
        in brackets, RFC 9557), durations "PT1.500000S", Decimal and UUID text, and enum members what their column holds.
        A value that cannot be stored is a `ValueRejected`.
        """
        component_type, held = self.component_type(), self.__dict__
        component_type.values(self)
        fields = cast(_Plan, self.__archetype_plan__).fields
        return {_TYPE: component_type.name, **{one.name: one.codec.to_json(held[one.name]) for one in fields}}

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Return the component of a payload, an instance of the class that it names: this class or a subclass.

        Validators run. A payload that does not fit is a `PayloadError`.
        """
        if not isinstance(payload, Mapping):
            raise PayloadError(f"a payload must be a mapping, got {type(payload).__name__}")
        name = payload.get(_TYPE)
        if not isinstance(name, str):
            raise PayloadError(f'a payload must have its class name as "type", got {clip(dict(payload))}')
        target = _target(cls, name)
        component_type = target.component_type()
        fields = {field.name: field for field in fields_of(component_type)}
        unknown = [str(key) for key in payload if key != _TYPE and key not in fields]
        if unknown:
            has = f"it has {', '.join(fields)}" if fields else "it has none"
            raise PayloadError(f"{name} has no field {', '.join(map(repr, unknown))}; {has}")
        arguments = {}
        for key, field in fields.items():
            if key in payload:
                try:
                    arguments[key] = field.codec.from_json(payload[key])
                except Refusal as exc:
                    raise PayloadError(f"{name}.{key}: {exc}") from None
        try:
            made = target.model_validate(arguments, by_alias=False, by_name=True)
            component_type.values(made)
        except (ValidationError, ValueRejected) as exc:
            raise PayloadError(f"the payload does not fit {name}: {exc}") from exc
        return cast("Self", made)


def _settle(component: Component) -> Component:
    """Round narrow floats in a new component to what its columns hold."""
    plan = type(component).__archetype_plan__
    held = component.__dict__
    for name, settle in plan.settling if plan else ():
        try:
            held[name] = settle(held[name])
        except Refusal as exc:
            raise ValueError(f"{name}: {exc}") from None
    return component


def _target(cls: type[Component], name: str) -> type[Component]:
    # the class itself first: a later class may have its name
    if cls.__name__ == name and cls.__archetype_plan__ is not None:
        return cls
    try:
        found = resolve(name)
    except UnknownComponent as exc:
        raise PayloadError(f"the payload's type is unknown: {exc}") from exc
    if not issubclass(found, cls):
        raise PayloadError(f"{_spell_class(found)} is not a subclass of {cls.__name__}: call from_payload on Component")
    return found


def checked_components(given: object, name: str) -> tuple[type[Component], ...]:
    """Return component classes as a tuple; `TypeError` if something else is given."""
    if not isinstance(given, (tuple, list, set, frozenset)):
        raise TypeError(f"{name} must be a tuple of component classes, got {given!r}")
    for component in given:
        if not (isinstance(component, type) and issubclass(component, Component)):
            raise TypeError(f"{name} holds {component!r}, which is not a component class")
    return tuple(given)
