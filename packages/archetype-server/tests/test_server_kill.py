"""A server that is killed or stopped under load, over and over: what was answered is true, and everything is done once (H3)."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from server_process import Child, child

from archetype_core.config import StorageConfig
from archetype_gate import verify as verify_ledger
from archetype_journal import verify as verify_journal

pytestmark = pytest.mark.thorough
ROUNDS = int(os.environ.get("ARCHETYPE_SERVER_ROUNDS", "15"))
STOPPED = int(os.environ.get("ARCHETYPE_SERVER_STOPS", "20"))
CLIENTS = 4
WORLDS = ("north", "south")
STOPS = (signal.SIGTERM, signal.SIGINT)
_GONE = (httpx2.TransportError,)


@dataclass
class Sent:
    """A request with a key, and its answer if one came."""

    key: str
    path: str
    body: Any
    answer: bytes | None = None

    def send(self, http: httpx2.Client) -> httpx2.Response:
        """Send it, or send it again."""
        return http.post(self.path, json=self.body, headers={"Idempotency-Key": self.key})


@dataclass
class Load:
    """Clients that send requests to two worlds, and all that they sent."""

    chance: random.Random
    sent: list[Sent] = field(default_factory=list)
    number: int = 0
    checked: int = 0
    """How many requests were sent again since."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> Sent:
        """Make the next request."""
        with self.lock:
            self.number += 1
            number, world = self.number, self.chance.choice(WORLDS)
            at = f"/worlds/{world}"
            health = [{"type": "Health", "hp": float(number)}]
            kinds: list[tuple[int, str, Any]] = [
                (6, f"{at}/entities", {"components": health}),
                (2, f"{at}/entities/batch", {"bundles": [health, health]}),
                (4, f"{at}/commands", {"command": {"type": "spawn", "components": health}}),
                (5, f"{at}/step", {}),
                (3, f"{at}/run", {"steps": 3}),
                (1, f"{at}/episode", {"max_steps": 2}),
                (1, f"{at}/rollout", {"num_episodes": 1, "max_steps": 1}),
            ]
            _, path, body = self.chance.choices(kinds, [weight for weight, *_ in kinds])[0]
            return Sent(f"key-{number}", path, body)

    def run(self, url: str) -> None:
        """Send requests until the server is gone."""
        with httpx2.Client(base_url=url, timeout=60) as http:
            while True:
                one = self.next()
                try:
                    answer = one.send(http)
                except _GONE:
                    with self.lock:
                        self.sent.append(one)
                    return
                if answer.is_success or answer.status_code == 503:
                    # A server that stops may have begun what it does not answer.
                    one.answer = answer.content if answer.is_success else None
                    with self.lock:
                        self.sent.append(one)
                if answer.status_code == 503:
                    return

    def check(self, server: Child) -> None:
        """Send what is new, and some of what is old, again: answers are the first ones, and worlds are as answered."""
        old = self.chance.sample(self.sent[: self.checked], min(40, self.checked))
        for one in (*old, *self.sent[self.checked :]):
            again = one.send(server.http)
            if one.answer is None and one.path.endswith("/rollout") and again.status_code == 409:
                # It was not done before, and what was sent again before it now waits for a tick.
                self.sent.remove(one)
                continue
            assert again.is_success, (one, again.text)
            assert one.answer in (None, again.content), (one, again.text)
            one.answer = again.content
        self.checked = len(self.sent)
        for world in WORLDS:
            self._check_world(server, world)

    def _check_world(self, server: Child, world: str) -> None:
        ticks, expected, told = 0, Counter[float](), list[int]()
        for one in self.sent:
            if not one.path.startswith(f"/worlds/{world}/"):
                continue
            answer = httpx2.Response(200, content=one.answer or b"").json()
            kind, hp = one.path.rpartition("/")[2], float(one.key.removeprefix("key-"))
            ticks += {"step": 1, "run": 3, "episode": 2}.get(kind, 0)
            ids = answer.get("entity_ids", [answer["entity_id"]] if "entity_id" in answer else [])
            told += ids
            expected[hp] += len(ids)
        assert server.ok("GET", f"/worlds/{world}")["tick"] == ticks + self.extra
        server.ok("POST", f"/worlds/{world}/step")
        items: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            page = server.ok("GET", f"/worlds/{world}/state?limit=10000{cursor}")
            items += page["items"]
            cursor = None if page["next"] is None else f"&cursor={page['next']}"
        assert sorted(one["entity_id"] for one in items) == sorted(told)
        assert Counter(one["components"][0]["hp"] for one in items) == +expected

    extra: int = 1
    """The ticks that the test itself has made in each world."""


def play(place: Path, signals: list[signal.Signals], seed: int) -> None:
    """Send requests, end the server at a random moment, start it again and check, once for each signal."""
    chance = random.Random(seed)
    load = Load(chance)
    for number in signals:
        with child(place, "--dev") as server:
            if not load.number:
                for world in WORLDS:
                    server.ok("POST", "/worlds", {"name": world})
                    server.ok("POST", f"/worlds/{world}/step")
            else:
                load.check(server)
                load.extra += 1
            clients = [threading.Thread(target=load.run, args=(server.url,)) for _ in range(CLIENTS)]
            for one in clients:
                one.start()
            time.sleep(chance.uniform(0.05, 1.5))
            code = server.end(number)
            for one in clients:
                one.join()
            assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        assert verify_ledger(StorageConfig(f"journal:{place / 'data'}")) == []
        assert verify_journal(place / "data").is_sound
    with child(place, "--dev") as server:
        load.check(server)
    assert any(one.answer for one in load.sent)


def test_killed_under_load(tmp_path: Path) -> None:
    """After each kill -9 every 2xx answer is true, and every request that is sent again is done once."""
    play(tmp_path, [signal.SIGKILL] * ROUNDS, seed=ROUNDS)


def test_stopped_under_load(tmp_path: Path) -> None:
    """SIGTERM and SIGINT end the process with 0 at any moment; store and ledger are whole, and nothing is done twice."""
    play(tmp_path, [STOPS[number % 2] for number in range(STOPPED)], seed=7 * STOPPED)
