"""The error of a stored form that does not fit a class: both forms side by side, and the line to write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from archetype_core.errors import SchemaMismatch
from archetype_core.schema.component import Component, ComponentField, ComponentType, declared_fields, evolution_of
from archetype_core.schema.conform import has_default
from archetype_core.schema.datatype import describe
from archetype_core.schema.nested_version import follows, without_default


@dataclass(frozen=True)
class StoredField:
    """A field of a stored form: its name and its one or two columns."""

    name: str
    columns: tuple[pa.Field, ...]


def report(
    stored: ComponentType,
    cls: type[Component],
    known: Sequence[StoredField],
    *,
    added: Sequence[str] = (),
    removed: Sequence[str] = (),
    retyped: Sequence[str] = (),
    unexplained: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> SchemaMismatch:
    """Return the error of a stored form that cannot become rows of a class, or not without a word from the user."""
    fields = {field.name: field for field in declared_fields(cls)}
    forms = {one.name: _spell(one.columns) for one in known}
    olds = {name: next((old for old in evolution_of(cls).old_names(name) if old in forms), name) for name in retyped}
    differences = [f"field {name!r} has no default and is not stored" for name in added]
    differences += [f"stored field {name!r} is not in the class" for name in removed]
    differences += [
        f"field {name!r} is stored under none of its names: {', '.join([name, *evolution_of(cls).old_names(name)])}"
        for name in unexplained
    ]
    differences += [
        f"field {name!r} is stored as {forms[olds[name]]} and declared as {_spell(fields[name].columns)}"
        for name in retyped
    ]
    lines = [
        f"The rows were written by another {stored.name} than {cls.__module__}.{cls.__qualname__}:",
        *_side_by_side(forms, fields),
    ]
    if removed or retyped:
        renames = {name: old[0] for name, old in unexplained.items() if len(old) == len(unexplained) == 1}
        left = [name for name in removed if name not in renames.values()]
        renames |= _renames(known, {name: field for name, field in fields.items() if name not in renames}, left)
        gone = [name for name in removed if name not in renames.values()]
        lines += [
            f"Write in class {cls.__name__}:",
            f"    evolution = {_declaration(cls, gone, retyped, rename=renames)}",
        ]
        if renames:
            lines += ["or, if these values may go:", f"    evolution = {_declaration(cls, removed, retyped)}"]
        lines += _alternatives(known, fields, gone)
        lines += _inner_defaults(known, fields, retyped)
    lines += [f"Give {name} a default in class {cls.__name__}." for name in added]
    return SchemaMismatch(stored.name, differences, remedy="\n".join(lines))


def renamed(stored: ComponentType, heirs: Sequence[type[Component]], others: Sequence[str]) -> SchemaMismatch:
    """Return the error of rows without a class that have exactly the fields of classes which may be its new name.

    ``others`` are names in the world's history that have no class either: they may be still earlier names.
    """
    lines = []
    for cls in heirs:
        fields = {field.name: field for field in declared_fields(cls)}
        forms = {field.name: _spell(field.columns) for field in fields.values()}
        lines += [
            f"{cls.__module__}.{cls.__qualname__} has these fields, and this world never had a {cls.__name__}:",
            *_side_by_side(forms, fields, (f"stored {stored.name}", f"class {cls.__name__}")),
            f"If that is the new name of {stored.name}, write in class {cls.__name__}:",
            f"    evolution = {_declaration(cls, (), (), previous=(stored.name,))}",
        ]
        if others:
            lines += [
                "Reads leave out what it was called before that, unless it is named too. History has more names without a class:",
                f"    evolution = {_declaration(cls, (), (), previous=(stored.name, *others))}",
            ]
    lines.append(f"If {stored.name} is another component, import the module that defines its class.")
    return SchemaMismatch(stored.name, [f"this process has no class {stored.name}"], remedy="\n".join(lines))


def unfit_value(cls: type[Component], field: ComponentField, reason: str, entity: int | None = None) -> SchemaMismatch:
    """Return the error of a stored value that its field cannot hold, of an entity if it is known."""
    where = "" if entity is None else f" of entity {entity}"
    if field.name in evolution_of(cls).convert:
        remedy = f"Correct the converter of {field.name!r} in the evolution of class {cls.__name__}."
    else:
        remedy = (
            f"Write in class {cls.__name__}, with a function from the old column to the new one:\n"
            f"    evolution = {_declaration(cls, (), (field.name,))}"
        )
    return SchemaMismatch(cls.__name__, [f"field {field.name!r}{where}: {reason}"], remedy=remedy)


def _side_by_side(
    forms: Mapping[str, str], fields: Mapping[str, ComponentField], heads: tuple[str, str] = ("stored", "class")
) -> list[str]:
    rows = [heads]
    for name in dict.fromkeys([*forms, *fields]):
        theirs = f"{name}: {forms[name]}" if name in forms else "-"
        mine = "-"
        if name in fields:
            mine = f"{name}: {_spell(fields[name].columns)}" + (", default" if has_default(fields[name].info) else "")
        rows.append((theirs, mine))
    width = max(len(left) for left, _ in rows)
    return [f"    {left:<{width}}   {right}" for left, right in rows]


def _spell(columns: Sequence[pa.Field]) -> str:
    first = columns[0]
    described = describe(first.type)
    name = "datetime" if len(columns) == 2 else described if isinstance(described, str) else str(first.type)
    return f"{name} or null" if first.nullable else name


def _renames(
    known: Sequence[StoredField], fields: Mapping[str, ComponentField], removed: Sequence[str]
) -> dict[str, str]:
    """New fields by name, each with the one removed field of its type: most likely it was renamed, and no value may be lost."""
    stored = {one.name: _spell(one.columns) for one in known}
    new = {name: _spell(field.columns) for name, field in fields.items() if name not in stored}
    found = {}
    for old in removed:
        alike = [name for name, form in new.items() if form == stored[old]]
        rivals = [other for other in removed if stored[other] == stored[old]]
        if len(alike) == len(rivals) == 1:
            found[alike[0]] = old
    return found


def _declaration(
    cls: type[Component],
    drop: Iterable[str],
    convert: Iterable[str],
    *,
    rename: Mapping[str, str] | None = None,
    previous: Sequence[str] = (),
) -> str:
    """The declaration that a class needs, together with what it declares already."""
    declared = evolution_of(cls)
    renames: dict[str, str | tuple[str, ...]] = dict(declared.rename)
    for name, old in (rename or {}).items():
        # The names that are declared are newer ones.
        renames[name] = (*declared.old_names(name), old) if declared.old_names(name) else old
    dropped = tuple(dict.fromkeys([*declared.drop, *drop]))
    converters = {name: getattr(one, "__name__", "<") for name, one in declared.convert.items()}
    converters = {name: "..." if one.startswith("<") else one for name, one in converters.items()}
    converters.update(dict.fromkeys([name for name in convert if name not in converters], "..."))
    # Here, too, the names that are declared are newer ones.
    names = (*declared.previous_names, *previous)
    parts = {
        "rename": repr(renames) if renames else "",
        "drop": repr(dropped) if dropped else "",
        "convert": "{" + ", ".join(f"{name!r}: {one}" for name, one in converters.items()) + "}" if converters else "",
        "previous": repr(names[0] if len(names) == 1 else names) if names else "",
        "refuse": repr(declared.refuse) if declared.refuse else "",
    }
    return f"Evolution({', '.join(f'{name}={text}' for name, text in parts.items() if text)})".replace("'", '"')


def _inner_defaults(
    known: Sequence[StoredField], fields: Mapping[str, ComponentField], retyped: Sequence[str]
) -> list[str]:
    """What to write in nested models that only lack a default for a field that is not stored."""
    stored = {one.name: one.columns for one in known}
    return [
        f"If {inner} is new, a default for it is enough: {name!r} then needs no converter."
        for name in retyped
        if name in stored and len(stored[name]) == len(fields[name].columns) == 1
        if follows(stored[name][0].type, fields[name].codec, strict=True, needs_defaults=False)
        for inner in without_default(stored[name][0].type, fields[name].codec)
    ]


def _alternatives(
    known: Sequence[StoredField], fields: Mapping[str, ComponentField], removed: Sequence[str]
) -> list[str]:
    lines = []
    stored = {one.name for one in known}
    new = [name for name in fields if name not in stored]
    if removed and new:
        lines.append(f'If a field was renamed: rename={{"{new[0]}": "{removed[0]}"}}.')
    spelled = repr(tuple(one.name for one in known)).replace("'", '"')
    lines.append(f"If it is another component of the same name: refuse=({spelled},).")
    return lines
