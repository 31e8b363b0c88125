"""The demo: an epidemic in a small town, and the same epidemic under another policy.

Components are data, processors are functions of a whole table, every day is a committed tick, and a fork is a second
future of the same past.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console, Group
from rich.table import Column, Table

from archetype import plot
from archetype.runtime import ArchetypeRuntime
from archetype.sync_runtime import SyncArchetypeRuntime
from archetype.sync_world import SyncRuntimeWorld
from archetype_core.engine import Processor, Resources
from archetype_core.errors import StorageNotFound
from archetype_core.schema import Component
from archetype_core.store import has_embedded_store

if TYPE_CHECKING:
    from daft import DataFrame

ILL_DAYS = 12


class Position(Component):
    """Where a person is, in a town of one mile by one mile."""

    x: float = 0.5
    y: float = 0.5


class Health(Component):
    """A person's state, and for how many days."""

    state: Literal["healthy", "ill", "recovered"] = "healthy"
    days: int = 0


@dataclass(frozen=True)
class Measures:
    """The town's policy: a resource that processors share, and that a fork may replace."""

    mobility: float = 1.0
    """How far people go in a day, as a share of the usual."""
    caution: float = 0.0
    """The share of infections that people avoid."""


class Walk(Processor):
    """Moves everybody at random; people turn back at the edge of the town."""

    components = (Position,)
    priority = 10

    def process(self, df: DataFrame, rng: np.random.Generator, resources: Resources) -> DataFrame:
        reach = 0.05 * resources.require(Measures).mobility
        table = df.to_arrow()
        moved = {}
        for name in ("position__x", "position__y"):
            here = np.asarray(table.column(name)) + rng.normal(0.0, reach, table.num_rows)
            moved[name] = 1.0 - np.abs(1.0 - np.abs(here) % 2.0)
        return _with_values(table, moved)


class Infect(Processor):
    """Infects healthy people who are near ill ones, with some probability."""

    components = (Position, Health)
    priority = 20

    def process(self, df: DataFrame, rng: np.random.Generator, resources: Resources) -> DataFrame:
        table = df.to_arrow()
        state = np.asarray(table.column("health__state").to_pylist(), dtype=object)
        x, y = (np.asarray(table.column(f"position__{axis}")) for axis in "xy")
        ill, dice = state == "ill", rng.random(table.num_rows)
        near = np.hypot(x[:, None] - x[ill], y[:, None] - y[ill]) < 0.04
        risk = 1.0 - (1.0 - 0.3 * (1.0 - resources.require(Measures).caution)) ** near.sum(axis=1)
        caught = (state == "healthy") & (dice < risk)
        days = np.where(caught, 0, np.asarray(table.column("health__days")))
        return _with_values(table, {"health__state": np.where(caught, "ill", state), "health__days": days})


class Recover(Processor):
    """Counts days, and lets people recover after enough of them."""

    components = (Health,)
    priority = 30

    def process(self, df: DataFrame) -> DataFrame:
        from daft import col, lit
        from daft.functions import when

        is_over = (col("health__state") == lit("ill")) & (col("health__days") >= lit(ILL_DAYS))
        state = when(is_over, "recovered").otherwise(col("health__state"))
        return df.with_columns({"health__state": state, "health__days": col("health__days") + 1})


def _with_values(table: Any, values: dict[str, np.ndarray[Any, Any]]) -> DataFrame:
    """Return the table with new values in some columns, of the same types."""
    import daft
    import pyarrow as pa

    for name, column in values.items():
        place = table.schema.get_field_index(name)
        kind = table.schema.field(name)
        table = table.set_column(place, kind, pa.array(column.tolist(), kind.type))
    return daft.from_arrow(table)


def demo(console: Console, *, place: Path, agents: int = 400, days: int = 45, seed: int = 7) -> None:
    """Run a town, fork it on the day that measures begin, run both branches, and print how they compare."""
    storage = str(place) if has_embedded_store() else f"journal:{place}"
    start = max(1, days // 5)
    with ArchetypeRuntime.sync(storage) as runtime:
        name = f"town-{1 + _count_towns(runtime)}"
        town = runtime.world(name, seed=seed, processors=[Walk(), Infect(), Recover()], resources=[Measures()])
        console.print(f"[bold]{name}[/]: {agents} people, some of them ill. Every day is one committed tick.\n")
        people = np.random.default_rng(seed).random((agents, 2))
        ill = max(1, agents // 100)
        town.spawn_many(
            (Position(x=x, y=y), Health(state="ill" if number < ill else "healthy"))
            for number, (x, y) in enumerate(people.tolist())
        )
        town.run(steps=start)

        console.print(
            f"Day {start}: the town is forked. The same people, the same dice, but in the fork they keep apart.\n"
        )
        branch = town.fork(f"{name}-apart", resources={Measures: Measures(mobility=0.3, caution=0.7)})
        runtime.run_all(steps=max(1, days - start))

        both = {"as it was": town, "keeping apart": branch}
        _show_curves(console, {label: _ill(world) for label, world in both.items()})
        _show_table(console, both)
        _show_diff(console, town, branch, agents)
        _show_place(console, place, storage, len(runtime.worlds()), town)


def _count_towns(runtime: SyncArchetypeRuntime) -> int:
    try:
        return sum(one.name.startswith("town-") and one.parent is None for one in runtime.worlds())
    except StorageNotFound:
        # The first demo in this directory.
        return 0


def _ill(world: SyncRuntimeWorld) -> list[float]:
    """Return how many people were ill on each day. A fork's history includes the days before the fork."""
    from daft import col, lit
    from daft.functions import when

    is_ill = when(col("health__state") == lit("ill"), 1).otherwise(0)
    frame = world.query(Health).select("tick", is_ill.alias("ill"))
    counts = frame.groupby("tick").sum("ill").sort("tick").to_pydict()
    return [float(count) for count in counts["ill"]]


def _show_curves(console: Console, ill: dict[str, list[float]]) -> None:
    width = min(console.width, 76)
    console.print("[bold]People who are ill, day by day[/]")
    console.print(
        Group(
            *plot.curves(
                ill, width=width, height=9, is_plain=console.options.ascii_only or console.color_system is None
            )
        )
    )
    console.print()


def _show_table(console: Console, worlds: dict[str, SyncRuntimeWorld]) -> None:
    console.print("[bold]After the last day[/]")
    table = _table("", *worlds)
    counts = {}
    for label, world in worlds.items():
        states = world.snapshot(Health).to_pydict()["health__state"]
        counts[label] = {state: states.count(state) for state in ("healthy", "ill", "recovered")}
    for state, text in (("healthy", "never ill"), ("ill", "ill"), ("recovered", "recovered")):
        table.add_row(text, *(str(counts[label][state]) for label in worlds))
    peaks = [max(_ill(world)) for world in worlds.values()]
    table.add_row("ill at once, at most", *(f"{peak:.0f}" for peak in peaks), style="bold")
    console.print(table)
    console.print()


def _table(*headers: str) -> Table:
    # Fold what does not fit: not every terminal can show an ellipsis.
    return Table(*(Column(header, overflow="fold") for header in headers))


def _show_diff(console: Console, town: SyncRuntimeWorld, branch: SyncRuntimeWorld, agents: int) -> None:
    diff = town.diff(town, branch).where("column = 'health__state'").sort("entity_id").to_pydict()
    count = len(diff["entity_id"])
    console.print(
        f"[bold]The diff of the two branches[/]: {count} of {agents} people end in another state, such as",
        highlight=False,
    )
    table = _table("person", "as it was", "keeping apart")
    for person, before, after in list(zip(diff["entity_id"], diff["before"], diff["after"], strict=True))[:4]:
        table.add_row(str(person), before.strip('"'), after.strip('"'))
    console.print(table)
    console.print()


def _show_place(console: Console, place: Path, storage: str, worlds: int, town: SyncRuntimeWorld) -> None:
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    rows = town.query(Health).count_rows()
    console.print(
        f"[bold]Nothing was overwritten[/]: {rows:,} rows of {town.name} alone, {worlds} worlds, "
        f"{size / 1e6:.1f} MB in {place}.\n",
        highlight=False,
    )
    lines = [
        "from archetype import ArchetypeRuntime",
        "from archetype.demo import Health",
        f"with ArchetypeRuntime.sync({storage!r}) as runtime:",
        f"    town = runtime.open({town.name!r})",
        "    town.query(Health, entity_ids=1).show()",
    ]
    console.print("[bold]Try next[/], in Python:\n")
    console.print("\n".join(f"    {line}" for line in lines), markup=False, highlight=False, soft_wrap=True)
    # In a clone, uv finds the command.
    command = "uv run archetype" if "UV_RUN_RECURSION_DEPTH" in os.environ else "archetype"
    console.print(
        f"\nor `{command} query {place.absolute()} {town.name}`, or `{command} demo --agents 1000 --seed 3`.",
        highlight=False,
        soft_wrap=True,
    )
