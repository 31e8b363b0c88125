"""Clauses on expected ticks: a command is for the tick that its sender knows, or it is refused and nothing is done."""

from __future__ import annotations

import asyncio
from typing import Any

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    Command,
    CommandGate,
    DestroyWorld,
    EntityCommand,
    EpisodeConfig,
    ForkWorld,
    RolloutConfig,
    Run,
    RunEpisode,
    RunRollout,
    Spawn,
    Step,
    Update,
)
from archetype_core.config import RunConfig
from archetype_core.errors import StaleTick

_EPISODE = EpisodeConfig(max_steps=1)
_TICKS: tuple[Command[Any], ...] = (
    Step(),
    Run(RunConfig(steps=2)),
    RunEpisode(_EPISODE),
    RunRollout(RolloutConfig(num_episodes=1, episode_config=_EPISODE)),
)


def _mutations(coin: int) -> tuple[EntityCommand[Any], ...]:
    return Spawn((Coin(),)), Update(coin, (Coin(number=9),))


def _world_with_coin(subject: GateSubject) -> tuple[str, int]:
    """A world that has made two ticks, and its coin."""
    world = subject.world()
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world, 2)
    return world, coin


@clause(
    "G-601", "A command that expects another tick than the next is refused, changes nothing, and its row says rejected."
)
def stale_ticks(subject: GateSubject) -> None:
    world, coin = _world_with_coin(subject)
    actor = subject.new_actor("admin")
    before = subject.info(world), subject.contents(world)
    commands: list[Command[Any]] = [*_mutations(coin), *_TICKS, ForkWorld("late"), DestroyWorld()]
    for expected in (1, 3):
        for command in commands:
            require_refusal(
                StaleTick,
                lambda c=command, e=expected: subject.execute(actor, c, world, expected_tick=e),
                expected=expected,
                tick=2,
            )
        for batch in _mutations(coin)[:1], _mutations(coin):
            require_refusal(
                StaleTick, lambda b=batch, e=expected: subject.submit_batch(actor, b, world, expected_tick=e)
            )
    require_equal(before, (subject.info(world), subject.contents(world)), "the world after stale commands")
    rows = [row for row in subject.history(world) if row.actor == actor.id]
    require_equal(2 * (len(commands) + 3), len(rows), "number of rows of stale commands")
    require_equal({"rejected"}, {row.status for row in rows}, "status of stale commands")
    subject.step(world)
    require_equal({coin: 1}, subject.coins(world), "coins a tick after stale commands")


@clause("G-602", "A command that expects the next tick is executed, and a mutation is applied by that tick.")
def right_ticks(subject: GateSubject) -> None:
    world, coin = _world_with_coin(subject)
    actor = subject.new_actor("admin")
    subject.execute(actor, Update(coin, (Coin(number=5),)), world, expected_tick=2)
    subject.submit_batch(actor, [Update(coin, (Coin(face="heads"),))], world, expected_tick=2)
    made = subject.execute(actor, Step(), world, expected_tick=2)
    require_equal((2, 2), (made.tick, made.applied), "tick that was made, and number of commands it applied")
    require_equal(({coin: 5}, {coin: "heads"}), (subject.coins(world), subject.faces(world)), "the coin after tick 2")
    for expected, command in zip((3, 4, 6, 7), _TICKS, strict=True):
        subject.execute(actor, command, world, expected_tick=expected)
    fork = subject.execute(actor, ForkWorld("branch"), world, expected_tick=7)
    require_equal(7, fork.tick, "next tick of the fork")
    require(subject.execute(actor, DestroyWorld(), world, expected_tick=7), "expected the world to be destroyed")


@clause("G-603", "Of several callers that expect the same tick one makes it, and the others are refused at no cost.")
def one_of_many(subject: GateSubject) -> None:
    subject.limit(credits=20, run=5)
    world = subject.world()
    actors = [subject.new_actor("operator") for _ in range(8)]

    async def race(gate: CommandGate) -> list[Any]:
        calls = [
            gate.execute(actor, Run(RunConfig(steps=2)) if number % 2 else Step(), world, expected_tick=0)
            for number, actor in enumerate(actors)
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    found = subject.run(race, "8 concurrent calls that make ticks, each with expected_tick=0")
    refused = [actor for actor, one in zip(actors, found, strict=True) if isinstance(one, StaleTick)]
    require_equal(7, len(refused), "number of callers that were refused")
    made = subject.info(world).tick
    require(made in (1, 2), f"expected the ticks of one call, but {made} were made")
    # Each may still spend all of its credits.
    for actor in refused:
        subject.execute(actor, Run(RunConfig(steps=2)), world)
        subject.execute(actor, Run(RunConfig(steps=2)), world)


@clause("G-604", "While ticks are made, a mutation that expects a tick is applied by that tick or refused.")
def during_ticks(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("operator")

    async def race(gate: CommandGate) -> list[int]:
        running = asyncio.ensure_future(gate.execute(actor, Run(RunConfig(steps=60)), world))
        accepted: list[int] = []
        while not running.done():
            info = gate.peek(actor, world)
            if info is not None:
                try:
                    await gate.execute(actor, Spawn((Coin(),)), world, expected_tick=info.tick)
                except StaleTick:
                    pass
                else:
                    accepted.append(info.tick)
            await asyncio.sleep(0)
        await running
        return accepted

    accepted = subject.run(race, "spawns that expect the next tick, during a run of 60 ticks")
    subject.step(world)
    ticks = sorted(row.tick or 0 for row in subject.history(world, type="spawn", status="applied"))
    require_equal(accepted, ticks, "ticks that applied the accepted spawns")
