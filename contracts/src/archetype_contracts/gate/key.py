"""Clauses on idempotency keys: what is sent again with its key is done once (H3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    ActorCtx,
    AddProcessor,
    Command,
    CommandGate,
    CreateWorld,
    DestroyWorld,
    EpisodeConfig,
    ForkWorld,
    GetWorldInfo,
    IdempotencyKey,
    RolloutConfig,
    Run,
    RunEpisode,
    RunRollout,
    Spawn,
    SpawnMany,
    Step,
    Update,
    UpdateWhere,
)
from archetype_core.config import RunConfig
from archetype_core.engine import Processor
from archetype_core.errors import EntityNotFound, KeyConflict, PermissionDenied, ProcessorError, StaleTick

_EPISODE = EpisodeConfig(max_steps=2)


class _FailsAt(Processor):
    """Fails at a tick, until it is told not to."""

    components = (Coin,)

    def __init__(self, tick: int | None) -> None:
        self.tick = tick

    def process(self, df: Any, tick: int) -> Any:
        if tick == self.tick:
            raise RuntimeError("this tick fails")
        return df


def _calls(subject: GateSubject, world: str, coin: int) -> dict[str, Callable[[ActorCtx, IdempotencyKey], Any]]:
    """Calls of every kind that can have a key, by a name of each."""
    commands: dict[str, tuple[Command[Any], str | None]] = {
        "create": (CreateWorld("made once", subject.storage), None),
        "spawn": (Spawn((Coin(number=3),)), world),
        "spawn several": (SpawnMany(((Coin(number=4),), (Coin(number=5),))), world),
        "update": (Update(coin, (Coin(number=9),)), world),
        "update where": (UpdateWhere(Coin.c.number > 0, {Coin.c.face: "heads"}), world),
        "step": (Step(), world),
        "run": (Run(RunConfig(steps=3)), world),
        "episode": (RunEpisode(_EPISODE), world),
        "rollout": (RunRollout(RolloutConfig(num_episodes=2, episode_config=_EPISODE)), world),
        "fork": (ForkWorld("forked once"), world),
    }

    def executing(command: Command[Any], place: str | None) -> Callable[[ActorCtx, IdempotencyKey], Any]:
        return lambda actor, key: subject.execute(actor, command, place, key=key)

    calls = {name: executing(command, place) for name, (command, place) in commands.items()}
    calls["submit"] = lambda actor, key: subject.submit_batch(
        actor, [Spawn((Coin(number=6),)), Update(coin, (Coin(number=1),))], world, key=key
    )
    calls["last step"] = executing(Step(), world)
    return calls


def _place(subject: GateSubject) -> tuple[str, int]:
    world = subject.world()
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world)
    return world, coin


@clause(
    "G-611",
    "What is sent again with its key has its first result, does nothing, costs nothing, and has one row.",
)
def sent_again(subject: GateSubject) -> None:
    subject.limit(commands=100, credits=1000)
    world, coin = _place(subject)
    actor = subject.new_actor("admin")
    answers: dict[str, Any] = {}

    def state() -> tuple[Any, ...]:
        rows = [row for row in subject.history() if row.actor == actor.id]
        return subject.info(world), sorted(subject.worlds()), subject.usage(actor), len(rows)

    for name, call in _calls(subject, world, coin).items():
        answers[name] = call(actor, IdempotencyKey(name))
        before = state()
        for _ in range(2):
            require_equal(answers[name], call(actor, IdempotencyKey(name)), f"result of {name}, sent again")
        require_equal(before, state(), f"world, worlds, usage and number of rows after {name} was sent again")
    contents = subject.contents(world)
    subject.reopen(world)
    for name, call in _calls(subject, world, coin).items():
        require_equal(answers[name], call(actor, IdempotencyKey(name)), f"result of {name}, sent again after reopening")
    subject.step(world)
    require_equal(contents, subject.contents(world), "contents after everything was sent again")


@clause("G-612", "A key with another request is refused; the keys of two actors are different ones.")
def other_requests(subject: GateSubject) -> None:
    world, coin = _place(subject)
    actor, other = subject.new_actor("admin"), subject.new_actor("admin")
    first, again = IdempotencyKey("key", "a spawn"), IdempotencyKey("key", "a step")
    made = subject.execute(actor, Spawn((Coin(),)), world, key=first)
    info = subject.info(world)
    require_refusal(KeyConflict, lambda: subject.execute(actor, Step(), world, key=again), key="key", is_running=False)
    require_refusal(
        KeyConflict, lambda: subject.submit_batch(actor, [Update(coin, (Coin(number=2),))], world, key=again)
    )
    require_equal(info, subject.info(world), "the world after requests with the key of another")
    require_equal(made, subject.execute(actor, Spawn((Coin(),)), world, key=first), "result of the first request")
    require(
        made != subject.execute(other, Spawn((Coin(),)), world, key=first),
        "expected another coin for another actor with the same key",
    )
    require_refusal(TypeError, lambda: subject.execute(actor, GetWorldInfo(), world, key=IdempotencyKey("read")))
    statuses = [row.status for row in subject.history(world) if row.actor == actor.id]
    require_equal(["applied" if one == "queued" else one for one in statuses].count("rejected"), 3, "refused requests")


@clause("G-613", "A command that was refused, or failed as a whole, leaves its key free for another try.")
def free_after_refusal(subject: GateSubject) -> None:
    world, coin = _place(subject)
    actor = subject.new_actor("admin")
    failing = _FailsAt(1)
    subject.as_admin(AddProcessor(failing), world)
    key = IdempotencyKey("step", "a step")
    require_refusal(StaleTick, lambda: subject.execute(actor, Step(), world, expected_tick=7, key=key))
    require_refusal(ProcessorError, lambda: subject.execute(actor, Step(), world, expected_tick=1, key=key))
    failing.tick = None
    require_equal(1, subject.execute(actor, Step(), world, expected_tick=1, key=key).tick, "tick of the third try")
    require_equal(1, subject.execute(actor, Step(), world, expected_tick=1, key=key).tick, "tick of a repetition")
    unknown, known = IdempotencyKey("update", "other"), IdempotencyKey("update", "coin")
    require_refusal(EntityNotFound, lambda: subject.execute(actor, Update(999, (Coin(number=2),)), world, key=unknown))
    subject.execute(actor, Update(coin, (Coin(number=2),)), world, key=known)
    require_equal(2, subject.info(world).tick, "next tick of the world")


@clause("G-614", "Of concurrent calls with one key one is executed; the others are refused or have its result.")
def concurrent_calls(subject: GateSubject) -> None:
    world, _ = _place(subject)
    actor = subject.new_actor("admin")

    async def race(gate: CommandGate) -> list[Any]:
        steps = [gate.execute(actor, Run(RunConfig(steps=3)), world, key=IdempotencyKey("run")) for _ in range(6)]
        spawns = [gate.execute(actor, Spawn((Coin(),)), world, key=IdempotencyKey("spawn")) for _ in range(6)]
        return await asyncio.gather(*steps, *spawns, return_exceptions=True)

    found = subject.run(race, "6 concurrent runs with one key, and 6 spawns with another")
    for part in (found[:6], found[6:]):
        odd = [one for one in part if isinstance(one, Exception) and not isinstance(one, KeyConflict)]
        require_equal([], odd, "other errors than KeyConflict")
        done = [one for one in part if not isinstance(one, Exception)]
        require(bool(done) and all(one == done[0] for one in done), f"expected one result, got {done}")
    subject.step(world)
    require_equal(5, subject.info(world).tick, "next tick of the world")
    require_equal(2, len(subject.coins(world)), "number of coins")


@clause(
    "G-615",
    "A run that failed goes on when it is sent again with its key, also if it was reopened and stepped in between.",
)
def resumed_runs(subject: GateSubject) -> None:
    world, _ = _place(subject)
    actor, failing = subject.new_actor("admin"), _FailsAt(3)
    subject.as_admin(AddProcessor(failing), world)
    key, run = IdempotencyKey("run"), Run(RunConfig(steps=4))
    require_refusal(ProcessorError, lambda: subject.execute(actor, run, world, expected_tick=1, key=key))
    require_equal(3, subject.info(world).tick, "next tick after the failure")
    failing.tick = None
    subject.step(world)
    subject.reopen(world)
    result = subject.execute(actor, run, world, expected_tick=1, key=key)
    require_equal((1, 4), (result.first_tick, result.steps), "first tick and number of ticks of the whole run")
    require_equal(6, subject.info(world).tick, "next tick: 2 of the run, 1 of another, 2 of the run")
    require_equal(result, subject.execute(actor, run, world, expected_tick=1, key=key), "result of the run, sent again")


@clause("G-616", "A result is given again only to an actor that may send the command.")
def rights(subject: GateSubject) -> None:
    world, _ = _place(subject)
    actor, key = subject.new_actor("admin"), IdempotencyKey("destroy")
    subject.execute(actor, DestroyWorld(), world, key=key)
    require(subject.execute(actor, DestroyWorld(), world, key=key), "expected the result of the first time")
    weaker = ActorCtx(actor.id, ("viewer",))
    require_refusal(PermissionDenied, lambda: subject.execute(weaker, DestroyWorld(), world, key=key))
