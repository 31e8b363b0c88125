"""The gate's meter: reservations and commands share one quota, and what was settled survives a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import ADMIN, PLAYER, Position, SetClock, create_world, journal_at, open_world, run_scenario

from archetype_core import StorageConfig
from archetype_core.command import GetUsage, ListWorlds, Reservation, Spawn
from archetype_core.errors import QuotaExceeded
from archetype_gate import Quotas, ServiceContainer, Usage, verify
from archetype_gate.quota import QuotaMeter

LIMIT = 100
LISTING: Any = ListWorlds()
QUOTAS = Quotas(credits=LIMIT, exempt=frozenset({ADMIN.id}))


def container_at(clock: SetClock | None = None) -> ServiceContainer:
    """A gate with few credits."""
    return ServiceContainer(quotas=QUOTAS, clock=clock)


STEPS = st.one_of(
    st.tuples(st.just("reserve"), st.integers(0, 60)),
    st.tuples(st.just("settle"), st.integers(0, 80)),
    st.tuples(st.just("release"), st.just(0)),
    st.tuples(st.just("charge"), st.just(1)),
)


@given(st.lists(st.tuples(STEPS, st.integers(0, 9))))
def test_used_and_reserved_credits_share_the_quota(program: list[tuple[tuple[str, int], int]]) -> None:
    """Reservations and commands are refused exactly when used, reserved and asked credits exceed the quota (G3).

    Settling charges what was spent, below and above the reservation, and everything that is charged is written.
    """
    clock, written = SetClock(), list[Usage]()
    meter = QuotaMeter(QUOTAS, clock, written.append)
    used = charged = 0
    waiting: list[Reservation] = []
    for (verb, amount), which in program:
        reserved = sum(one.credits for one in waiting)
        fits = used + reserved + amount <= LIMIT
        if verb == "reserve" and fits:
            waiting.append(meter.reserve("pat", amount))
        elif verb == "reserve":
            with pytest.raises(QuotaExceeded) as refusal:
                meter.reserve("pat", amount)
            assert (refusal.value.used, refusal.value.asked) == (used + reserved, amount)
        elif verb == "charge" and fits:
            assert meter.charge(PLAYER, [LISTING], None, 0) is not None
            used, charged = used + 1, charged + 1
        elif verb == "charge":
            with pytest.raises(QuotaExceeded):
                meter.charge(PLAYER, [LISTING], None, 0)
        elif waiting:
            one = waiting.pop(which % len(waiting))
            if verb == "settle":
                assert meter.settle(one, amount) == max(0, amount - one.credits)
                used += amount
            else:
                meter.release(one)
        found = meter.usage("pat")
        assert (found.credits_used, found.credits_reserved) == (used, sum(one.credits for one in waiting))
        assert sum(one.credits for one in written) + charged == used


def test_commands_wait_for_what_is_reserved(tmp_path: Path) -> None:
    """Reserved credits are not there for commands until they are released; settled ones are gone after a restart too (G3)."""
    storage, clock = journal_at(tmp_path), SetClock()

    async def scenario() -> None:
        container = container_at(clock)
        gate, meter = container.gate, container.meter
        before = meter.reserve(PLAYER.id, 10)
        assert meter.settle(before, 4) == 0
        world_id = await create_world(gate, storage)
        held = meter.reserve(PLAYER.id, LIMIT - 4)
        with pytest.raises(QuotaExceeded):
            await gate.execute(PLAYER, Spawn((Position(),)), world_id)
        meter.release(held)
        await gate.execute(PLAYER, Spawn((Position(),)), world_id)
        assert meter.settle(meter.reserve(PLAYER.id, 10), 30) == 20
        meter.reserve(PLAYER.id, 50)
        found = await gate.execute(PLAYER, GetUsage())
        assert (found.credits_used, found.credits_reserved, found.credits_limit) == (36, 50, LIMIT)
        assert dict(found.commands) == {world_id: 1}
        await container.shutdown()

        container = container_at(clock)
        await open_world(container.gate, storage)
        found = container.meter.usage(PLAYER.id)
        assert (found.credits_used, found.credits_reserved) == (36, 0)
        await container.shutdown()
        assert verify(storage) == []

    run_scenario(scenario)


def test_an_exempt_actor_reserves_without_limit() -> None:
    """An exempt actor has no limits: its reservations count, what it spends does not (G3)."""

    async def scenario() -> None:
        container = container_at()
        await create_world(container.gate, StorageConfig("memory:"))
        reservation = container.meter.reserve(ADMIN.id, 5 * LIMIT)
        found = await container.gate.execute(ADMIN, GetUsage())
        assert (found.credits_used, found.credits_reserved, found.credits_limit) == (0, 5 * LIMIT, None)
        assert container.meter.settle(reservation, 6 * LIMIT) == LIMIT
        assert container.meter.usage(ADMIN.id).credits_used == 0
        await container.shutdown()

    run_scenario(scenario)


def test_an_actor_is_named_by_its_id() -> None:
    """Something else than an id is a TypeError that says so."""
    wrong: Any = ADMIN

    async def scenario() -> None:
        container = container_at()
        with pytest.raises(TypeError, match="by its id"):
            await container.gate.execute(ADMIN, GetUsage(wrong))
        await container.shutdown()

    run_scenario(scenario)
