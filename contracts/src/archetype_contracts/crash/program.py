"""What the worlds of a crash test do: every tick follows from a seed, the world's name and the tick's number alone.

A schedule knows which entities live without asking a store, so it also says what a store has to hold.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache

from archetype_contracts.script import identifier
from archetype_core import AsyncProcessor, Component

FORKED = "alpha"
"""The world that is forked, right after ``FORK_TICK``."""
FORK = "alpha fork"
FORK_TICK = 1
WORLDS = ("alpha", "beta")

_LARGE = 250_000
_NEW_RUN = {"alpha": 4, "beta": 2, FORK: 3}
"""When in five ticks a new run begins."""


class Buoy(Component):
    """What a processor moves."""

    x: float = 0.0


class Current(Component):
    """How far."""

    dx: float = 1.0


class Notice(Component):
    """What is updated, with nulls."""

    text: str = ""
    data: bytes | None = None


class Posted(Component):
    """A tag that notices gain and lose."""


class Cargo(Component):
    """A little over 0.7 MB in three rows."""

    load: bytes = b""


class Drift(AsyncProcessor):
    """Moves one column of one table, every tick."""

    components = (Buoy, Current)

    async def process(self, df):  # type: ignore[no-untyped-def]  # reason: a processor as users write them
        """Add the current to every buoy."""
        return df.with_column("buoy__x", Buoy.x + Current.dx)


@dataclass(slots=True)
class Turn:
    """What is staged before one tick, and what stands after it."""

    tick: int
    spawned: list[tuple[Component, ...]] = field(default_factory=list)
    updated: dict[int, Notice] = field(default_factory=dict)
    posted: list[int] = field(default_factory=list)
    taken_down: list[int] = field(default_factory=list)
    despawned: list[int] = field(default_factory=list)
    run_id: str | None = None
    """A run that begins with this tick."""
    applied: tuple[str, ...] = ()
    next_entity_id: int = 1


@dataclass(slots=True)
class _Living:
    next_id: int = 1
    notices: dict[int, bool] = field(default_factory=dict)
    """Whether each is posted."""
    buoys: list[int] = field(default_factory=list)
    cargo: list[int] = field(default_factory=list)


class Schedule:
    """The turns of one world, made as far as somebody asks."""

    def __init__(self, seed: int, name: str) -> None:
        self.seed, self.name = seed, name
        self.first = 0
        self.run_id = identifier(f"{seed} {name} run")
        self.world_id = identifier(f"{seed} {name}")
        self._living = _Living()
        self._turns: list[Turn] = []
        self._source: Schedule | None = None
        if name == FORK:
            # A source of its own, which goes no further than the fork.
            source = self._source = Schedule(seed, FORKED)
            source.turn(FORK_TICK)
            # Made one turn at a time, a schedule stands where its last turn left it.
            self._living = deepcopy(source._living)
            self.first = FORK_TICK + 1

    def turn(self, tick: int) -> Turn:
        """What happens at a tick, the ancestors' ticks included."""
        if self._source is not None and tick < self.first:
            return self._source.turn(tick)
        while len(self._turns) <= tick - self.first:
            self._turns.append(self._made(self.first + len(self._turns)))
        return self._turns[tick - self.first]

    def run_at(self, tick: int) -> tuple[str, str]:
        """World and run that a tick belongs to."""
        if self._source is not None and tick < self.first:
            return self._source.run_at(tick)
        begun = (self.turn(at).run_id for at in range(tick, self.first - 1, -1))
        return self.world_id, next((run_id for run_id in begun if run_id), self.run_id)

    def _made(self, tick: int) -> Turn:
        chance = random.Random(f"{self.seed}/{self.name}/{tick}")  # noqa: S311  # reason: it has to be the same each time
        living, turn = self._living, Turn(tick)
        if tick % 5 != 4:
            self._mutate(chance, turn)
        if tick % 5 == _NEW_RUN[self.name]:
            turn.run_id = identifier(f"{self.seed} {self.name} run {tick}")
        if tick % 3 != 1:
            turn.applied = tuple(f"{self.name}/{tick}/{index}" for index in range(1 + tick % 2))
        turn.next_entity_id = living.next_id
        return turn

    def _mutate(self, chance: random.Random, turn: Turn) -> None:
        living, tick = self._living, turn.tick
        settled = sorted(living.notices)
        for one in chance.sample(settled, min(2, len(settled))):
            data = chance.choice((None, b"", chance.randbytes(chance.randint(1, 200))))
            turn.updated[one] = Notice(text=f"{tick} \u00e4\x00 {chance.random()}", data=data)
        for one in chance.sample(settled, min(1, len(settled))):
            posted = living.notices[one]
            (turn.taken_down if posted else turn.posted).append(one)
            living.notices[one] = not posted
        if len(settled) > 2:
            gone = [one for one in chance.sample(settled, 2) if one not in turn.posted + turn.taken_down]
            for one in gone:
                turn.despawned.append(one)
                del living.notices[one]
        # The fork keeps for a tick what its source unloads.
        if tick % 7 == (3 if self.name == FORK else 2):
            turn.despawned += living.cargo
            living.cargo = []
        # Only one of two worlds has a table that changes every tick; the other one has ticks that write nothing.
        if self.name.startswith(FORKED) and len(living.buoys) < 8:
            living.buoys.append(self._spawn(turn, Buoy(x=chance.random()), Current(dx=chance.random())))
        for _ in range(chance.randint(1, 2)):
            living.notices[self._spawn(turn, Notice(text=f"new at {tick}"))] = False
        if tick % 7 == 1 and self.name != "beta":
            living.cargo = [self._spawn(turn, Cargo(load=chance.randbytes(_LARGE))) for _ in range(3)]

    def _spawn(self, turn: Turn, *components: Component) -> int:
        turn.spawned.append(components)
        self._living.next_id += 1
        return self._living.next_id - 1


@lru_cache(maxsize=32)
def schedule_of(seed: int, name: str) -> Schedule:
    """The schedule of a world, made once per process and handed down to its children."""
    return Schedule(seed, name)


def prepare(seed: int, until: int) -> None:
    """Make every turn before a tick."""
    for name in (*WORLDS, FORK):
        schedule_of(seed, name).turn(until)
