"""The stored files, read as docs/files.md says, have what the worlds have: with DuckDB, Polars and pandas."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import lance
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archetype import Component, EpisodeConfig, SyncArchetypeRuntime, SyncRuntimeWorld
from members import ROOT
from page import program


class Coin(Component):
    number: int = 0


class Label(Component):
    text: str = ""


COMPONENTS: tuple[type[Component], ...] = (Coin, Label)
State = Mapping[int, Mapping[str, Any]]


def page() -> dict[str, Any]:
    """The imports, functions and macros of the page, without the example around them."""
    tree = ast.parse(program((ROOT / "docs" / "files.md").read_text()))
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    kept = [one for one in tree.body if isinstance(one, kinds) or "MACROS" in ast.unparse(one)[:8]]
    found: dict[str, Any] = {}
    exec(compile(ast.Module(kept, []), "docs/files.md", "exec"), found)  # noqa: S102  # reason: the page's code is what is tested
    return found


PAGE = page()
SCHEMA = pa.schema(
    [
        pa.field("world_id", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("first_tick", pa.int64(), nullable=False),
        pa.field("last_tick", pa.int64(), nullable=False),
        pa.field("parent_world_id", pa.string()),
        pa.field("parent_run_id", pa.string()),
        pa.field("parent_tick", pa.int64()),
        pa.field("is_newest", pa.bool_(), nullable=False),
        pa.field("tables", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
    ]
)


def segments(store: Path) -> list[dict[str, Any]]:
    """The published segments."""
    rows: list[dict[str, Any]] = pq.read_table(store / "_log" / "segments.parquet").to_pylist()
    return rows


def by_entity(rows: Iterable[Mapping[str, Any]]) -> State:
    """Rows as the values of each entity, without the columns that say where a row was written."""
    base = {"world_id", "run_id", "entity_id", "tick", "is_active"}
    return {row["entity_id"]: {name: value for name, value in row.items() if name not in base} for row in rows}


def seen(world: SyncRuntimeWorld, tick: int) -> State:
    """What the world's own snapshots have at a tick."""
    found: dict[int, dict[str, Any]] = {}
    for component in COMPONENTS:
        for entity, values in by_entity(world.snapshot(component, at=tick).to_pylist()).items():
            found.setdefault(entity, {}).update(values)
    return found


def read_by_duckdb(store: Path, tables: Iterable[str], world: str, tick: int) -> State:
    """The state by the macros of the page."""
    connection = PAGE["connect"](str(store))
    read = [connection.sql("FROM state(?, ?, ?)", params=[name, world, tick]).to_arrow_table() for name in tables]
    return by_entity(row for table in read for row in table.to_pylist())


def read_by_polars(store: Path, tables: Iterable[str], world: str, tick: int) -> State:
    """The state by the function of the page, as a Polars frame."""
    return by_entity(
        row for name in tables for row in pl.DataFrame(PAGE["state"](str(store), name, world, tick)).to_dicts()
    )


def read_by_pandas(store: Path, tables: Iterable[str], world: str, tick: int) -> State:
    """The state by the function of the page, as a pandas frame."""
    frames = [PAGE["state"](str(store), name, world, tick).to_pandas() for name in tables]
    return by_entity(row for frame in frames for row in frame.to_dict("records"))


READERS: Mapping[str, Callable[[Path, Iterable[str], str, int], State]] = {
    "duckdb": read_by_duckdb,
    "polars": read_by_polars,
    "pandas": read_by_pandas,
}
NUMBERS = st.integers(-(2**63), 2**63 - 1)
COMMANDS = st.one_of(
    st.tuples(st.just("spawn"), st.sampled_from([(Coin,), (Label,), (Coin, Label)]), NUMBERS),
    st.tuples(st.sampled_from(["despawn", "add", "remove", "update", "fork"]), st.integers(0, 9), NUMBERS),
    st.tuples(st.just("run"), st.integers(1, 3), st.none()),
    st.tuples(st.just("seal"), st.none(), st.none()),
)


class History:
    """Worlds of one store that random commands change."""

    def __init__(self, runtime: SyncArchetypeRuntime) -> None:
        self.runtime = runtime
        self.worlds = [runtime.world("first")]
        self.worlds[0].run(1)
        self.entities: list[list[int]] = [[]]
        self.ticks = [1]

    def do(self, number: int, verb: str, what: Any, value: Any) -> None:
        """Do one command to one of the worlds; without entities most do nothing."""
        number %= len(self.worlds)
        world, entities = self.worlds[number], self.entities[number]
        if verb == "spawn":
            made = [kind() if kind is Label else Coin(number=value) for kind in what]
            entities.append(world.spawn(*made))
        elif verb == "run":
            world.run(what)
            self.ticks[number] += what
        elif verb == "seal":
            self.runtime.seal()
        elif verb == "fork":
            if len(self.worlds) < 4:
                world.run(1)
                self.ticks[number] += 1
                tick = what % self.ticks[number]
                alive = set(seen(world, tick))
                self.worlds.append(world.fork(f"fork {len(self.worlds)}", at_tick=tick))
                self.entities.append([one for one in entities if one in alive])
                self.worlds[-1].run(1)
                self.ticks.append(tick + 2)
        elif entities:
            self.change(world, entities, verb, entities[what % len(entities)], value)

    def change(self, world: SyncRuntimeWorld, entities: list[int], verb: str, entity: int, value: int) -> None:
        """Change one entity."""
        world.run(1)
        self.ticks[self.worlds.index(world)] += 1
        kinds = world.get_components(entity)
        has_coin = any(isinstance(one, Coin) for one in kinds)
        if verb == "despawn":
            entities.remove(entity)
            world.despawn(entity)
        elif verb == "add":
            world.add_components(entity, *([] if has_coin else [Coin(number=value)]), Label(text=str(value)))
        elif verb == "remove" and len(kinds) > 1:
            world.remove_components(entity, Coin)
        elif verb == "update" and has_coin:
            world.update(entity, Coin(number=value))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 3), COMMANDS), max_size=12))
def test_files_have_what_snapshots_have(commands: list[tuple[int, tuple[str, Any, Any]]]) -> None:
    """Every engine finds the state of every tick of every world: entities, values, forks, moves and unchanged tables."""
    with tempfile.TemporaryDirectory() as directory:
        store = Path(directory)
        with SyncArchetypeRuntime(store) as runtime:
            history = History(runtime)
            for number, command in commands:
                history.do(number, *command)
            runtime.seal()
            tables = sorted({name for one in segments(store) for name in one["tables"]})
            for world, ticks in zip(history.worlds, history.ticks, strict=True):
                for tick in range(ticks):
                    expected = seen(world, tick)
                    for name, read in READERS.items():
                        assert read(store, tables, world.world_id, tick) == expected, (name, tick)


def test_names_and_types_are_as_promised(tmp_path: Path) -> None:
    """The columns of the segments and of a table are those that docs/files.md promises."""
    with SyncArchetypeRuntime(tmp_path) as runtime:
        world = runtime.world("w")
        world.spawn(Coin(number=1), Label(text="a"))
        world.run(1)
        runtime.seal()
    assert pq.read_schema(tmp_path / "_log" / "segments.parquet").remove_metadata().equals(SCHEMA)
    [segment] = segments(tmp_path)
    [table] = segment["tables"]
    assert table.startswith("coin_label_")
    found = lance.dataset(str(tmp_path / f"{table}.lance")).schema
    assert [(one.name, str(one.type)) for one in found] == [
        ("world_id", "large_string"),
        ("run_id", "large_string"),
        ("entity_id", "int64"),
        ("tick", "int64"),
        ("is_active", "bool"),
        ("coin__number", "int64"),
        ("label__text", "large_string"),
    ]


def test_runs_of_a_world_are_a_chain(tmp_path: Path) -> None:
    """A second run continues the first one's segment, and only the last one is the newest."""
    with SyncArchetypeRuntime(tmp_path) as runtime:
        world = runtime.world("w")
        world.spawn(Coin(number=1))
        world.run(2)
        world.run_episode(EpisodeConfig(max_steps=2))
        world.run_episode(EpisodeConfig(max_steps=2))
        runtime.seal()
        world_id = world.world_id
    found = sorted(
        (one for one in segments(tmp_path) if one["world_id"] == world_id), key=lambda one: one["first_tick"]
    )
    assert [one["is_newest"] for one in found] == [False] * (len(found) - 1) + [True]
    for before, after in pairwise(found):
        assert (after["parent_run_id"], after["parent_tick"]) == (before["run_id"], before["last_tick"])
    tables = found[0]["tables"]
    assert read_by_duckdb(tmp_path, tables, world_id, 3) == {1: {"coin__number": 1}}


KILLED = """
import os, sys
from archetype import Component, EpisodeConfig, SyncArchetypeRuntime
from archetype_store_lance import LanceStore

class Coin(Component):
    number: int = 0

runtime = SyncArchetypeRuntime(sys.argv[1])
world = runtime.world("w")
coin = world.spawn(Coin(number=1))
world.run(1)
runtime.seal()
world.update(coin, Coin(number=2))
world.run(1)
LanceStore.publish = lambda self: os.kill(os.getpid(), 9)
runtime.seal()
"""


def test_a_kill_before_the_segments_are_written_leaves_the_older_state(tmp_path: Path) -> None:
    """Rows that are not yet listed are skipped, and listed once the store is opened again."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], check=False, env={**os.environ, "DO_NOT_TRACK": "true"}
    )
    assert done.returncode == -signal.SIGKILL
    [before] = segments(tmp_path)
    assert before["last_tick"] == 0
    [table] = before["tables"]
    assert lance.dataset(str(tmp_path / f"{table}.lance")).count_rows() == 2
    for read in READERS.values():
        assert read(tmp_path, [table], before["world_id"], 9) == {1: {"coin__number": 1}}
    with SyncArchetypeRuntime(tmp_path) as runtime:
        runtime.worlds()
        [after] = segments(tmp_path)
    assert after["last_tick"] == 1
    for read in READERS.values():
        assert read(tmp_path, [table], after["world_id"], 9) == {1: {"coin__number": 2}}


def test_segments_are_a_pandas_frame(tmp_path: Path) -> None:
    """The file of segments needs no code: pandas and Polars read it directly."""
    with SyncArchetypeRuntime(tmp_path) as runtime:
        runtime.world("w").run(1)
        runtime.seal()
    path = tmp_path / "_log" / "segments.parquet"
    assert list(pd.read_parquet(path)["name"]) == pl.read_parquet(path)["name"].to_list() == ["w"]
    with pytest.raises(StopIteration):
        PAGE["lineage"](segments(tmp_path), "nobody", 0)
