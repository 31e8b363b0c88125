"""What a component class says about its own earlier forms, so that stored rows can follow it (M8).

A declaration only. `schema/version.py` plans and does what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

# Not `pa.Array`: to strict checkers it is generic, and a user's lambda over it would be of unknown type.
Converter = Callable[[Any], Any]
"""Makes a field's new values from its old column, a `pyarrow.Array`: an Arrow or NumPy array, or Python values."""

_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Evolution:
    """What became of the fields that earlier forms of a component had; a class variable of the component.

    Fields with a default can be added, and integers, floats, decimals and `T` to `T | None` widened, without one.

        class Health(Component):
            hp: float = 10.0
            armor: int = 0

            evolution = Evolution(rename={"hp": "health"}, drop=("seen",), convert={"hp": each(float)})

    A rename, a conversion or a drop applies only to rows that still have the old form, so it can stay for good.
    """

    rename: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: _NONE)
    """The old name of a field, or several of different age."""
    drop: tuple[str, ...] = ()
    """Old fields whose values are no longer wanted. History keeps them."""
    convert: Mapping[str, Converter] = field(default_factory=lambda: _NONE)
    """A function for each field of another type or of another meaning. It gets the old column as an Arrow array (a plain
    datetime as a struct of `at` and `zone`) and must give the same values for the same column."""
    previous: str | tuple[str, ...] = ()
    """Earlier names of the class. A subclass does not inherit them."""
    refuse: tuple[tuple[str, ...], ...] = ()
    """Field names of other components that had this name; rows with exactly these fields are left alone. A subclass does
    not inherit them."""

    def __post_init__(self) -> None:
        for what, mapping in (("rename", self.rename), ("convert", self.convert)):
            if not isinstance(mapping, Mapping):
                raise TypeError(f"{what} is a mapping from new field names, not {mapping!r}")
        for name, converter in self.convert.items():
            if isinstance(converter, type):
                kind = converter.__name__
                raise TypeError(
                    f"convert[{name!r}] gets the whole old column: write each({kind}) to call {kind} for every value"
                )
            if not callable(converter):
                raise TypeError(f"convert[{name!r}] is a function of a column, such as each(int), not {converter!r}")
        tuples: list[tuple[str, object]] = [("drop", self.drop), ("refuse", self.refuse)]
        if isinstance(self.refuse, tuple):
            tuples += [("each of refuse", names) for names in self.refuse]
        for what, given in tuples:
            if not isinstance(given, tuple):
                raise TypeError(f"{what} is a tuple, such as ('hp',), not {given!r}")

    @property
    def previous_names(self) -> tuple[str, ...]:
        """The earlier names of the class, as a tuple."""
        return _names(self.previous)

    def old_names(self, name: str) -> tuple[str, ...]:
        """Return the names that a field had before, in the order given."""
        return _names(self.rename.get(name, ()))

    def faults(self, component: str, fields: Iterable[str]) -> Iterable[str]:
        """Yield what cannot be meant by a class with these fields."""
        known = set(fields)
        for what, given in (("rename", self.rename), ("convert", self.convert)):
            yield from (
                f"{what} names {name!r}, which is not one of its fields{self._turned(name, known)}"
                for name in given
                if name not in known
            )
        for name in self.drop:
            if name in known:
                yield f"drop names {name!r}, which is one of its fields: give convert a function for it"
        olds = [old for name in self.rename for old in self.old_names(name)]
        for old in dict.fromkeys(olds):
            if old in self.rename or old in self.drop:
                yield f"{old!r} is renamed, and is renamed to or dropped as well"
            elif olds.count(old) > 1:
                yield f"two fields are renamed from {old!r}"
        if component in self.previous_names:
            yield f"previous names {component!r}, which is its own name"

    def _turned(self, name: str, known: set[str]) -> str:
        """What to write in place of a rename that maps an old name to a new one."""
        new = next((one for one in self.old_names(name) if one in known), None)
        return "" if new is None else f"; if it is an old name, write rename={{{new!r}: {name!r}}}"


def each(function: Callable[[Any], Any]) -> Converter:
    """Return a converter that calls a function for every value of the old column; nulls stay null.

    The function gets the stored value (an enum member as its value or name, a UUID as text) and returns what the class
    takes. Slower than a function of the whole column.

    >>> Evolution(convert={"level": each(int)})
    """

    def convert(column: Any) -> list[Any]:
        values = column.to_pylist(maps_as_pydicts="strict")
        return [None if value is None else function(value) for value in values]

    return convert


def _names(given: str | tuple[str, ...]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
