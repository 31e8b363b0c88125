"""The program of the worlds in a crash test: every tick follows from a seed, the world's name and the tick's number.

A schedule tracks live entities by itself, so it also says what a store must hold.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache

from archetype_contracts.script import identifier
from archetype_core import AsyncProcessor, Component

FORKED = "alpha"
"""The world that is forked right after ``FORK_TICK``."""
FORK = "alpha fork"
FORK_TICK = 1
WORLDS = ("alpha", "beta")

_LARGE = 250_000
_NEW_RUN = {"alpha": 4, "beta": 2, FORK: 3}
"""The tick, modulo five, at which a world starts a new run."""


class Buoy(Component):
    """A position that a processor changes."""

    x: float = 0.0


class Current(Component):
    """The distance that a buoy moves per tick."""

    dx: float = 1.0


class Notice(Component):
    """Values that are updated, sometimes with nulls."""

    text: str = ""
    data: bytes | None = None


class Posted(Component):
    """A tag that is added to and removed from notices."""


class Cargo(Component):
    """Bytes that make three rows larger than 0.7 MB."""

    load: bytes = b""


class Drift(AsyncProcessor):
    """Changes one column of one table at every tick."""

    components = (Buoy, Current)

    async def process(self, df):  # type: ignore[no-untyped-def]  # reason: written as users write processors
        """Add the current to every buoy."""
        return df.with_column("buoy__x", Buoy.x + Current.dx)


@dataclass(slots=True)
class TickPlan:
    """What is staged before one tick, and the expected head after it."""

    tick: int
    spawned: list[tuple[Component, ...]] = field(default_factory=list)
    updated: dict[int, Notice] = field(default_factory=dict)
    posted: list[int] = field(default_factory=list)
    taken_down: list[int] = field(default_factory=list)
    despawned: list[int] = field(default_factory=list)
    run_id: str | None = None
    """The run that starts with this tick, if one does."""
    applied: tuple[str, ...] = ()
    next_entity_id: int = 1


@dataclass(slots=True)
class _LiveEntities:
    next_id: int = 1
    notices: dict[int, bool] = field(default_factory=dict)
    """Whether each notice has the tag."""
    buoys: list[int] = field(default_factory=list)
    cargo: list[int] = field(default_factory=list)


class Schedule:
    """The plans of one world, made on demand."""

    def __init__(self, seed: int, name: str) -> None:
        self.seed, self.name = seed, name
        self.first = 0
        self.run_id = identifier(f"{seed} {name} run")
        self.world_id = identifier(f"{seed} {name}")
        self._entities = _LiveEntities()
        self._plans: list[TickPlan] = []
        self._source: Schedule | None = None
        if name == FORK:
            # A separate copy of the source that stops at the fork.
            source = self._source = Schedule(seed, FORKED)
            source.plan(FORK_TICK)
            # The source made its plans up to the fork and no further, so its entities are those of the fork.
            self._entities = deepcopy(source._entities)
            self.first = FORK_TICK + 1

    def plan(self, tick: int) -> TickPlan:
        """The plan of a tick, also of ancestors' ticks."""
        if self._source is not None and tick < self.first:
            return self._source.plan(tick)
        while len(self._plans) <= tick - self.first:
            self._plans.append(self._made(self.first + len(self._plans)))
        return self._plans[tick - self.first]

    def run_at(self, tick: int) -> tuple[str, str]:
        """The world and run of a tick."""
        if self._source is not None and tick < self.first:
            return self._source.run_at(tick)
        begun = (self.plan(at).run_id for at in range(tick, self.first - 1, -1))
        return self.world_id, next((run_id for run_id in begun if run_id), self.run_id)

    def _made(self, tick: int) -> TickPlan:
        chance = random.Random(f"{self.seed}/{self.name}/{tick}")  # noqa: S311  # reason: must be repeatable
        entities, plan = self._entities, TickPlan(tick)
        if tick % 5 != 4:
            self._mutate(chance, plan)
        if tick % 5 == _NEW_RUN[self.name]:
            plan.run_id = identifier(f"{self.seed} {self.name} run {tick}")
        if tick % 3 != 1:
            plan.applied = tuple(f"{self.name}/{tick}/{index}" for index in range(1 + tick % 2))
        plan.next_entity_id = entities.next_id
        return plan

    def _mutate(self, chance: random.Random, plan: TickPlan) -> None:
        entities, tick = self._entities, plan.tick
        notices = sorted(entities.notices)
        for one in chance.sample(notices, min(2, len(notices))):
            data = chance.choice((None, b"", chance.randbytes(chance.randint(1, 200))))
            plan.updated[one] = Notice(text=f"{tick} \u00e4\x00 {chance.random()}", data=data)
        for one in chance.sample(notices, min(1, len(notices))):
            posted = entities.notices[one]
            (plan.taken_down if posted else plan.posted).append(one)
            entities.notices[one] = not posted
        if len(notices) > 2:
            despawned = [one for one in chance.sample(notices, 2) if one not in plan.posted + plan.taken_down]
            for one in despawned:
                plan.despawned.append(one)
                del entities.notices[one]
        # The fork keeps its cargo one tick longer than its source.
        if tick % 7 == (3 if self.name == FORK else 2):
            plan.despawned += entities.cargo
            entities.cargo = []
        # Only one world has a table that changes at every tick; the other has ticks that write nothing.
        if self.name.startswith(FORKED) and len(entities.buoys) < 8:
            entities.buoys.append(self._spawn(plan, Buoy(x=chance.random()), Current(dx=chance.random())))
        for _ in range(chance.randint(1, 2)):
            entities.notices[self._spawn(plan, Notice(text=f"new at {tick}"))] = False
        if tick % 7 == 1 and self.name != "beta":
            entities.cargo = [self._spawn(plan, Cargo(load=chance.randbytes(_LARGE))) for _ in range(3)]

    def _spawn(self, plan: TickPlan, *components: Component) -> int:
        plan.spawned.append(components)
        self._entities.next_id += 1
        return self._entities.next_id - 1


@lru_cache(maxsize=32)
def schedule_of(seed: int, name: str) -> Schedule:
    """The schedule of a world, made once and inherited by forked processes."""
    return Schedule(seed, name)


def prepare(seed: int, until: int) -> None:
    """Make all plans up to a tick."""
    for name in (*WORLDS, FORK):
        schedule_of(seed, name).plan(until)
