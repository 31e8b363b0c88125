"""Kills processes that use a gate, and checks that every answered command applied exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from archetype_contracts.assertion import ClauseFailed, require, require_equal
from archetype_contracts.crash.fork_server import find
from archetype_contracts.gate.crash_many import ManyAnswers
from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.session import ADMIN_ACTOR, AHEAD
from archetype_contracts.gate.subject import GateHooks
from archetype_core.clock import SystemClock
from archetype_core.command import AuditFilter, AuditRow, CommandGate, GetHistory, OpenWorld, Query, Run
from archetype_core.config import RunConfig
from archetype_core.schema import Message

_RUNS_PER_PLACE = 5
"""How many processes are killed over one place."""
_OPERATIONS = 60


@dataclass(slots=True)
class Answers:
    """What the gate answered the processes over one place, by world id."""

    worlds: dict[str, str] = field(default_factory=dict)
    tried: set[tuple[str, str]] = field(default_factory=set)
    kept: dict[tuple[str, str], str | None] = field(default_factory=dict)
    """Labels that must exist, with the id of their command if it is known; ``None`` if they are many of one command."""
    many: ManyAnswers = field(default_factory=ManyAnswers)
    together: list[tuple[str, str, str, str]] = field(default_factory=list)
    """A world's label and another world's label: both exist, or neither does."""
    ids: dict[tuple[str, int], str] = field(default_factory=dict)
    ticks: dict[str, int] = field(default_factory=dict)

    def add(self, line: dict[str, Any]) -> None:
        """Add a line that a process reported."""
        self.many.add(line)
        if "tried" in line:
            self.tried.add((line["tried"][0], line["tried"][1]))
        if "together" in line:
            world, marker, other, label = line["together"]
            self.together.append((world, marker, other, label))
        match line.get("ack"):
            case ["world", world, name]:
                self.worlds[world] = name
            case ["tick", world, tick]:
                self.ticks[world] = max(tick, self.ticks.get(world, -1))
            case ["queued" | "durable" | "staged" as how, world, label, command_id, ids]:
                self._keep(how, world, label, command_id, ids)
            case ["many", world, how, labels, ids]:
                for label, entity in zip(labels, ids, strict=True):
                    self._keep(how, world, label, None, [entity])

    def _keep(self, how: str, world: str, label: str, command_id: str | None, ids: list[int]) -> None:
        if how != "staged":
            self.kept[world, label] = command_id
        for entity in ids:
            before = self.ids.setdefault((world, entity), label)
            require_equal(before, label, f"label of entity id {entity}, which must be issued once")


class GateCrash:
    """Kills processes that use the gate of an adopter's class, named as ``module:Class``, and inspects what they leave.

    The class defines ``open_gate``, ``storage`` and ``verify`` as for ``GateContract``. Importing its module must not open
    anything or start a thread.
    """

    def __init__(self, opener: str, place: Path, *, seed: int = 1) -> None:
        self.opener, self.place, self.seed = opener, place, seed
        self.hooks: GateHooks = find(opener)()  # type: ignore[assignment, call-arg]  # reason: an adopter's class
        self.counts = Counter[str]()
        """How many answers, changes and despawns of many were reported, and how many processes were killed."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "archetype_contracts.gate.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def run(self, kills: int) -> None:
        """Kill this many processes; raise ``ClauseFailed`` if one leaves something wrong."""
        answers = Answers()
        for number in range(kills):
            if number % _RUNS_PER_PLACE == 0:
                answers = Answers()
            place = self.place / f"place {number // _RUNS_PER_PLACE}"
            chance = random.Random(f"{self.seed} kill {number}")  # noqa: S311  # reason: repeatable by its seed
            stop = {"acks": chance.randint(0, 40), "delay_s": chance.random() ** 2 * 0.02}
            try:
                answer = self._ask(run=number, place=str(place), operations=_OPERATIONS, **stop)
                require(not answer["hung"], "expected the process to end or to be killed, but it hung")
                for line in answer["lines"]:
                    require(
                        not {"broken", "crash"} & line.keys(), f"expected answers only, but the process reported {line}"
                    )
                    answers.add(line)
                self.counts["answers"] += sum("ack" in line for line in answer["lines"])
                self.counts["changes"] += sum("changing" in line for line in answer["lines"])
                self.counts["despawns"] += sum("ending" in line for line in answer["lines"])
                self.counts["killed"] += answer["status"] == -9
                asyncio.run(self._inspect(place, answers))
            except ClauseFailed as failure:
                failure.add_note(
                    f"Process {number} of seed {self.seed}, killed after {stop}. Look at: the files of the gate in {place}"
                )
                raise

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"opener": self.opener, "seed": self.seed, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server ended with status {self._process.wait()}: see its output on stderr")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _inspect(self, place: Path, answers: Answers) -> None:
        if not answers.worlds:
            return
        require_equal([], list(self.hooks.verify(place)), "defects in the audit chain after a kill")
        async with self.hooks.open_gate(place, limits=GateLimits(), clock=SystemClock()) as gate:
            found = {
                world: await self._inspect_world(gate, place, answers, world, name)
                for world, name in answers.worlds.items()
            }
        for world, marker, other, label in answers.together:
            if {world, other} <= found.keys():
                require_equal(
                    found[world][marker],
                    found[other][label],
                    f"how often {label} applied, which a tick sent with {marker}",
                )
        require_equal([], list(self.hooks.verify(place)), "defects in the audit chain after more commands")

    async def _inspect_world(
        self, gate: CommandGate, place: Path, answers: Answers, world: str, name: str
    ) -> Counter[str]:
        info = await gate.execute(ADMIN_ACTOR, OpenWorld(world, self.hooks.storage(place)))
        require_equal((world, name), (info.world_id, info.name), "id and name of a world that was opened after a kill")
        require(
            info.tick > answers.ticks.get(world, -1),
            f"expected the next tick of {name} after acknowledged tick {answers.ticks.get(world)}, but it is {info.tick}",
        )
        await self._require_rows(gate, answers, world, ("queued", "applied"))
        # After these ticks every queued command is due.
        result = await gate.execute(ADMIN_ACTOR, Run(RunConfig(steps=AHEAD + 2)), world)
        answers.ticks[world] = result.final_tick
        await self._require_rows(gate, answers, world, ("applied",))
        label = f"after {info.tick}"
        entity = await gate.submit_spawn(ADMIN_ACTOR, world, Coin(face=label))
        answers.add({"ack": ["queued", world, label, "", [entity]]})
        answers.tried.add((world, label))
        counts, ids = await _counted(gate, world)
        for (where, one), command_id in answers.kept.items():
            if where == world and one != label:
                require_equal(
                    1, counts[one], f"how often {one} of {name} (command {command_id or 'of unknown id'}) applied"
                )
        await answers.many.inspect(gate, world, name)
        # A fork also holds what its source held, so labels of all worlds are allowed.
        asked = {one for _, one in answers.tried}
        for one, count in counts.items():
            require(one in asked, f"expected only submitted labels in {name}, but it holds {one}")
            require(count == 1, f"expected {one} of {name} to apply once, but it applied {count} times")
        for (where, issued), one in answers.ids.items():
            if where == world and one in ids:
                require_equal(issued, ids[one], f"entity id of {one} in {name}")
        return counts

    async def _require_rows(self, gate: CommandGate, answers: Answers, world: str, statuses: tuple[str, ...]) -> None:
        asked = AuditFilter(limit=1_000_000)
        rows: dict[str, AuditRow] = {}
        for row in await gate.execute(ADMIN_ACTOR, GetHistory(asked), world):
            require(
                row.command_id not in rows, f"expected one audit row of command {row.command_id}, but there are two"
            )
            rows[row.command_id] = row
        labels = Counter(_label(row) for row in rows.values())
        for (where, label), command_id in answers.kept.items():
            if where != world or label.startswith("after") or command_id is None:
                continue
            require_equal(1, labels[label], f"number of audit rows of {label}")
            if command_id:
                require(
                    command_id in rows, f"expected an audit row of {label}, command {command_id}, but there is none"
                )
                require(
                    rows[command_id].status in statuses,
                    f"expected status {' or '.join(statuses)} of {label}, got {rows[command_id]}",
                )


def _label(row: AuditRow) -> str:
    asked = json.loads(row.payload)
    if row.type == "spawn":
        return str(asked["components"][0]["face"]) if "components" in asked and "rows" not in asked else ""
    return str(asked.get("body", "")) if row.type == "message" else ""


async def _counted(gate: CommandGate, world: str) -> tuple[Counter[str], dict[str, int]]:
    """How often each label appears in a world's own history, and the entity of each label that is a spawn."""
    coins: Any = await gate.execute(ADMIN_ACTOR, Query((Coin,), lineage=False), world)
    columns = coins.select("tick", "entity_id", "coin__face").to_pydict()
    first: dict[tuple[str, int], list[int]] = {}
    for tick, entity, face in zip(columns["tick"], columns["entity_id"], columns["coin__face"], strict=True):
        first.setdefault((face, entity), []).append(tick)
    counts, ids = Counter[str](), dict[str, int]()
    for (face, entity), ticks in first.items():
        require_equal(len(set(ticks)), len(ticks), f"number of rows of {face} per tick")
        counts[face] += 1
        ids[face] = entity
    messages: Any = await gate.execute(ADMIN_ACTOR, Query((Message,), include_inactive=True, lineage=False), world)
    for body in messages.select("message__body").to_pydict()["message__body"]:
        counts[json.loads(body)] += 1
    return counts, ids
