"""Encoding and decoding of commands."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
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
    UpdateTable,
)
from archetype_core.errors import PayloadError, SchemaMismatch, ValueRejected
from archetype_core.schema import Archetype
from archetype_gate import command_codec


class Sample(Component):
    """Values that JSON has no type for."""

    number: float = 0.0
    data: bytes = b""
    at: datetime | None = None


floats = st.floats(allow_nan=False, allow_infinity=True)
ids = st.integers(1, 2**63 - 1)
entities = ids | st.lists(ids, max_size=4).map(lambda many: pa.array(many, pa.int64()))
samples = st.builds(
    Sample,
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
    st.builds(lambda one, two: Spawn((one, two)), positions, samples),
    st.lists(st.tuples(positions), max_size=4).map(lambda many: SpawnMany(tuple(many))),
    entities.map(Despawn),
    st.builds(lambda some, one: Update(some, (one,)), entities, samples),
    st.builds(lambda some, one: AddComponents(some, (one,)), entities, samples),
    entities.map(lambda some: RemoveComponents(some, (Position, Velocity))),
    st.lists(st.tuples(ids, floats), max_size=4).map(
        lambda rows: UpdateTable(pa.table({"entity_id": [one for one, _ in rows], "position__x": [x for _, x in rows]}))
    ),
    st.builds(Send, ids, bodies, st.none() | ids, st.text(st.characters(codec="utf-8"))),
    st.builds(Custom, st.text(st.characters(codec="utf-8"), min_size=1), bodies),
)


@given(commands)
def test_a_decoded_command_equals_the_encoded_one(command: EntityCommand[object]) -> None:
    """A decoded command equals the encoded one (G5, M7)."""
    assert command_codec.decode(type(command).__name__, command_codec.encode(command)) == command


def test_nan_and_minus_zero_survive() -> None:
    """NaN and minus zero survive encoding (M7)."""
    spawn = command_codec.decode("Spawn", command_codec.encode(Spawn((Sample(number=math.nan), Position(x=-0.0)))))
    assert isinstance(spawn, Spawn)
    sample, position = spawn.components
    assert isinstance(sample, Sample)
    assert isinstance(position, Position)
    assert math.isnan(sample.number)
    assert math.copysign(1, position.x) == -1


def test_update_keeps_the_named_fields() -> None:
    """A decoded update names the fields that were set, and no others (T4)."""
    update = command_codec.decode("Update", command_codec.encode(Update(1, (Sample(data=b"\xff"),))))
    assert isinstance(update, Update)
    assert update.components[0].model_fields_set == {"data"}


@pytest.mark.parametrize("rows", [0, 1, 1000])
@pytest.mark.parametrize("kinds", [(Position,), (Done,), (Position, Done)])
def test_bulk_spawns_survive(rows: int, kinds: tuple[type[Component], ...]) -> None:
    """A bulk spawn keeps its rows, also with components without fields (G5)."""
    archetype = Archetype.of(*kinds)
    columns = {"position__x": pa.array([float(one) for one in range(rows)])} if Position in kinds else {}
    table = pa.table(columns) if columns else pa.table({"nothing": pa.nulls(rows)}).select([])
    decoded = command_codec.decode("SpawnTable", command_codec.encode(SpawnTable(table, archetype)))
    assert isinstance(decoded, SpawnTable)
    assert (decoded.table.num_rows, decoded.archetype) == (rows, archetype)
    assert decoded.table.to_pydict() == {name: list(map(float, range(rows))) for name in columns}


def test_a_bulk_spawn_copies_its_table() -> None:
    """Changing the array behind a bulk spawn does not change the command (M7)."""
    values = np.zeros(8)
    command = command_codec.with_own_values(SpawnTable(pa.table({"x": values}), Archetype.of(Position)))
    assert isinstance(command, SpawnTable)
    values[:] = 7
    assert command.table.column("position__x").to_pylist() == [0.0] * 8


def test_columns_that_do_not_fit_are_refused() -> None:
    """A bulk spawn whose columns do not fit its archetype raises (M7)."""
    with pytest.raises(SchemaMismatch):
        command_codec.with_own_values(SpawnTable(pa.table({"y": [1.0]}), Archetype.of(Position)))


@pytest.mark.parametrize("body", [math.nan, object(), {1, 2}, b"x"])
def test_data_that_is_not_json_is_refused(body: object) -> None:
    """A message that JSON cannot hold raises (M7)."""
    with pytest.raises(ValueRejected):
        command_codec.encode(Send(1, body))


def test_an_undefined_component_is_named() -> None:
    """Decoding a command with an undefined component raises and names the component (S6)."""
    with pytest.raises(PayloadError, match="Nowhere"):
        command_codec.decode("Spawn", b'{"components":[{"type":"Nowhere"}]}')


@pytest.mark.parametrize("class_name", ["Spawn", "SpawnTable", "Update", "Nonsense"])
def test_other_bytes_are_refused(class_name: str) -> None:
    """Decoding bytes that are no command raises PayloadError."""
    with pytest.raises(PayloadError):
        command_codec.decode(class_name, b"\x00garbage")
