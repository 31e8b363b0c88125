"""What a modeller reads when the expression of a column fails: its column, the own function, and the error once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pytest
from daft import DataFrame
from daft.errors import UDFException
from scene import Position
from tracebacks import MOST_LINES, failing, failure, lines, shown

from archetype_core.engine import Processor, World
from archetype_core.errors import ProcessorError
from archetype_core.store import MemoryStore


def invert(size: int) -> Any:
    """Fails inside a library."""
    return np.linalg.inv(np.zeros((size, size)))


@daft.func.batch(return_dtype=daft.DataType.float64())
def broken(series: daft.Series) -> daft.Series:
    """Fails when a batch of values is evaluated."""
    raise ZeroDivisionError("in code of a column")


@daft.func
def doubled(value: float) -> float:
    """Works."""
    return 2 * value


@daft.func
def broken_row(value: float) -> float:
    """Fails when a value is evaluated."""
    return value / 0


class Rows(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("position__x", broken_row(Position.c.x))


class Plans(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        return df.sort("entity_id").with_column("position__x", broken_row(Position.c.x))


class MapsWrongTypes(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> Any:
        return {Position.c.y: Position.c.y + 1, Position.c.x: Position.c.x / "a"}


class MapsRows(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> Any:
        return {Position.c.y: Position.c.y + 1, Position.c.x: broken_row(Position.c.x)}


class MapsBatches(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> Any:
        return {Position.c.y: doubled(Position.c.y), Position.c.x: broken(Position.c.x)}


class Applies(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> Any:
        return {Position.c.x: Position.c.x.apply(lambda _: invert(2), daft.DataType.float64())}


LAST_LINES = {
    Plans: 'return df.sort("entity_id").with_column("position__x", broken_row(Position.c.x))',
    Rows: "def broken_row(value: float) -> float:",
    MapsWrongTypes: 'return {Position.c.y: Position.c.y + 1, Position.c.x: Position.c.x / "a"}',
    MapsRows: "def broken_row(value: float) -> float:",
    Applies: "return np.linalg.inv(np.zeros((size, size)))",
}


@pytest.mark.parametrize("kind", LAST_LINES, ids=lambda kind: kind.__name__)
def test_a_failing_expression_shows_the_users_lines(kind: type[Processor]) -> None:
    """The traceback leads from the line that wrote the column into the user's function, as far as Daft tells (T7)."""
    error = failure(failing(kind()).step)
    assert shown(error)[-1] == LAST_LINES[kind]
    printed = lines(error)
    assert len(printed) <= MOST_LINES
    assert printed[-1].endswith("fix the cause and step again. [ARC-T002]")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (MapsWrongTypes, "column position__x: DaftTypeError: Cannot divide types: Float64, String"),
        (MapsRows, "column position__x: ZeroDivisionError: float division by zero (in 200 rows)"),
        (Rows, "column position__x: ZeroDivisionError: float division by zero (in 200 rows)"),
        (Plans, "ZeroDivisionError: float division by zero (in 200 rows)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_reason_is_the_users_error_once(kind: type[Processor], reason: str) -> None:
    """The column whose expression failed is named, and an error of many rows is told once (T8)."""
    world = World(MemoryStore(), processors=[kind()])
    world.spawn_many([Position()] * 200)
    asyncio.run(world.step())
    error = failure(world.step)
    assert isinstance(error, ProcessorError)
    assert error.reason == reason
    assert error.column == ("position__x" if reason.startswith("column") else None)
    printed = lines(error)
    assert len(printed) <= MOST_LINES
    assert len([one for one in printed if "by zero" in one]) <= 2


def test_the_column_of_several_with_code_is_that_of_the_failing_function() -> None:
    """With code in two columns, the one whose function is in the traceback is named."""
    error = failure(failing(MapsBatches()).step)
    assert isinstance(error, ProcessorError)
    assert error.column == "position__x"


def test_the_cause_of_code_applied_to_a_column_is_the_users_exception() -> None:
    """Daft's own exception around it is left out."""
    assert isinstance(failure(failing(Applies()).step).__cause__, np.linalg.LinAlgError)


def test_a_setting_keeps_what_daft_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ARCHETYPE_FULL_TRACEBACK=1`` keeps Daft's exception, and its text of every row."""
    monkeypatch.setenv("ARCHETYPE_FULL_TRACEBACK", "1")
    assert isinstance(failure(failing(Applies()).step).__cause__, UDFException)
    assert "Error processing some rows" in str(failure(failing(MapsRows()).step).__cause__)


ELSEWHERE = """
import asyncio, daft
from archetype_core import Component, MemoryStore, Processor, World

class Position(Component):
    x: float = 0.0

@daft.func.batch(return_dtype=daft.DataType.float64(), use_process=True)
def broken(series):
    raise ValueError("in another process")

class Bad(Processor):
    components = (Position,)

    def process(self, df):
        return {Position.c.x: broken(Position.c.x)}

if __name__ == "__main__":
    world = World(MemoryStore(), processors=[Bad()])
    world.spawn(Position())
    asyncio.run(world.run(2))
"""


def test_code_in_another_process_shows_its_line(tmp_path: Path) -> None:
    """Daft passes the other process's traceback on as text: the error and the line are taken from it."""
    script = tmp_path / "model.py"
    script.write_text(ELSEWHERE)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    printed = ran.stderr.rstrip().splitlines()
    assert ran.returncode == 1
    assert len(printed) <= MOST_LINES
    assert printed[-2] == '    raise ValueError("in another process")'
    assert "at tick 1: column position__x: ValueError: in another process." in printed[-1]
