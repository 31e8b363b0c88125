"""Components, processors and stores that several test modules share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from daft import DataFrame

from archetype_core.engine import Processor, World, WorldView
from archetype_core.schema import Component
from archetype_core.store import Capability, Head, MemoryStore, Scan, TickCommit, Timeline, WorldRecord

T = TypeVar("T")

# Only a guard against a test that hangs; nothing is measured with it.
PATIENCE_S = 60


# Classes that are stored alike are one component, and reads give instances of the one defined last. So no other test
# module may define a component of the same name and columns; y before x makes this position unlike the usual one.
class Position(Component):
    y: float = 0.0
    x: float = 0.0


class Velocity(Component):
    dx: float = 1.0
    dy: float = 0.0


class Health(Component):
    hp: int = 10
    seen: int | None = None


class Name(Component):
    label: str = ""
    note: str | None = None


class Frozen(Component):
    pass


class Flagged(Component):
    pass


class Move(Processor):
    components = (Position, Velocity)

    def process(self, df: DataFrame, **_: Any) -> DataFrame:
        return df.with_columns(
            {"position__x": Position.c.x + Velocity.c.dx, "position__y": Position.c.y + Velocity.c.dy}
        )


class Calls(Processor):
    """Calls a function on every table with a position, and returns what it returns."""

    components = (Position,)

    def __init__(self, act: Callable[..., Any]) -> None:
        self.act = act

    def process(self, df: DataFrame, **given: Any) -> Any:
        return self.act(df, **given)


class Watches(Calls):
    """Gives what it is called with to a function, and changes nothing."""

    def process(self, df: DataFrame, **given: Any) -> DataFrame:
        self.act(df, **given)
        return df


class SkippedCalls(Calls):
    on_error = "skip"


class Fails:
    """Fails so many times, after it has called a function; then only calls it."""

    def __init__(self, times: int, act: Callable[..., Any]) -> None:
        self.times = times
        self.act = act

    def __call__(self, df: DataFrame, **given: Any) -> DataFrame:
        self.act(**given)
        if self.times:
            self.times -= 1
            raise RuntimeError("boom")
        return df


class FaultyStore:
    """A memory store whose next commits fail with what ``faults`` holds, before or after they were made."""

    def __init__(self, inner: MemoryStore | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.faults: list[BaseException] = []
        self.commits: list[TickCommit] = []

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        if self.faults:
            raise self.faults.pop(0)
        self.inner.commit(ticks)
        self.commits.extend(ticks)

    def scan(self, scan: Scan) -> pa.RecordBatchReader:
        return self.inner.scan(scan)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        return self.inner.head(world_id, at=at)

    def timeline(self, world_id: str) -> Timeline:
        return self.inner.timeline(world_id)

    def worlds(self) -> tuple[WorldRecord, ...]:
        return self.inner.worlds()

    def files(self, scan: Scan) -> tuple[str, ...]:
        return self.inner.files(scan)

    def close(self) -> None:
        self.inner.close()


def drive(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a scenario on a new event loop."""

    async def guarded() -> T:
        return await asyncio.wait_for(main(), PATIENCE_S)

    return asyncio.run(guarded())


def world(*processors: Processor, store: Any = None, **given: Any) -> World:
    """A world in memory."""
    return World(store or MemoryStore(), processors=processors, **given)


def timeline(view: WorldView) -> Timeline:
    """The timeline of a world that has committed a tick."""
    found = view.timeline()
    assert found is not None
    return found


def xs(view: WorldView, at: int | None = None) -> dict[int, float]:
    """The x of every entity with a position, at the last tick or an earlier one."""
    found: dict[int, float] = {}
    for archetype, rows in view.tables(at).items():
        if Position in archetype:
            table = rows.to_arrow()
            found.update(zip(table["entity_id"].to_pylist(), table["position__x"].to_pylist(), strict=True))
    return dict(sorted(found.items()))


def history(view: WorldView, *components: type[Component], **how: Any) -> list[dict[str, Any]]:
    """The rows of a query by tick and entity, without the ids of world and run."""
    rows = view.query(*components, **how).to_arrow().drop_columns(["world_id", "run_id"]).to_pylist()
    return sorted(rows, key=lambda row: (row["tick"], row["entity_id"], row["is_active"]))
