"""Clauses on two processes that want the same tick of the same world."""

from __future__ import annotations

import re
from typing import Any

from archetype_contracts.crash.book import clause
from archetype_contracts.crash.case import Outcome
from archetype_contracts.crash.subject import CrashSubject
from archetype_contracts.verdict import Broken, require, require_equal
from archetype_core.store import Capability

_BOTH = [Capability.PERSISTENCE, Capability.SHARED]
_ROUNDS = 10


@clause(
    "X-030",
    "Of two processes that step one world at one tick, one wins; the other gets TickConflict and, if named, the winner's id.",
    needs=_BOTH,
)
def races(subject: CrashSubject) -> None:
    rounds = subject.effort.races
    places = -(-rounds // _ROUNDS)
    subject.side_by_side(lambda number: _race(subject, min(_ROUNDS, rounds - number * _ROUNDS)), range(places))
    subject.remarks.append(f"{rounds} ticks raced for, over {places} places that both opened first")


def _race(subject: CrashSubject, rounds: int) -> None:
    with subject.trial() as trial:
        *racers, (_, reader) = trial.nursery.race(subject.opener, trial.place, rounds, subject.patience_s)
    for pid, outcome in racers:
        _require_clean(f"racer {pid}", outcome)
    _require_clean("reading what the race left", reader)
    winners: dict[int, int] = {}
    for pid, outcome in racers:
        for tick in outcome.said("won"):
            require(tick not in winners, f"processes {winners.get(tick)} and {pid} both won tick {tick}")
            winners[tick] = pid
    require_equal(list(range(rounds)), sorted(winners), "ticks that were won")
    for pid, outcome in racers:
        for line in outcome.lines:
            if "lost" in line:
                _require_told(pid, line, winners[line["lost"]])
    heads = [line for line in reader.lines if "head" in line]
    require_equal([{"worlds": 1, "head": rounds - 1}], heads, "worlds and head")
    rows: dict[int, list[tuple[int, str]]] = {tick: [] for tick in range(rounds)}
    for tick, entity_id, text in reader.said("row"):
        rows[tick].append((entity_id, text))
    texts = [f"{winners[tick]} at {tick}" for tick in range(rounds) for _ in range(2)]
    for tick, found in rows.items():
        expected = list(enumerate(texts[: 2 * tick + 2], start=1))
        require_equal(expected, sorted(found), f"rows at tick {tick}, by who won it and the ticks before")


def _require_told(loser: int, line: dict[str, Any], winner: int) -> None:
    tick, owner = line["lost"], line["owner"]
    require_equal((tick + 1, tick), (line["expected"], line["got"]), f"expected and got of the conflict at tick {tick}")
    if owner is not None and str(winner) not in re.findall(r"\d+", owner):
        raise Broken(f"process {loser} lost tick {tick} to process {winner}, and was told {owner!r}")


def _require_clean(who: str, outcome: Outcome) -> None:
    if outcome.hung or outcome.status or outcome.said("crash"):
        reason = "did not end" if outcome.hung else f"ended with status {outcome.status}"
        raise Broken("\n".join([f"{who} {reason}", *outcome.said("crash"), str(outcome.lines[-8:]), outcome.stderr]))
