"""Worlds under random programs, compared with a model of plain dictionaries after every step."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from daft import DataFrame, col, lit
from daft.functions import when
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, multiple, rule
from model import Kinds, Model, Values, difference, kinds_of, owner, spelled
from scene import Frozen, Health, Move, Name, Position, Velocity

from archetype_core.config import RunConfig
from archetype_core.engine import Processor, World
from archetype_core.errors import (
    EntityNotFound,
    PendingMutations,
    ProcessorError,
    RunConflict,
    SignatureError,
    TickNotFound,
)
from archetype_core.schema import Component
from archetype_core.store import MemoryStore

CLASSES: dict[str, type[Component]] = {kind.__name__: kind for kind in (Position, Velocity, Health, Name, Frozen)}

floats = st.sampled_from([0.0, -0.0, 1.5, -2.25, 1e308, float("nan"), float("inf"), float("-inf")])
texts = st.sampled_from(["", "a", "lamp", "zoo", "ünï", "\x00"])
COMPONENTS: dict[str, st.SearchStrategy[Component]] = {
    "Position": st.builds(Position, x=floats, y=floats),
    "Velocity": st.builds(Velocity, dx=floats),
    "Health": st.builds(Health, hp=st.sampled_from([0, 1, 2, -5, 2**62])),
    "Name": st.builds(Name, label=texts, note=st.none() | texts),
    "Frozen": st.just(Frozen()),
}
PARTS: dict[str, st.SearchStrategy[Component]] = {
    **COMPONENTS,
    "Position": COMPONENTS["Position"] | st.builds(Position, x=floats) | st.builds(Position, y=floats),
    "Name": COMPONENTS["Name"] | st.builds(Name, note=st.none() | texts),
}


@st.composite
def bundles(draw: st.DrawFn, parts: bool = False) -> tuple[Component, ...]:
    """Components of different classes, at least one."""
    chosen = draw(st.lists(st.sampled_from(sorted(COMPONENTS)), min_size=1, max_size=4, unique=True))
    return tuple(draw((PARTS if parts else COMPONENTS)[name]) for name in chosen)


@dataclass
class Switch:
    """Says which processors fail."""

    fails: bool = False
    skips: bool = False


class Sway(Processor):
    components = (Velocity,)
    priority = -1
    on_error = "skip"

    def process(self, df: DataFrame, resources: Any) -> DataFrame:
        if resources[Switch].skips:
            raise RuntimeError("told to be skipped")
        return df.with_column("velocity__dy", Velocity.c.dy + lit(1.0))


class Decay(Processor):
    components = (Health,)
    priority = 1

    def process(self, df: DataFrame, tick: int) -> DataFrame:
        spent = when(Health.c.hp > lit(0), Health.c.hp - lit(1)).otherwise(Health.c.hp)
        return df.with_columns({"health__hp": spent, "health__seen": lit(tick)})


class Split(Processor):
    """Takes its table apart and puts it together in another order."""

    components = (Name, Position)
    priority = 2

    def process(self, df: DataFrame) -> DataFrame:
        early = df.where(Name.c.label < lit("m")).with_column("name__note", Name.c.label)
        late = df.where(Name.c.label >= lit("m")).with_column("position__x", Position.c.x + lit(0.5))
        return early.concat(late).sort(col("entity_id"), desc=True)


class Fragile(Processor):
    components = (Position,)
    priority = 3

    async def process(self, df: DataFrame, resources: Any) -> DataFrame:
        if resources[Switch].fails:
            raise RuntimeError("told to fail")
        return df


@dataclass(eq=False)
class Subject:
    """A world and its model; the world is another object after it was opened again."""

    world: World
    model: Model


class WorldMachine(RuleBasedStateMachine):
    """Random programs over worlds, their forks and their reopened selves, on one store."""

    subjects = Bundle("subjects")
    entities = Bundle("entities")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        # Skips and ignored despawns are many here, and told with their tracebacks.
        logging.getLogger("archetype").setLevel(logging.CRITICAL)
        self.store = MemoryStore()
        self.switch = Switch()
        self.all: list[Subject] = []
        self.runs = 0

    def teardown(self) -> None:
        try:
            for subject in self.all:
                self.check_history(subject)
        finally:
            self.runner.close()
            logging.getLogger("archetype").setLevel(logging.NOTSET)

    def processors(self) -> list[Processor]:
        return [Fragile(), Split(), Decay(), Move(), Sway()]

    def behave(self, kinds: Kinds, rows: list[Values], tick: int) -> None:
        """The processors, as the model applies them."""
        for values in rows:
            if "Velocity" in kinds and not self.switch.skips:
                values["velocity__dy"] += 1.0
            if "Velocity" in kinds and "Position" in kinds:
                values["position__x"] += values["velocity__dx"]
                values["position__y"] += values["velocity__dy"]
            if "Health" in kinds:
                values["health__hp"] -= values["health__hp"] > 0
                values["health__seen"] = tick
            if "Name" in kinds and "Position" in kinds:
                if values["name__label"] < "m":
                    values["name__note"] = values["name__label"]
                else:
                    values["position__x"] += 0.5

    def subject(self, world: World, model: Model) -> Subject:
        subject = Subject(world, model)
        self.all.append(subject)
        return subject

    @initialize(target=subjects)
    def begin(self) -> Subject:
        world = World(self.store, "root", seed=1, processors=self.processors(), resources=[self.switch])
        return self.subject(world, Model(world.world_id, self.behave))

    @rule(target=entities, on=subjects, components=bundles())
    def spawn(self, on: Subject, components: tuple[Component, ...]) -> int:
        expected = on.model.spawn(*components)
        assert expected == on.world.spawn(*components)
        return expected

    @rule(target=entities, on=subjects, several=st.lists(bundles(), max_size=4))
    def spawn_many(self, on: Subject, several: list[tuple[Component, ...]]) -> Any:
        expected = [on.model.spawn(*components) for components in several]
        assert expected == list(on.world.spawn_many(several))
        return multiple(*expected)

    @rule(target=entities, on=subjects, rows=st.lists(st.tuples(floats, floats, texts), max_size=4))
    def spawn_table(self, on: Subject, rows: list[tuple[float, float, str]]) -> Any:
        table = pa.table(
            {
                "x": pa.array([x for x, _, _ in rows], pa.float64()),
                "position__y": pa.array([y for _, y, _ in rows], pa.float64()),
                "label": pa.array([label for _, _, label in rows], pa.large_string()),
                "note": pa.nulls(len(rows), pa.large_string()),
            }
        )
        expected = [on.model.spawn(Position(x=x, y=y), Name(label=label)) for x, y, label in rows]
        assert expected == list(on.world.spawn_table(table, Position, Name))
        return multiple(*expected)

    @rule(on=subjects, entity=entities, again=st.booleans())
    def despawn(self, on: Subject, entity: int, again: bool) -> None:
        """Ids may be dead, unborn, unknown or repeated."""
        for _ in range(1 + again):
            on.model.despawn(entity)
        on.world.despawn(*[entity] * (1 + again))

    @rule(on=subjects, entity=entities, components=bundles(parts=True))
    def update(self, on: Subject, entity: int, components: tuple[Component, ...]) -> None:
        if not on.model.is_placed(entity):
            with pytest.raises(EntityNotFound):
                on.world.update(entity, *components)
        elif set(kinds_of(components)) <= set(on.model.place(entity)):
            on.model.update(entity, *components)
            on.world.update(entity, *components)
        else:
            with pytest.raises(SignatureError):
                on.world.update(entity, *components)

    @rule(on=subjects, entity=entities, components=bundles())
    def add(self, on: Subject, entity: int, components: tuple[Component, ...]) -> None:
        if on.model.is_placed(entity):
            on.model.add(entity, *components)
            on.world.add_components(entity, *components)
        else:
            with pytest.raises(EntityNotFound):
                on.world.add_components(entity, *components)

    @rule(on=subjects, entity=entities, kinds=st.lists(st.sampled_from(list(CLASSES.values())), min_size=1, max_size=2))
    def remove(self, on: Subject, entity: int, kinds: list[type[Component]]) -> None:
        if not on.model.is_placed(entity):
            with pytest.raises(EntityNotFound):
                on.world.remove_components(entity, *kinds)
        elif set(on.model.place(entity)) <= set(kinds_of(kinds)):
            with pytest.raises(SignatureError):
                on.world.remove_components(entity, *kinds)
        else:
            on.model.remove(entity, *kinds)
            on.world.remove_components(entity, *kinds)

    @rule(on=subjects, steps=st.sampled_from([1, 1, 1, 0, 3]))
    def run(self, on: Subject, steps: int) -> None:
        result = self.runner.run(on.world.run(steps))
        assert (result.steps, result.final_tick) == (steps, on.model.tick + steps - 1)
        for _ in range(steps):
            self.advance(on)
        self.check(on)

    @rule(on=subjects)
    def step_with_skipped_processor(self, on: Subject) -> None:
        self.switch.skips = True
        self.runner.run(on.world.step())
        self.advance(on)
        self.switch.skips = False
        self.check(on)

    @rule(on=subjects)
    def failing_step(self, on: Subject) -> None:
        if not any("Position" in kinds for kinds in on.model.live):
            return
        pending = on.world.pending
        self.switch.fails = True
        with pytest.raises(ProcessorError) as caught:
            self.runner.run(on.world.step())
        self.switch.fails = False
        assert caught.value.tick == on.model.tick
        assert on.world.pending == pending
        self.check(on)

    @rule(on=subjects)
    def new_run(self, on: Subject) -> None:
        old, self.runs = on.world.run_id, self.runs + 1
        config = RunConfig(run_id=f"run-{self.runs}")
        had_ticks = any(record.world_id == on.model.world_id for record in on.model.records)
        self.runner.run(on.world.step(config))
        assert on.world.run_id == config.run_id
        self.advance(on)
        self.check(on)
        if had_ticks:
            with pytest.raises(RunConflict):
                self.runner.run(on.world.step(RunConfig(run_id=old)))

    @rule(target=subjects, on=subjects, with_pending=st.booleans())
    def fork(self, on: Subject, with_pending: bool) -> Subject:
        if on.world.pending and not with_pending:
            with pytest.raises(PendingMutations):
                self.runner.run(on.world.fork())
            with_pending = True
        world = self.runner.run(on.world.fork(pending="copy" if with_pending else "refuse"))
        fork = self.subject(world, on.model.fork(world.world_id, with_pending=with_pending))
        self.check(fork)
        return fork

    @rule(target=subjects, on=subjects, back=st.integers(0, 5))
    def fork_the_past(self, on: Subject, back: int) -> Any:
        tick = on.model.tick - 1 - back
        if tick < 0 or on.world.pending:
            return multiple()
        world = self.runner.run(on.world.fork(at_tick=tick))
        fork = self.subject(world, on.model.fork(world.world_id, tick))
        self.check(fork)
        return fork

    @rule(target=subjects, on=consumes(subjects))
    def reopen(self, on: Subject) -> Subject:
        """A reopened world has what was committed; a fork that never stepped is only in memory."""
        if on.model.records and on.model.records[-1].world_id == on.model.world_id:
            opened = World.open(self.store, on.world.world_id, processors=self.processors(), resources=[self.switch])
            on.world = self.runner.run(opened)
            on.model.reopened()
            self.check(on)
        return on

    @rule(
        on=subjects,
        kinds=st.lists(st.sampled_from(sorted(CLASSES)), max_size=2, unique=True),
        ticks=st.none() | st.integers(-1, 12) | st.lists(st.integers(0, 12)) | st.builds(range, st.just(2), st.just(6)),
        inactive=st.booleans(),
        lineage=st.booleans(),
    )
    def query(self, on: Subject, kinds: list[str], ticks: Any, inactive: bool, lineage: bool) -> None:
        wanted = range(on.model.tick) if ticks is None else [ticks] if isinstance(ticks, int) else set(ticks)
        has = {tick for tick in range(on.model.tick) if lineage or on.model.records[tick].world_id == on.model.world_id}
        if ticks is not None and not isinstance(ticks, range) and not has.issuperset(wanted):
            with pytest.raises(TickNotFound):
                queried(on, kinds, ticks=ticks, lineage=lineage)
            return
        expected = on.model.rows(tuple(kinds), wanted, inactive=inactive, lineage=lineage)
        assert expected == queried(on, kinds, ticks=ticks, include_inactive=inactive, lineage=lineage)

    @rule(on=subjects, kind=st.sampled_from(sorted(CLASSES)), at=st.none() | st.integers(0, 8))
    def snapshot(self, on: Subject, kind: str, at: int | None) -> None:
        if at is not None and at >= on.model.tick:
            with pytest.raises(TickNotFound):
                on.world.snapshot(CLASSES[kind], at=at)
            return
        tick = on.model.tick - 1 if at is None else at
        expected = on.model.rows((kind,), [tick], inactive=False, lineage=True)
        assert expected == answered(on.world.snapshot(CLASSES[kind], at=at), [kind])

    @rule(on=subjects, other=subjects, a=st.integers(0, 8), b=st.integers(0, 8))
    def diff(self, on: Subject, other: Subject, a: int, b: int) -> None:
        if a >= on.model.tick or b >= other.model.tick:
            return
        rows = on.world.diff(a, (other.world, b)).to_arrow().to_pylist()
        expected = difference(on.model.records[a].live, other.model.records[b].live)
        assert expected == {tuple(row.values()) for row in rows}
        assert len(expected) == len(rows)

    def advance(self, on: Subject) -> None:
        on.model.step()
        on.model.digests.append(on.world.digest(on.model.tick - 1))

    def check(self, on: Subject) -> None:
        world, model = on.world, on.model
        assert model.tick == world.tick
        assert model.alive() == set(world.entity_ids().to_pylist())
        assert len(model.alive()) == len(world)
        assert_live(world, model, None)
        if model.tick:
            # The past, too, is as it was.
            assert_live(world, model, model.tick // 2)
            assert model.digests[model.tick // 2] == world.digest(model.tick // 2)

    def check_history(self, on: Subject) -> None:
        world, model = on.world, on.model
        assert_live(world, model, None)
        for tick in range(0, model.tick, 3):
            assert model.digests[tick] == world.digest(tick)
        expected = model.rows(("Position",), range(model.tick), inactive=True, lineage=True)
        assert expected == queried(on, ["Position"], include_inactive=True)


def assert_live(world: World, model: Model, at: int | None) -> None:
    """Every table of a tick has the rows of the model, in its order."""
    expected = model.live if at is None else model.records[at].live
    found = {
        tuple(sorted(kind.name for kind in archetype.components)): rows.to_arrow().to_pylist()
        for archetype, rows in world.tables(at).items()
    }
    assert expected.keys() == found.keys()
    for kinds, rows in expected.items():
        listed = [(row.pop("entity_id"), spelled(row)) for row in found[kinds]]
        assert [(entity, spelled(values)) for entity, values in rows] == listed


def queried(on: Subject, kinds: list[str], **how: Any) -> list[tuple[Any, ...]]:
    """The rows of a query, in the form of the model's."""
    return answered(on.world.query(*(CLASSES[kind] for kind in kinds), **how), kinds)


def answered(frame: DataFrame, kinds: list[str]) -> list[tuple[Any, ...]]:
    """A frame's rows, in the form of the model's."""
    found = []
    for row in frame.to_arrow().to_pylist():
        own = {name: value for name, value in row.items() if owner(name, tuple(kinds))}
        found.append((row["tick"], row["entity_id"], row["is_active"], spelled(own)))
    return sorted(found)


TestWorldMachine = pytest.mark.thorough(WorldMachine.TestCase)
TestWorldMachine.settings = settings(max_examples=200 if os.environ.get("CI") else 30, stateful_step_count=50)
