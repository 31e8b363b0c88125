"""Which commands the gate rejects: by policy, by quota, and for wrong arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stage import (
    ADMIN,
    PLAYER,
    VIEWER,
    Position,
    SetClock,
    audit_rows,
    create_world,
    journal_at,
    open_gate,
    open_world,
    run_scenario,
    step,
    x_history,
)

from archetype_core import Component, StorageConfig
from archetype_core.command import (
    ActorCtx,
    Command,
    CreateWorld,
    Custom,
    GetWorldInfo,
    ListWorlds,
    Run,
    Send,
    Spawn,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.errors import (
    EntityNotFound,
    NotDeferrable,
    PermissionDenied,
    QuotaExceeded,
    SignatureError,
    StaleTick,
    ValueRejected,
    WorldNotFound,
)
from archetype_gate import Policy, Quotas, ServiceContainer

MEMORY = StorageConfig("memory:")


def test_rejected_commands_change_nothing_and_are_recorded(tmp_path: Path) -> None:
    """A command rejected by policy, quota, address or data leaves an audit row and nothing else (G1, G3, G4)."""

    class Unknown(Command[None]):
        kind = "unknown"

    not_an_entity_command: Any = Step()

    async def scenario() -> None:
        async with open_gate(quotas=Quotas(commands=2, exempt=frozenset({ADMIN.id}))) as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            with pytest.raises(PermissionDenied):
                await gate.execute(VIEWER, Spawn((Position(),)), world_id)
            with pytest.raises(PermissionDenied):
                await gate.execute(ADMIN, Unknown(), world_id)
            with pytest.raises(PermissionDenied):
                await gate.execute(ActorCtx("x", {"emperor"}), GetWorldInfo(), world_id)
            with pytest.raises(WorldNotFound):
                await gate.submit(PLAYER, Send(1, "hi"), "nowhere")
            with pytest.raises(NotDeferrable):
                await gate.submit(ADMIN, not_an_entity_command, world_id)
            with pytest.raises(ValueRejected):
                await gate.submit(PLAYER, Send(1, object()), world_id)
            with pytest.raises(QuotaExceeded):
                await gate.submit_batch(PLAYER, [Spawn((Position(),))] * 3, world_id)
            await gate.submit_batch(PLAYER, [Spawn((Position(),))] * 2, world_id)
            with pytest.raises(QuotaExceeded):
                await gate.execute(PLAYER, GetWorldInfo(), world_id)
            await step(gate, world_id)
            assert len(await x_history(gate, world_id)) == 2
            rejected = await audit_rows(gate, None, status="rejected")
            assert [row.type for row in rejected] == [
                "spawn",
                "unknown",
                "get_world_info",
                "message",
                "step",
                "message",
                *["spawn"] * 3,
                "get_world_info",
            ]
            assert all(row.reason for row in rejected)

    run_scenario(scenario)


def test_what_is_refused_now_is_foreseen(tmp_path: Path) -> None:
    """A command for later is refused for role, world and tick with an audit row; otherwise it leaves no row and costs nothing."""

    async def scenario() -> None:
        container = ServiceContainer(quotas=Quotas(credits=0, exempt=frozenset({ADMIN.id})))
        gate = container.gate
        world_id = await create_world(gate, journal_at(tmp_path))
        operator = ActorCtx("ann", {"operator"})
        limited = ActorCtx("ben", {"operator"}, {"other"})
        await container.foresee(operator, Run(RunConfig(5)), world_id, expected_tick=0)
        for actor, world, tick, kind in (
            (PLAYER, world_id, None, PermissionDenied),
            (operator, "nowhere", None, WorldNotFound),
            (limited, world_id, None, WorldNotFound),
            (operator, world_id, 3, StaleTick),
        ):
            with pytest.raises(kind):
                await container.foresee(actor, Run(RunConfig(5)), world, expected_tick=tick)
        rows = await audit_rows(gate, None, type="run")
        assert [(row.actor, row.status) for row in rows] == [
            (actor.id, "rejected") for actor in (PLAYER, operator, limited, operator)
        ]
        await container.shutdown()

    run_scenario(scenario)


def test_quotas_survive_a_restart_and_end_with_the_day(tmp_path: Path) -> None:
    """Usage counts after a restart, for the same tick and the same UTC day, per actor (G3)."""
    clock = SetClock()
    quotas = Quotas(commands=3, credits=5, exempt=frozenset({ADMIN.id}))

    async def scenario() -> None:
        async with open_gate(clock=clock, quotas=quotas) as gate:
            world_id = await create_world(gate, journal_at(tmp_path))
            for _ in range(3):
                await gate.submit_spawn(PLAYER, world_id, Position())
        async with open_gate(clock=clock, quotas=quotas) as gate:
            await open_world(gate, journal_at(tmp_path))
            with pytest.raises(QuotaExceeded) as refused:
                await gate.submit_spawn(PLAYER, world_id, Position())
            assert (refused.value.quota, refused.value.used) == ("commands", 3)
            await gate.submit_spawn(ActorCtx("pia", {"player"}), world_id, Position())
            await step(gate, world_id)
            for _ in range(2):
                await gate.submit_spawn(PLAYER, world_id, Position())
            with pytest.raises(QuotaExceeded) as refused:
                await gate.submit_spawn(PLAYER, world_id, Position())
            assert (refused.value.quota, refused.value.used) == ("credits", 5)
            clock.turn_day()
            await gate.submit_spawn(PLAYER, world_id, Position())

    run_scenario(scenario)


def test_a_custom_policy_replaces_the_roles(tmp_path: Path) -> None:
    """A custom policy decides instead of the four default roles (G2)."""
    policy = Policy({"clerk": frozenset({"create_world", "spawn"}), "runner": frozenset({"step"})})

    async def scenario() -> None:
        async with open_gate(policy=policy) as gate:
            clerk, runner = ActorCtx("c", {"clerk"}), ActorCtx("r", {"runner"})
            info = await gate.execute(clerk, CreateWorld("w", journal_at(tmp_path)))
            await gate.execute(clerk, Spawn((Position(),)), info.world_id)
            await gate.execute(runner, Step(), info.world_id)
            denied: list[tuple[ActorCtx, Command[Any]]] = [
                (clerk, Step()),
                (runner, Spawn((Position(),))),
                (ADMIN, Step()),
            ]
            for actor, command in denied:
                with pytest.raises(PermissionDenied):
                    await gate.execute(actor, command, info.world_id)

    run_scenario(scenario)


def test_wrong_arguments_are_refused() -> None:
    """A wrong actor, address, tick, priority or entity raises at once (M7)."""

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            wrong: list[tuple[Any, Command[Any], Any]] = [
                ("admin", Step(), world_id),
                (ADMIN, Step(), None),
                (ADMIN, ListWorlds(), world_id),
                (ADMIN, Step(), 7),
            ]
            for actor, command, world in wrong:
                with pytest.raises(TypeError):
                    await gate.execute(actor, command, world)
            wrong_times: list[tuple[Any, Any]] = [(-1, 0), (1.5, 0), (True, 0), (2**63, 0), (0, "high"), (0, 2**63)]
            for tick, priority in wrong_times:
                with pytest.raises(ValueError, match=r"tick|priority"):
                    await gate.submit(ADMIN, Custom("x"), world_id, tick=tick, priority=priority)
            with pytest.raises(EntityNotFound):
                await gate.execute(ADMIN, Update(1, (Position(x=1.0),)), world_id)

    run_scenario(scenario)


def test_wrong_policies_quotas_and_components_are_refused() -> None:
    """A value that is no policy, quotas or component raises where it is passed (M7)."""
    wrong_parts: list[dict[str, Any]] = [{"policy": "x"}, {"quotas": 3}]
    for given in wrong_parts:
        with pytest.raises(TypeError, match="not"):
            ServiceContainer(**given)
    wrong_roles: Any = {"viewer": "spawn"}
    with pytest.raises(TypeError, match="set of names"):
        Policy(wrong_roles)

    async def scenario() -> None:
        async with open_gate() as gate:
            world_id = await create_world(gate, MEMORY)
            wrong_bundles: list[Any] = [(Position,), (3,), (Component,)]
            for wrong in wrong_bundles:
                with pytest.raises(SignatureError, match="instances"):
                    await gate.execute(ADMIN, Spawn(wrong), world_id)

    run_scenario(scenario)
