"""The cost of the gate: steps, runs, spawns and rollouts through it, compared with the engine over the same kind of store."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import _journal
import _measure
import _movement
import numpy as np
import pyarrow as pa
from daft import DataFrame

from archetype_core import AsyncProcessor, RunConfig, StorageConfig, World, open_store
from archetype_core.command import (
    ActorCtx,
    AddProcessor,
    CommandGate,
    CreateWorld,
    DestroyWorld,
    EpisodeConfig,
    GetHistory,
    GetWorldInfo,
    Query,
    QueryEpisodes,
    RolloutConfig,
    Run,
    RunRollout,
    Spawn,
    SpawnTable,
    Step,
)
from archetype_core.schema import Archetype
from archetype_gate import (
    AcceptedCommand,
    AuditEntry,
    Quotas,
    ServiceContainer,
    Settlement,
    SqliteLedger,
    Usage,
    verify,
)

ADMIN = ActorCtx("bench", {"admin"})


async def create_world(gate: CommandGate, uri: str, name: str, rows: int) -> str:
    """Create a world with moving entities behind the gate."""
    info = await gate.execute(ADMIN, CreateWorld(name, StorageConfig(uri), seed=1))
    await gate.execute(ADMIN, AddProcessor(_movement.Movement()), info.world_id)
    await gate.execute(ADMIN, bulk_spawn(rows), info.world_id)
    await gate.execute(ADMIN, Step(), info.world_id)
    return info.world_id


def bulk_spawn(rows: int) -> SpawnTable:
    """A bulk spawn of moving entities."""
    archetype = Archetype.of(_movement.Position, _movement.Velocity)
    return SpawnTable(pa.table(_movement.columns(rows)), archetype)


async def engine_world(store: str, rows: int) -> World:
    """Create the same world without a gate."""
    world = World(open_store(store), "own", seed=1, processors=[_movement.Movement()])
    world.spawn_table(pa.table(_movement.columns(rows)), _movement.Position, _movement.Velocity)
    await world.step()
    return world


async def steps(gate: CommandGate, place: Path, uri: str, quick: bool) -> dict[str, float]:
    """Measure steps and runs of 1 000 entities through the gate and in the engine."""
    found: dict[str, float] = {}
    name = uri.partition(":")[0]
    gated = await create_world(gate, uri, f"steps-{name}", 1000)
    engine = await engine_world(f"{name}:{place / 'own' if name == 'journal' else ''}", 1000)
    count = 20 if quick else 1000

    async def step_gate() -> None:
        await gate.execute(ADMIN, Step(), gated)

    async def step_engine() -> None:
        await engine.step()

    times = await _measure.samples(count, gate=step_gate, engine=step_engine)
    gate_s, engine_s = (statistics.median(times[one]) for one in ("gate", "engine"))
    found[f"step_{name}_ms"] = gate_s * 1e3
    found[f"step_{name}_over_engine"] = gate_s / engine_s
    many = RunConfig(steps=10 if quick else 200)

    async def run_gate() -> None:
        await gate.execute(ADMIN, Run(many), gated)

    async def run_engine() -> None:
        await engine.run(many.steps)

    times = await _measure.samples(2 if quick else 10, gate=run_gate, engine=run_engine)
    found[f"run_{name}_over_engine"] = statistics.median(times["gate"]) / statistics.median(times["engine"])
    info = await gate.execute(ADMIN, GetWorldInfo(), gated)
    assert info.tick == engine.tick, "gate and engine made the same number of ticks"
    return found


async def spawns(gate: CommandGate, uri: str, quick: bool) -> dict[str, float]:
    """Measure single and bulk spawns."""
    found: dict[str, float] = {}
    world_id = (await gate.execute(ADMIN, CreateWorld("spawns", StorageConfig(uri), seed=1))).world_id
    count = 500 if quick else 20_000
    bundle = (_movement.Position(x=1.0, y=2.0), _movement.Velocity(dx=1.0, dy=1.0))
    began = time.perf_counter()
    for _ in range(count):
        await gate.execute(ADMIN, Spawn(bundle), world_id)
    await gate.execute(ADMIN, Step(), world_id)
    found["spawn_and_tick_per_s"] = count / (time.perf_counter() - began)
    rows = 10_000 if quick else 1_000_000
    command = bulk_spawn(rows)
    taken: dict[str, list[float]] = {"gate": [], "engine": []}
    shared = open_store("memory:")
    for number in range(2 if quick else 12):
        # A new world for each round, so that none has the rows of earlier rounds.
        engine = World(shared, "bulk", seed=1)
        info = await gate.execute(ADMIN, CreateWorld(f"bulk-{number}", StorageConfig("memory:"), seed=1))
        gated = info.world_id

        async def round_gate(gated: str = gated) -> None:
            await gate.execute(ADMIN, command, gated)
            await gate.execute(ADMIN, Step(), gated)

        async def round_engine(engine: World = engine) -> None:
            engine.spawn_table(command.table, _movement.Position, _movement.Velocity)
            await engine.step()

        for name, times in (await _measure.samples(1, gate=round_gate, engine=round_engine)).items():
            taken[name].extend(times)
        assert (await gate.execute(ADMIN, GetWorldInfo(), gated)).entities == len(engine) == rows
        await gate.execute(ADMIN, DestroyWorld(), gated)
    found["bulk_and_tick_over_engine"] = statistics.median(taken["gate"]) / statistics.median(taken["engine"])
    return found


class Heavy(AsyncProcessor):
    """Works in numpy, which releases the GIL."""

    components = (_movement.Position,)

    def process(self, df: DataFrame, rng: np.random.Generator) -> DataFrame:
        """Sort 400 000 random numbers."""
        noise = np.sort(rng.standard_normal(400_000))[0]
        return df.with_column("position__x", _movement.Position.c.x + float(noise))


async def rollouts(gate: CommandGate, uri: str, quick: bool) -> dict[str, float]:
    """Measure sixteen episodes in parallel and in sequence."""
    world_id = await create_world(gate, uri, "rollouts", 100)
    await gate.execute(ADMIN, AddProcessor(Heavy()), world_id)
    seconds, contents = {}, {}
    for name, parallel in (("parallel", True), ("sequence", False)):
        config = RolloutConfig(
            16, EpisodeConfig(max_steps=2 if quick else 10), parallel, name_prefix=name, seeds=range(16)
        )
        result = await gate.execute(ADMIN, RunRollout(config), world_id)
        assert not result.failed
        seconds[name] = result.duration_s
        query = QueryEpisodes((_movement.Position,), world_ids=tuple(one.world_id for one in result.episodes))
        frame = (await gate.execute(ADMIN, query, world_id)).to_arrow()
        contents[name] = (
            frame.drop_columns(["world_id", "run_id", "branch"])
            .sort_by([("episode", "ascending"), ("tick", "ascending"), ("entity_id", "ascending")])
            .combine_chunks()
        )
    assert contents["parallel"].equals(contents["sequence"]), "parallel and sequential episodes have the same rows"
    return {"rollout_sequence_over_parallel": seconds["sequence"] / seconds["parallel"]}


def ledger_rows(place: Path, quick: bool) -> dict[str, float]:
    """Measure how many commands per second a ledger records, settles and writes, all settled before they are written."""
    count, world = 1_000 if quick else 100_000, "w" * 36
    accepted = [AcceptedCommand(f"{number:036x}", world, "Spawn", bytes, range(0)) for number in range(count)]
    ledger = SqliteLedger(place / "rows" / "ledger.sqlite")
    began = time.perf_counter()
    for start in range(0, count, 1000):
        for one in accepted[start : start + 1000]:
            usage = Usage("ada", date(2026, 1, 1), 1, world, start, 1)
            entry = AuditEntry(one.command_id, world, "ada", ("admin",), "spawn", "{}", "queued", 1)
            ledger.record([replace(entry, accepted=one, usage=usage)])
        ledger.settle(Settlement(one.command_id, world, "applied", 5, start) for one in accepted[start : start + 1000])
    ledger.sync()
    found = {"ledger_rows_per_s": count / (time.perf_counter() - began)}
    assert ledger.verify() == []
    ledger.close()
    return found


async def figures(quick: bool, directory: Path | None) -> dict[str, float]:
    """Measure everything; returns figures by name."""
    found: dict[str, float] = {}
    with _journal.place(directory) as place:
        uri = f"journal:{place / 'gated'}"
        container = ServiceContainer(quotas=Quotas(exempt=frozenset({ADMIN.id})))
        gate = container.gate
        try:
            found.update(ledger_rows(place, quick))
            found.update(await steps(gate, place, uri, quick))
            found.update(await steps(gate, place, "memory:", quick))
            found.update(await spawns(gate, uri, quick))
            found.update(await rollouts(gate, uri, quick))
            rows = await gate.execute(ADMIN, GetHistory())
            assert rows, "every command has an audit row"
            await gate.execute(
                ADMIN,
                Query((_movement.Position,)),
                (await gate.execute(ADMIN, CreateWorld("q", StorageConfig(uri)))).world_id,
            )
        finally:
            await container.shutdown()
        assert verify(uri) == []
    return found


BOUNDS = {
    "step_journal_over_engine": ("<=", 1.5),
    "step_memory_over_engine": ("<=", 1.5),
    "spawn_and_tick_per_s": (">=", 5000.0),
    "bulk_and_tick_over_engine": ("<=", 1.2),
    "rollout_sequence_over_parallel": (">=", 1.0),
}

if __name__ == "__main__":
    os.environ.setdefault("DO_NOT_TRACK", "true")
    given = _measure.arguments(__doc__)
    _measure.report("gate", asyncio.run(figures(given.quick, given.dir)), BOUNDS, given.out)
