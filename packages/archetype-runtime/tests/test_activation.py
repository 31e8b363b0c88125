"""Declared worlds and their activation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from runtime_scene import Movement, Position, Velocity, with_runtime, xs

from archetype import (
    ADMIN,
    OPERATOR,
    VIEWER,
    ActorCtx,
    ArchetypeRuntime,
    CacheConfig,
    OnSpawn,
    PermissionDenied,
    PreTick,
    Processor,
    QuotaExceeded,
    Quotas,
    StorageConfig,
    StorageNotFound,
    WorldClosed,
    WorldExists,
    WorldNotActive,
    WorldNotFound,
)


class Tally:
    """A resource."""


async def kinds(runtime: ArchetypeRuntime, **filters: Any) -> list[str]:
    """Return the types of all commands in the audit log, oldest first."""
    frame = await runtime.history(1000, oldest_first=True, **filters)
    found: list[str] = frame.to_pydict()["type"]
    return found


def test_hundred_first_uses_activate_once() -> None:
    """A hundred concurrent first uses of two handles activate one world, once (RT8, C2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        handles = [runtime.world("demo", processors=[Movement()], resources=[Tally()]), runtime.world("demo")]
        ids = await asyncio.gather(*(handles[number % 2].spawn(Position()) for number in range(100)))
        assert sorted(ids) == list(range(1, 101))
        assert (await kinds(runtime)).count("create_world") == 1
        assert (await kinds(runtime)).count("add_processor") == 1
        assert handles[0].world_id == handles[1].world_id

    with_runtime(main)


def test_activation_runs_each_part_through_the_gate() -> None:
    """World, processors, resources, hooks and handlers each pass the gate, in that order (RT8, SC5)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world(
            "demo",
            handlers={"ping": lambda scope, data: None},
            hooks=[(PreTick, print)],
            resources=[Tally()],
            processors=[Movement()],
        )
        await world.activate()
        found = await kinds(runtime, status="applied")
        # The first says that there is no such world yet.
        assert found == ["open_world", "create_world", "add_processor", "add_resource", "add_hook", "add_handler"]

    with_runtime(main)


def test_failed_activation_reaches_all_who_wait_and_leaves_no_world() -> None:
    """All who wait for an activation get its error; no world is left, and the next use tries again (C2, C3)."""

    class Late(Processor):
        components = (Position,)
        is_ready = False

        @property
        def process(self) -> Any:  # type: ignore[override]  # reason: it is no processor until somebody says so
            if not Late.is_ready:
                raise AttributeError("process")
            return lambda df: df

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement(), Late()])
        outcomes = await asyncio.gather(*(world.spawn(Position()) for _ in range(10)), return_exceptions=True)
        assert [type(one) for one in outcomes] == [TypeError] * 10
        assert len({id(one) for one in outcomes}) == 1
        assert not [one for one in await runtime.worlds() if one.is_live]
        assert not world.is_active
        Late.is_ready = True
        assert await world.spawn(Position()) == 1
        assert (await kinds(runtime, status="applied")).count("create_world") == 2

    with_runtime(main)


def test_cancelled_caller_does_not_cancel_the_activation() -> None:
    """When one of several first uses is cancelled, the others still get their world (C2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        first, second = (asyncio.create_task(world.spawn(Position())) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == 1
        assert first.cancelled()

    with_runtime(main)


def test_handle_before_the_first_use() -> None:
    """Before the first use a handle has a name; its id and `add_hook` are WorldNotActive (C3, RT7)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        assert world.name == "demo"
        assert not world.is_active
        with pytest.raises(WorldNotActive, match="first use"):
            _ = world.world_id
        with pytest.raises(WorldNotActive, match="hooks="):
            await world.add_hook(PreTick, print)
        assert not await runtime.history(limit=1) or not await kinds(runtime)

    with_runtime(main)


def test_existing_world_is_resumed(tmp_path: Path) -> None:
    """A world that the storage has is resumed, by name or by id, with its entities and ids (R5)."""
    storage = f"journal:{tmp_path}/data"

    async def first(runtime: ArchetypeRuntime) -> str:
        world = runtime.world("demo", processors=[Movement()], seed=7)
        await world.spawn(Position(), Velocity(dx=1))
        await world.run(3)
        return world.world_id

    async def again(runtime: ArchetypeRuntime, **how: Any) -> None:
        world = runtime.world(how.pop("name", "demo"), processors=[Movement()], **how)
        assert await world.activate() == world_id
        assert (await world.info()).seed == 7
        assert world.name == "demo"
        assert await world.spawn(Position()) == 2
        await world.run(1)
        assert xs(await world.query(Position, entity_ids=1)) == [0.0, 1.0, 2.0, 3.0]

    async def opened(runtime: ArchetypeRuntime) -> None:
        by_name, by_id = runtime.open("demo", processors=[Movement()]), runtime.open(world_id)
        assert await by_name.activate() == await by_id.activate() == world_id
        assert by_id.name == "demo"
        assert (await by_id.info()).tick == 4

    world_id = with_runtime(first, storage=storage)
    with_runtime(again, storage=storage)
    with_runtime(opened, storage=storage)


def test_two_runtimes_create_one_world(tmp_path: Path) -> None:
    """Of runtimes that declare a new world at the same moment one creates it, the others open it (RT8, G8)."""

    async def main() -> None:
        for number in range(5):
            storage = StorageConfig(uri=f"journal:{tmp_path}/{number}")
            runtimes = [ArchetypeRuntime(storage, progress=False) for _ in range(3)]
            infos = await asyncio.gather(*(runtime.world("demo").info() for runtime in runtimes))
            assert len({info.world_id for info in infos}) == 1
            for runtime in runtimes:
                await runtime.shutdown()

    asyncio.run(main())


def test_resume_can_be_refused(tmp_path: Path) -> None:
    """`resume=False` is WorldExists for an existing name or id; another seed is refused too."""
    storage = StorageConfig(uri=f"journal:{tmp_path}/data")

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", seed=7)
        await world.step()
        await world.shutdown()
        ways: list[dict[str, Any]] = [{}, {"world_id": world.world_id}]
        for how in ways:
            with pytest.raises(WorldExists):
                await runtime.world("demo", resume=False, **how).activate()
            await runtime.world("demo").shutdown()
        with pytest.raises(ValueError, match="seed 7, not 8"):
            await runtime.world("demo", seed=8).activate()
        assert not [one for one in await runtime.worlds() if one.is_live]

    with_runtime(main, storage=storage)


def test_world_id_is_the_key() -> None:
    """A declared world_id is the id of the new world, and finds it again (G8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        assert await runtime.world("demo", world_id="w-1").activate() == "w-1"
        assert await runtime.open("w-1").activate() == "w-1"
        with pytest.raises(ValueError, match="world_id"):
            runtime.world("other", world_id="")

    with_runtime(main)


def test_open_needs_a_world() -> None:
    """Opening a world that does not exist is WorldNotFound, and creates none."""

    async def main(runtime: ArchetypeRuntime) -> None:
        with pytest.raises(WorldNotFound):
            await runtime.open("nobody").info()
        assert await runtime.worlds() == ()

    with_runtime(main)


def test_declaring_twice() -> None:
    """Declaring a name again, with the same configuration or none, gives another handle of the same world (RT8)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()], seed=1)
        for _ in range(2):
            siblings = [runtime.world("demo"), runtime.world("demo", processors=[Movement()], seed=1)]
            for sibling in siblings:
                assert await sibling.activate() == await world.activate()
        assert [one.qualname for one in await world.list_processors()] == ["runtime_scene.Movement"]
        assert runtime.world("demo", storage="memory:other").name == "demo"
        # The same world under its id gives another handle.
        assert await runtime.open(world.world_id).activate() == world.world_id
        await runtime.open(world.world_id).info()

    with_runtime(main)


@pytest.mark.parametrize(
    ("again", "told"),
    [
        ({"seed": 2}, "seed=1, not 2"),
        ({"cache": CacheConfig(rows=3)}, "cache="),
        ({"resume": False}, "leave out resume=False"),
    ],
)
def test_declaring_twice_differently(again: dict[str, Any], told: str) -> None:
    """Another seed or cache, or `resume=False`, is refused for a world that is declared, and the error says what to write."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", seed=1)
        for _ in range(2):
            with pytest.raises(ValueError, match=told):
                runtime.world("demo", **again)
            await world.step()

    with_runtime(main)


def test_a_live_world_is_configured_by_its_id() -> None:
    """A declaration that names a live world by its id replaces parts of it too."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])
        world_id = await world.activate()
        await runtime.open(world_id, processors=[Movement(), Movement()]).activate()
        assert len(await world.list_processors()) == 2
        await runtime.world("demo", processors=()).activate()
        assert await world.list_processors() == ()

    with_runtime(main)


def test_default_actor_is_an_admin_without_quota() -> None:
    """A runtime's own actor is a new admin without quota; an actor of `as_actor` has one (RT3, RT4)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        assert runtime.actor.roles == {ADMIN}
        world = runtime.world("demo")
        for _ in range(501):
            await world.spawn(Position())
        other = world.as_actor(ActorCtx("other", {OPERATOR}))
        for _ in range(500):
            await other.spawn(Position())
        with pytest.raises(QuotaExceeded):
            await other.spawn(Position())
        assert world.actor is runtime.actor

    with_runtime(main)
    assert ArchetypeRuntime().actor.id != ArchetypeRuntime().actor.id


def test_given_quotas_bind_every_actor() -> None:
    """Quotas that are given to a runtime bind its own actor too."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        await world.spawn(Position())
        await world.spawn(Position())
        with pytest.raises(QuotaExceeded):
            await world.spawn(Position())

    with_runtime(main, quotas=Quotas(commands=2))


def test_activation_without_quota_is_undone() -> None:
    """An activation that runs out of quota is undone, although its actor has no quota left for that (C3)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        with pytest.raises(QuotaExceeded):
            await runtime.world("demo", processors=[Movement(), Movement()]).activate()
        assert not [one for one in await runtime.worlds() if one.is_live]

    with_runtime(main, quotas=Quotas(commands=1))


def test_siblings_share_the_activation_and_not_the_actor() -> None:
    """A viewer's handle activates the world as the runtime's actor, and is refused what viewers may not do (RT3)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])
        viewer = world.as_actor(ActorCtx("v", {VIEWER}))
        assert (await viewer.info()).world_id == world.world_id
        with pytest.raises(PermissionDenied):
            await viewer.spawn(Position())
        rejected = (await world.history(status="rejected")).to_pydict()
        assert rejected["actor"] == ["v"]

    with_runtime(main)


def test_activation_of_an_actor_who_may_not() -> None:
    """A runtime whose actor may not create worlds raises PermissionDenied and creates none."""

    async def main(runtime: ArchetypeRuntime) -> None:
        with pytest.raises(PermissionDenied):
            await runtime.world("demo").activate()
        assert await runtime.worlds() == ()

    with_runtime(main, actor=ActorCtx("o", {OPERATOR}))


def test_shutdown_before_the_first_use() -> None:
    """A world that was never used is shut down without being created; its handle is closed (C1, L2)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        await world.shutdown()
        with pytest.raises(WorldClosed):
            await world.spawn(Position())
        with pytest.raises(WorldClosed):
            _ = world.world_id
        assert await runtime.worlds() == ()
        assert await runtime.world("demo").spawn(Position()) == 1

    with_runtime(main)


def test_shutdown_waits_for_the_first_activation() -> None:
    """A shutdown during the first activation ends the world; those who wait get WorldClosed (C4)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", hooks=[(OnSpawn, print)])
        uses = [asyncio.create_task(world.spawn(Position())) for _ in range(3)]
        await asyncio.sleep(0)
        await world.shutdown()
        outcomes = await asyncio.gather(*uses, return_exceptions=True)
        assert [type(one) for one in outcomes] == [WorldClosed] * 3
        assert not [one for one in await runtime.worlds() if one.is_live]

    with_runtime(main)


@pytest.mark.parametrize("storage", [3, ["journal:x"]])
def test_configuration_is_checked_where_it_is_given(storage: Any) -> None:
    """Wrong types of storage and cache are refused at the call (RT12)."""
    with pytest.raises(TypeError, match="storage is"):
        ArchetypeRuntime(storage)
    with pytest.raises(TypeError, match="cache is"):
        ArchetypeRuntime(cache="big")  # type: ignore[arg-type]  # reason: what is refused
    runtime = ArchetypeRuntime()
    with pytest.raises(TypeError, match="storage is"):
        runtime.world("demo", storage=storage)


def test_default_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a storage, worlds are stored in `./archetype-data`; an address lists them (RT12)."""
    monkeypatch.chdir(tmp_path)

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        await world.step()
        assert (tmp_path / "archetype-data").is_dir()
        assert (await world.info()).storage.endswith("./archetype-data")
        names = [one.name for one in await runtime.worlds((await world.info()).storage)]
        assert names == ["demo"]

    with_runtime(main, storage=None)


def test_a_place_without_a_store_is_named_and_stays_as_it_is(tmp_path: Path) -> None:
    """``open``, ``worlds`` and ``seal`` create nothing; a declared world does, also one that must not resume (S7)."""
    place = f"journal:{tmp_path / 'typo'}"

    async def main(runtime: ArchetypeRuntime) -> None:
        for call in (runtime.open("w", storage=place).step, lambda: runtime.worlds(place), lambda: runtime.seal(place)):
            with pytest.raises(StorageNotFound, match=str(tmp_path / "typo")):
                await call()
        assert list(tmp_path.iterdir()) == []
        await runtime.world("w", storage=place, world_id="one", resume=False).step()
        assert [one.name for one in await runtime.worlds(place)] == ["w"]
        assert await runtime.seal(place) == 0

    with_runtime(main)
    before = sorted(tmp_path.rglob("*"))

    async def again(runtime: ArchetypeRuntime) -> None:
        await runtime.worlds(place)
        assert (await runtime.open("w", storage=place).info()).tick == 1

    with_runtime(again)
    assert sorted(tmp_path.rglob("*")) == before
