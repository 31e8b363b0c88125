"""The programs that were published before this package was: they run as they stand."""

QUICKSTART = """\
import asyncio

from daft import DataFrame, col

from archetype import ArchetypeRuntime, AsyncProcessor, Component


class Position(Component):
    x: float = 0.0
    y: float = 0.0


class Velocity(Component):
    dx: float = 0.0
    dy: float = 0.0


class MovementProcessor(AsyncProcessor):
    components = (Position, Velocity)
    priority = 10

    async def process(self, df: DataFrame, **kwargs) -> DataFrame:
        return df.with_columns(
            {
                "position__x": col("position__x") + col("velocity__dx"),
                "position__y": col("position__y") + col("velocity__dy"),
            }
        )


async def main():
    async with ArchetypeRuntime() as runtime:
        world = runtime.world("demo", processors=[MovementProcessor()])

        await world.spawn(Position(x=0, y=0), Velocity(dx=1, dy=2))
        await world.run(steps=3)

        df = await world.query(Position)
        print(df.collect().to_pylist())


asyncio.run(main())
"""

CANONICAL = """\
import asyncio
from archetype import ArchetypeRuntime, AsyncProcessor, Component
from archetype.core.hooks import PreTick
from daft import DataFrame, col

class Position(Component):
    x: float = 0.0
    y: float = 0.0

class Velocity(Component):
    dx: float = 0.0
    dy: float = 0.0

class Movement(AsyncProcessor):
    components = (Position, Velocity)
    priority = 10

    async def process(self, df: DataFrame, **_) -> DataFrame:
        return df.with_columns({
            "position__x": col("position__x") + col("velocity__dx"),
            "position__y": col("position__y") + col("velocity__dy"),
        })

async def main():
    async with ArchetypeRuntime() as runtime:
        world = runtime.world(
            "demo",
            processors=[Movement()],
            hooks=[(PreTick, lambda e: print(f"tick {e.tick}"))],
        )
        eid = await world.spawn(Position(), Velocity(dx=1, dy=2))
        await world.run(steps=3)

        df = await world.query(Position)
        print(df.collect().to_pylist())

asyncio.run(main())
"""

# Its components and processors are those of the one above.
CANONICAL_SYNC = """\
from archetype import ArchetypeRuntime

with ArchetypeRuntime.sync() as runtime:
    world = runtime.world("demo", processors=[Movement()])
    eid = world.spawn(Position(), Velocity(dx=1, dy=2))
    world.run(steps=3)
    print(world.query(Position).collect().to_pylist())
"""

LOGFIRE = """\
from archetype.contrib.logfire_observer import logfire_hooks

world = runtime.world("demo", processors=[...], hooks=logfire_hooks())
"""

COMPONENTS = """\
class Health(Component):
    hp: int = 100
    max_hp: int = 100
"""

THINK = """\
class ThinkProcessor(AsyncProcessor):
    components = (Agent, Memory)
    priority = 20
"""

DECLARED = """\
world = runtime.world(
    "demo",
    storage="./data",
    cache=CacheConfig(...),
    processors=[Movement(), AI()],
    resources=[some_shared_state],
    hooks=[(PreTick, on_tick), (OnSpawn, on_spawn)],
)
"""

SURFACE = """\
# Construction (factory on runtime)
world = runtime.world(name, storage=..., cache=..., processors=..., resources=..., hooks=...)

# Mutations
eid = await world.spawn(Position(x=0), Velocity(dx=1))
await world.despawn(eid)
await world.update(eid, Position(x=10))            # OVERLAY values
await world.add_components(eid, Health(hp=100))    # EXTEND schema
await world.remove_components(eid, Position, Velocity)

# Processors
await world.add_processor(MyProcessor())
await world.remove_processor(MyProcessor)

# Simulation
await world.step()
await world.run()                                   # 1 step
await world.run(steps=10)
await world.run(config=RunConfig(...))
await world.run_episode(EpisodeConfig(...))
await world.run_rollout(RolloutConfig(...))

# Lifecycle
await world.fork(name="branch_a")                   # → new handle
await world.destroy()                               # in-memory only

# Reads
df = await world.query(Position, Velocity)
info = await world.info()                           # WorldInfo snapshot
df = await world.history(limit=100)
procs = await world.list_processors()
hooks = await world.list_hooks()
res = await world.list_resources()

# Hooks (post-activation only; pre-activation goes via runtime.world(..., hooks=[...]))
handle = await world.add_hook(PreTick, my_handler)
await world.remove_hook(handle)

# Identity rebinding
sibling = world.as_actor(other_actor_ctx)

# Sync-readable (no round-trip)
world.world_id, world.name

# Lifecycle (rare)
await world.shutdown()
"""
