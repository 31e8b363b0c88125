"""A gate whose process is killed again and again: what it answered holds, all of it, once."""

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

from archetype_contracts.crash.fork_server import find
from archetype_contracts.gate.life import AHEAD, ROOT
from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.subject import GateHooks
from archetype_contracts.verdict import Broken, require, require_equal
from archetype_core.clock import SystemClock
from archetype_core.command import AuditFilter, AuditRow, CommandGate, GetHistory, OpenWorld, Query, Run
from archetype_core.config import RunConfig
from archetype_core.schema import Message

_LIVES = 5
"""How many processes are killed over one place before the next place."""
_THINGS = 60


@dataclass(slots=True)
class Told:
    """What processes over one place were answered, by world id."""

    worlds: dict[str, str] = field(default_factory=dict)
    tried: set[tuple[str, str]] = field(default_factory=set)
    kept: dict[tuple[str, str], str] = field(default_factory=dict)
    """Labels that must be there, with the id of their command where it is known."""
    ids: dict[tuple[str, int], str] = field(default_factory=dict)
    ticks: dict[str, int] = field(default_factory=dict)

    def take(self, line: dict[str, Any]) -> None:
        """Remember a line that a process told."""
        if "tried" in line:
            self.tried.add((line["tried"][0], line["tried"][1]))
        match line.get("ack"):
            case ["world", world, name]:
                self.worlds[world] = name
            case ["tick", world, tick]:
                self.ticks[world] = max(tick, self.ticks.get(world, -1))
            case ["queued" | "durable" | "staged" as how, world, label, command_id, ids]:
                if how != "staged":
                    self.kept[world, label] = command_id
                for entity in ids:
                    before = self.ids.setdefault((world, entity), label)
                    require_equal(before, label, f"label of entity {entity}, which was given out twice")


class GateCrash:
    """Kills processes that use the gate of an adopter, named as ``module:Class``, and looks at what they leave.

    The class defines ``open_gate``, ``storage`` and ``verify`` as a ``GateContract`` does; importing its module opens nothing.
    """

    def __init__(self, opener: str, place: Path, *, seed: int = 1) -> None:
        self.opener, self.place, self.seed = opener, place, seed
        self.hooks: GateHooks = find(opener)()  # type: ignore[assignment, call-arg]  # reason: an adopter's class
        self.told = Counter[str]()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(  # reason: this Python
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
        """Kill so many processes; ``Broken`` says what the last one left wrong."""
        told = Told()
        for life in range(kills):
            if life % _LIVES == 0:
                told = Told()
            place = self.place / f"place {life // _LIVES}"
            chance = random.Random(f"{self.seed} kill {life}")  # noqa: S311  # reason: told again by its seed
            stop = {"acks": chance.randint(0, 40), "delay_s": chance.random() ** 2 * 0.02}
            try:
                answer = self._ask(life=life, place=str(place), things=_THINGS, **stop)
                require(not answer["hung"], "the process did not end")
                for line in answer["lines"]:
                    require(not {"broken", "crash"} & line.keys(), f"the process told of {line}")
                    told.take(line)
                self.told["answers"] += sum("ack" in line for line in answer["lines"])
                self.told["killed"] += answer["status"] == -9
                asyncio.run(self._inspect(place, told))
            except Broken as failure:
                failure.add_note(f"life {life} of seed {self.seed} over {place}, killed after {stop}")
                raise

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"opener": self.opener, "seed": self.seed, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process that gates are forked from has ended; its last words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _inspect(self, place: Path, told: Told) -> None:
        if not told.worlds:
            return
        require_equal([], list(self.hooks.verify(place)), "what is wrong with the chain after a kill")
        async with self.hooks.open_gate(place, limits=GateLimits(), clock=SystemClock()) as gate:
            for world, name in told.worlds.items():
                await self._inspect_world(gate, place, told, world, name)
        require_equal([], list(self.hooks.verify(place)), "what is wrong with the chain after what followed")

    async def _inspect_world(self, gate: CommandGate, place: Path, told: Told, world: str, name: str) -> None:
        info = await gate.execute(ROOT, OpenWorld(world, self.hooks.storage(place)))
        require_equal((world, name), (info.world_id, info.name), "a world that was opened after a kill")
        require(info.tick > told.ticks.get(world, -1), f"{name} lost tick {told.ticks.get(world)}: next is {info.tick}")
        await self._require_rows(gate, told, world, ("queued", "applied"))
        # Whatever waits is due by then.
        result = await gate.execute(ROOT, Run(RunConfig(steps=AHEAD + 2)), world)
        told.ticks[world] = result.final_tick
        await self._require_rows(gate, told, world, ("applied",))
        label = f"after {info.tick}"
        entity = await gate.submit_spawn(ROOT, world, Coin(face=label))
        told.take({"ack": ["queued", world, label, "", [entity]]})
        told.tried.add((world, label))
        counts, ids = await _counted(gate, world)
        for (where, one), command_id in told.kept.items():
            if where == world and one != label:
                require_equal(1, counts[one], f"times that {one} of {name} ({command_id or 'no id told'}) applied")
        # A fork goes on with what its source held.
        asked = {one for _, one in told.tried}
        for one, count in counts.items():
            require(one in asked, f"{name} holds {one}, which nobody asked for")
            require(count == 1, f"{one} of {name} applied {count} times")
        for (where, given), one in told.ids.items():
            if where == world and one in ids:
                require_equal(given, ids[one], f"entity of {one} in {name}")

    async def _require_rows(self, gate: CommandGate, told: Told, world: str, statuses: tuple[str, ...]) -> None:
        asked = AuditFilter(limit=1_000_000)
        rows: dict[str, AuditRow] = {}
        for row in await gate.execute(ROOT, GetHistory(asked), world):
            require(row.command_id not in rows, f"two audit rows of command {row.command_id}")
            rows[row.command_id] = row
        labels = Counter(_label(row) for row in rows.values())
        for (where, label), command_id in told.kept.items():
            if where != world or label.startswith("after"):
                continue
            require_equal(1, labels[label], f"audit rows of {label}")
            if command_id:
                require(command_id in rows, f"no audit row of {label}, command {command_id}")
                require(rows[command_id].status in statuses, f"audit row of {label}: {rows[command_id]}")


def _label(row: AuditRow) -> str:
    asked = json.loads(row.payload)
    if row.type == "spawn":
        return str(asked["components"][0]["face"])
    return str(asked.get("body", "")) if row.type == "message" else ""


async def _counted(gate: CommandGate, world: str) -> tuple[Counter[str], dict[str, int]]:
    """How often each label began in a world's own history, and the entity of those that are one."""
    coins: Any = await gate.execute(ROOT, Query((Coin,), lineage=False), world)
    columns = coins.select("tick", "entity_id", "coin__face").to_pydict()
    first: dict[tuple[str, int], list[int]] = {}
    for tick, entity, face in zip(columns["tick"], columns["entity_id"], columns["coin__face"], strict=True):
        first.setdefault((face, entity), []).append(tick)
    counts, ids = Counter[str](), dict[str, int]()
    for (face, entity), ticks in first.items():
        require_equal(len(set(ticks)), len(ticks), f"rows of {face} in one tick")
        counts[face] += 1
        ids[face] = entity
    letters: Any = await gate.execute(ROOT, Query((Message,), include_inactive=True, lineage=False), world)
    for body in letters.select("message__body").to_pydict()["message__body"]:
        counts[json.loads(body)] += 1
    return counts, ids
