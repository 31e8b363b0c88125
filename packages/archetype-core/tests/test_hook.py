"""Hooks: events, their order, and failures."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from scene import Calls, FaultyStore, Frozen, Health, Move, Name, Position, Velocity, drive, world, xs

from archetype_core.engine import (
    EntityEvent,
    Event,
    OnComponentAdded,
    OnComponentRemoved,
    OnDespawn,
    OnDestroy,
    OnSpawn,
    PostTick,
    PreTick,
)
from archetype_core.errors import CommitError, HookError
from archetype_core.schema import Archetype


def test_events_of_a_tick() -> None:
    """A tick fires PreTick, then entity events, then PostTick, with tick, run and world (§8)."""

    async def scenario() -> None:
        heard: list[Event] = []
        there = world(hooks=[(Event, heard.append)])
        a, b = there.spawn_many([Position(), Position()])
        await there.step()
        assert [type(event) for event in heard] == [PreTick, OnSpawn, PostTick]
        pre, spawned, post = heard
        assert isinstance(pre, PreTick)
        assert isinstance(post, PostTick)
        assert isinstance(spawned, OnSpawn)
        assert pre.run_id == post.run_id == there.run_id
        assert {event.tick for event in heard} == {0}
        assert all(event.world is there for event in heard)
        assert (spawned.entity_ids, spawned.archetype) == ((a, b), Archetype.of(Position))
        with pytest.raises(ValueError, match="unpack"):
            assert spawned.entity_id
        assert post.results.keys() == {Archetype.of(Position).name}

    drive(scenario)


def test_entity_events() -> None:
    """Entity events are fired once per tick and archetype, with the right archetype (§8)."""

    async def scenario() -> None:
        there = world()
        a, b, c = there.spawn_many([Position(), Position(), (Position(), Name())])
        await there.step()
        heard: list[EntityEvent] = []
        there.add_hook(EntityEvent, heard.append)
        there.add_components(a, Health(), Frozen())
        there.despawn(b)
        there.remove_components(c, Name)
        there.add_components(c, Frozen())
        born = there.spawn(Position())
        there.add_components(born, Frozen())
        gone = there.spawn(Position())
        there.despawn(gone)
        await there.step()
        seen = {(type(event), event.entity_ids): event for event in heard}
        assert seen.keys() == {
            (OnComponentAdded, (a,)),
            (OnDespawn, (b,)),
            (OnComponentAdded, (c,)),
            (OnComponentRemoved, (c,)),
            (OnSpawn, (born,)),
        }
        gained = seen[OnComponentAdded, (a,)]
        assert isinstance(gained, OnComponentAdded)
        assert gained.components == ("Frozen", "Health")
        assert (gained.entity_id, gained.archetype) == (a, Archetype.of(Position, Health, Frozen))
        lost = seen[OnComponentRemoved, (c,)]
        assert isinstance(lost, OnComponentRemoved)
        assert (lost.components, lost.archetype) == (("Name",), Archetype.of(Position, Frozen))
        assert seen[OnSpawn, (born,)].archetype == Archetype.of(Position, Frozen)
        assert seen[OnDespawn, (b,)].archetype == Archetype.of(Position)

    drive(scenario)


def test_entities_of_one_archetype_are_told_together() -> None:
    """Spawns of one archetype are one event, also if others are spawned between them (§8)."""

    async def scenario() -> None:
        heard: list[OnSpawn] = []
        there = world(hooks=[(OnSpawn, heard.append)])
        there.spawn_many([Position(), Frozen(), Position(), Frozen(), Position()])
        there.spawn_table({"x": [1.0, 2.0]}, Position)
        await there.step()
        seen = {event.archetype: event.entity_ids for event in heard}
        assert seen == {Archetype.of(Position): (1, 3, 5, 6, 7), Archetype.of(Frozen): (2, 4)}
        assert len(heard) == 2

    drive(scenario)


def test_hooks_run_in_registration_order() -> None:
    """Plain and async handlers run in the order of registration, those of base events included (§8)."""

    async def scenario() -> None:
        heard: list[str] = []

        async def slow(_: Any) -> None:
            await asyncio.sleep(0)
            heard.append("slow")

        there = world()
        there.add_hook(PreTick, slow)
        there.add_hook(Event, lambda _: heard.append("any"))
        there.add_hook(PreTick, lambda _: heard.append("last"))
        await there.step()
        assert heard == ["slow", "any", "last", "any"]

    drive(scenario)


def test_failing_hook_is_logged_and_the_tick_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that raises is logged by name; other hooks are called and the tick is committed (§8)."""

    async def scenario() -> None:
        heard: list[type] = []

        def broken(event: Event) -> None:
            raise RuntimeError("broken hook")

        async def broken_later(event: Event) -> None:
            await asyncio.sleep(0)
            raise ValueError("later")

        there = world(hooks=[(Event, broken), (Event, broken_later), (Event, lambda event: heard.append(type(event)))])
        there.spawn(Position())
        await there.run(2)
        assert heard == [PreTick, OnSpawn, PostTick, PreTick, PostTick]

    with caplog.at_level(logging.WARNING, "archetype"):
        drive(scenario)
    assert caplog.text.count("broken hook") >= 5
    assert "broken_later" in caplog.text


def test_fail_fast_before_the_tick_stops_it() -> None:
    """A PreTick hook with fail_fast stops the tick, and everything stays staged (§8, T7)."""

    async def scenario() -> None:
        def refuse(event: PreTick) -> None:
            raise RuntimeError("not now")

        there = world()
        handle = there.add_hook(PreTick, refuse, fail_fast=True)
        there.spawn(Position())
        with pytest.raises(HookError) as caught:
            await there.step()
        assert "refuse" in caught.value.hook
        assert caught.value.event == "PreTick"
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert (there.tick, there.pending) == (0, 1)
        there.remove_hook(handle)
        await there.step()
        assert len(there) == 1

    drive(scenario)


def test_fail_fast_after_the_tick_leaves_it_committed() -> None:
    """A PostTick hook with fail_fast raises to the caller; the tick is committed (§8)."""

    async def scenario() -> None:
        def refuse(event: PostTick) -> None:
            raise RuntimeError("too late")

        there = world()
        there.add_hook(PostTick, refuse, fail_fast=True)
        there.spawn(Position())
        with pytest.raises(HookError):
            await there.step()
        assert (there.tick, there.pending, len(there)) == (1, 0, 1)

    drive(scenario)


def test_removal_is_idempotent_and_at_once() -> None:
    """A removed hook is not called again, also not for the current event; removing twice is harmless (§8)."""

    async def scenario() -> None:
        heard: list[str] = []

        def first(_: Any) -> None:
            heard.append("first")
            removed.append(there.remove_hook(mine))
            removed.append(there.remove_hook(later))
            removed.append(there.remove_hook(later))
            there.add_hook(PreTick, lambda _: heard.append("new"))

        removed: list[bool] = []
        there = world()
        mine = there.add_hook(PreTick, first)
        later = there.add_hook(PreTick, lambda _: heard.append("later"))
        await there.run(2)
        assert removed == [True, True, False]
        assert heard == ["first", "new"]

    drive(scenario)


def test_one_handler_may_be_registered_twice() -> None:
    """A handler registered twice is called twice; removing one registration keeps the other (§8)."""

    async def scenario() -> None:
        heard: list[Event] = []
        there = world()
        handle = there.add_hook(PreTick, heard.append)
        there.add_hook(PreTick, heard.append)
        await there.step()
        there.remove_hook(handle)
        await there.step()
        assert len(heard) == 3

    drive(scenario)


def test_spawned_hooks_do_not_hold_the_tick() -> None:
    """A spawned handler runs in the background; close waits for it, and its failure is logged (§8)."""

    async def scenario() -> None:
        go = asyncio.Event()
        heard: list[int] = []

        async def later(event: PostTick) -> None:
            await go.wait()
            heard.append(event.tick)
            raise RuntimeError("nobody waits")

        there = world()
        there.add_hook(PostTick, later, mode="spawn")
        await there.run(3)
        assert heard == []
        go.set()
        await there.close()
        assert sorted(heard) == [0, 1, 2]

    drive(scenario)


def test_spawned_hook_may_step_its_world() -> None:
    """A spawned handler that waits for its tick to end may step the world (§8, T15)."""

    async def scenario() -> None:
        done = asyncio.Event()

        async def once_more(event: PostTick) -> None:
            if event.tick == 0:
                await started.wait()
                await event.world.step()
                done.set()

        started = asyncio.Event()
        there = world()
        there.add_hook(PostTick, once_more, mode="spawn")
        await there.step()
        started.set()
        await done.wait()
        assert there.tick == 2

    drive(scenario)


def test_spawned_hook_may_close_its_world() -> None:
    """A spawned handler that closes or destroys its world does not wait for itself (T15)."""

    async def scenario() -> None:
        async def close(event: PostTick) -> None:
            closing.append(asyncio.current_task())
            await started.wait()
            await event.world.close()

        closing: list[asyncio.Task[Any] | None] = []

        started = asyncio.Event()
        there = world()
        there.add_hook(PostTick, close, mode="spawn")
        await there.step()
        started.set()
        for _ in range(100):
            await asyncio.sleep(0)
        (task,) = closing
        assert task is not None
        is_stuck = not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert not is_stuck

    drive(scenario)


def test_spawned_handlers_may_be_plain() -> None:
    """A plain function in spawn mode is called, too (§8)."""

    async def scenario() -> None:
        heard: list[int] = []
        there = world()
        there.add_hook(PreTick, lambda event: heard.append(event.tick), mode="spawn")
        await there.run(2)
        await there.close()
        assert heard == [0, 1]

    drive(scenario)


def test_registration_refuses_nonsense() -> None:
    """A wrong event or mode, a handler that is not callable and a spawned fail_fast hook are refused (§8)."""
    there = world()
    event: Any
    handler: Any
    for event, handler in ((int, print), (PreTick(there, 0, "r"), print), (PreTick, 3)):
        with pytest.raises(TypeError):
            there.add_hook(event, handler)
    with pytest.raises(ValueError, match="mode"):
        there.add_hook(PreTick, print, mode="later")  # type: ignore[arg-type]  # reason: this is what is refused
    with pytest.raises(ValueError, match="fail fast"):
        there.add_hook(PreTick, print, mode="spawn", fail_fast=True)


def test_failed_tick_tells_nothing_after_it() -> None:
    """A failed tick fires only PreTick (§8, T7)."""

    async def scenario() -> None:
        heard: list[type] = []
        store = FaultyStore()
        there = world(store=store, hooks=[(Event, lambda event: heard.append(type(event)))])
        there.spawn(Position())
        store.faults.append(OSError())
        with pytest.raises(CommitError):
            await there.step()
        assert heard == [PreTick]

    drive(scenario)


def test_results_are_the_live_tables() -> None:
    """PostTick's results are the live rows themselves, of all tables, idle ones too (T13)."""

    async def scenario() -> None:
        there = world(Move())
        there.spawn(Position(), Velocity())
        there.spawn(Frozen())
        await there.step()
        events: list[PostTick] = []
        there.add_hook(PostTick, events.append)
        await there.run(2)
        (_, last) = events
        assert {name: id(rows) for name, rows in last.results.items()} == {
            one.name: id(rows) for one, rows in there.tables().items()
        }
        # An older event still holds the rows of its own tick.
        (first, _) = events
        moved = first.results[Archetype.of(Position, Velocity).name].to_arrow()
        assert moved["position__x"].to_pylist() == [1.0]

    drive(scenario)


def test_mutations_in_hooks_are_staged() -> None:
    """What a PreTick hook stages is part of the tick; what a PostTick hook stages is part of the next (§8, T15)."""

    async def scenario() -> None:
        there = world()
        there.add_hook(PreTick, lambda event: event.world.spawn(Position(x=float(event.tick))))
        there.add_hook(PostTick, lambda event: event.world.spawn(Position(x=event.tick + 0.5)))
        await there.run(2)
        assert sorted(xs(there).values()) == [0.0, 0.5, 1.0]
        assert there.pending == 1

    drive(scenario)


def test_destroy_is_told_once() -> None:
    """OnDestroy is fired once, before the world closes, and its hooks can read (§8)."""

    async def scenario() -> None:
        seen: list[int] = []
        there = world(Calls(lambda df, **_: df))
        there.spawn(Position())
        await there.step()
        there.add_hook(OnDestroy, lambda event: seen.append(len(event.world)))
        await there.destroy()
        await there.destroy()
        assert seen == [1]

    drive(scenario)


def test_destroying_hook_is_told_once() -> None:
    """An OnDestroy hook that destroys the world is called once (§8)."""

    async def scenario() -> None:
        seen: list[int] = []

        async def again(event: OnDestroy) -> None:
            seen.append(event.tick)
            if len(seen) < 5:
                await event.world.destroy()

        there = world()
        there.add_hook(OnDestroy, again)
        await there.destroy()
        assert seen == [0]

    drive(scenario)
