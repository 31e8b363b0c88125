"""A clause on two processes that commit the same tick of the same world."""

from __future__ import annotations

import re
from typing import Any

from archetype_contracts.assertion import ClauseFailed, require, require_equal
from archetype_contracts.crash.case import Outcome
from archetype_contracts.crash.registry import clause
from archetype_contracts.crash.subject import CrashSubject
from archetype_core.store import Capability

_BOTH = [Capability.PERSISTENCE, Capability.SHARED]
_ROUNDS = 10


@clause(
    "X-030",
    "If two processes step one world at one tick, one wins; the other gets TickConflict, whose owner, if set, is the winner.",
    needs=_BOTH,
)
def races(subject: CrashSubject) -> None:
    rounds = subject.settings.races
    places = -(-rounds // _ROUNDS)
    subject.in_parallel(lambda number: _race(subject, min(_ROUNDS, rounds - number * _ROUNDS)), range(places))
    subject.remarks.append(f"{rounds} ticks raced for in {places} places")


def _race(subject: CrashSubject, rounds: int) -> None:
    with subject.trial() as trial:
        *racers, (_, reader) = trial.client.race(subject.opener, trial.place, rounds, subject.patience_s)
    for pid, outcome in racers:
        _require_clean(f"racer {pid}", outcome)
    _require_clean("the process that read the place after the race", reader)
    winners: dict[int, int] = {}
    for pid, outcome in racers:
        for tick in outcome.reported("won"):
            require(
                tick not in winners,
                f"expected one winner of tick {tick}, but processes {winners.get(tick)} and {pid} both won it",
            )
            winners[tick] = pid
    require_equal(list(range(rounds)), sorted(winners), "ticks that a process won")
    for pid, outcome in racers:
        for line in outcome.lines:
            if "lost" in line:
                _require_conflict(pid, line, winners[line["lost"]])
    heads = [line for line in reader.lines if "head" in line]
    require_equal([{"worlds": 1, "head": rounds - 1}], heads, "number of worlds, and head")
    rows: dict[int, list[tuple[int, str]]] = {tick: [] for tick in range(rounds)}
    for tick, entity_id, text in reader.reported("row"):
        rows[tick].append((entity_id, text))
    texts = [f"{winners[tick]} at {tick}" for tick in range(rounds) for _ in range(2)]
    for tick, found in rows.items():
        expected = list(enumerate(texts[: 2 * tick + 2], start=1))
        require_equal(expected, sorted(found), f"rows at tick {tick}, each with the process that wrote it")


def _require_conflict(loser: int, line: dict[str, Any], winner: int) -> None:
    tick, owner = line["lost"], line["owner"]
    require_equal((tick + 1, tick), (line["expected"], line["got"]), f"expected and got of the conflict at tick {tick}")
    if owner is not None and str(winner) not in re.findall(r"\d+", owner):
        raise ClauseFailed(
            f"TickConflict.owner in process {loser}, which lost tick {tick}\n"
            f"  expected: None, or text with the number {winner}\n  actual:   {owner!r}"
        )


def _require_clean(who: str, outcome: Outcome) -> None:
    if outcome.hung or outcome.status or outcome.reported("crash"):
        reason = "did not end" if outcome.hung else f"ended with status {outcome.status}"
        raise ClauseFailed(
            "\n".join([f"{who} {reason}", *outcome.reported("crash"), str(outcome.lines[-8:]), outcome.stderr])
        )
