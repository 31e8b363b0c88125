"""Commands as bytes."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import Done, Position, Velocity

from archetype_core import Component
from archetype_core.command import (
    AddComponents,
    Custom,
    Despawn,
    EntityCommand,
    RemoveComponents,
    Send,
    Spawn,
    SpawnMany,
    SpawnTable,
    Update,
)
from archetype_core.errors import PayloadError, SchemaMismatch, ValueRejected
from archetype_core.schema import Archetype
from archetype_gate import command_codec


class Odd(Component):
    """Values that JSON has no word for."""

    number: float = 0.0
    data: bytes = b""
    at: datetime | None = None


floats = st.floats(allow_nan=False, allow_infinity=True)
ids = st.integers(1, 2**63 - 1)
odds = st.builds(
    Odd,
    number=floats,
    data=st.binary(),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
positions = st.builds(Position, x=floats)
bodies = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)
commands: st.SearchStrategy[EntityCommand[object]] = st.one_of(
    st.builds(lambda one, two: Spawn((one, two)), positions, odds),
    st.lists(st.tuples(positions), max_size=4).map(lambda many: SpawnMany(tuple(many))),
    st.lists(ids, max_size=4).map(lambda many: Despawn(tuple(many))),
    st.builds(lambda entity, one: Update(entity, (one,)), ids, odds),
    st.builds(lambda entity, one: AddComponents(entity, (one,)), ids, odds),
    ids.map(lambda entity: RemoveComponents(entity, (Position, Velocity))),
    st.builds(Send, ids, bodies, st.none() | ids, st.text(st.characters(codec="utf-8"))),
    st.builds(Custom, st.text(st.characters(codec="utf-8"), min_size=1), bodies),
)


@given(commands)
def test_what_is_encoded_comes_back(command: EntityCommand[object]) -> None:
    """A command that was written down is the same command when it is read (G5, M7)."""
    assert command_codec.decode(type(command).__name__, command_codec.encode(command)) == command


def test_nan_comes_back_as_nan() -> None:
    """NaN survives being written down, and so does minus zero (M7)."""
    spawn = command_codec.decode("Spawn", command_codec.encode(Spawn((Odd(number=math.nan), Position(x=-0.0)))))
    assert isinstance(spawn, Spawn)
    odd, position = spawn.components
    assert math.isnan(odd.number)
    assert math.copysign(1, position.x) == -1


def test_update_keeps_which_fields_were_given() -> None:
    """An update that is read back lays over the fields that were given, and no others (T4)."""
    update = command_codec.decode("Update", command_codec.encode(Update(1, (Odd(data=b"\xff"),))))
    assert isinstance(update, Update)
    assert update.components[0].model_fields_set == {"data"}


@pytest.mark.parametrize("rows", [0, 1, 1000])
@pytest.mark.parametrize("kinds", [(Position,), (Done,), (Position, Done)])
def test_tables_come_back(rows: int, kinds: tuple[type[Component], ...]) -> None:
    """A bulk spawn comes back with its rows, also one of components without fields (G5)."""
    archetype = Archetype.of(*kinds)
    columns = {"position__x": pa.array([float(one) for one in range(rows)])} if Position in kinds else {}
    table = pa.table(columns) if columns else pa.table({"nothing": pa.nulls(rows)}).select([])
    back = command_codec.decode("SpawnTable", command_codec.encode(SpawnTable(table, archetype)))
    assert isinstance(back, SpawnTable)
    assert (back.table.num_rows, back.archetype) == (rows, archetype)
    assert back.table.to_pydict() == {name: list(map(float, range(rows))) for name in columns}


def test_table_is_settled_against_later_changes() -> None:
    """What a bulk spawn holds is its own: changing the array that it was given changes nothing (M7)."""
    import numpy as np

    values = np.zeros(8)
    command = command_codec.with_own_table(SpawnTable(pa.table({"x": values}), Archetype.of(Position)))
    assert isinstance(command, SpawnTable)
    values[:] = 7
    assert command.table.column("position__x").to_pylist() == [0.0] * 8


def test_wrong_columns_are_refused_at_the_door() -> None:
    """A bulk spawn that fits no table is refused before it is accepted (M7)."""
    with pytest.raises(SchemaMismatch):
        command_codec.with_own_table(SpawnTable(pa.table({"y": [1.0]}), Archetype.of(Position)))


@pytest.mark.parametrize("body", [math.nan, object(), {1, 2}, b"x"])
def test_what_json_cannot_hold_is_refused(body: object) -> None:
    """A message that cannot be written down is refused where it enters (M7)."""
    with pytest.raises(ValueRejected):
        command_codec.encode(Send(1, body))


def test_a_component_that_is_not_defined_says_so() -> None:
    """Reading a command of a component that this process does not know names it (S6)."""
    with pytest.raises(PayloadError, match="Nowhere"):
        command_codec.decode("Spawn", b'{"components":[{"type":"Nowhere"}]}')


@pytest.mark.parametrize("form", ["Spawn", "SpawnTable", "Update", "Nonsense"])
def test_garbage_is_refused(form: str) -> None:
    """Bytes that are no command are a typed error."""
    with pytest.raises(PayloadError):
        command_codec.decode(form, b"\x00garbage")
