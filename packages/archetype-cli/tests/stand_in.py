"""A server that answers as ours does, made of the standard library: for tests of the command alone."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Body = dict[str, Any]


class Problem(Exception):
    """A refusal, as a problem document."""

    def __init__(self, status: int, code: str, detail: str, **headers: str) -> None:
        self.status, self.code, self.detail, self.headers = status, code, detail, headers
        super().__init__(detail)


class StandIn:
    """Worlds in memory, and every request that came."""

    def __init__(self) -> None:
        self.worlds: dict[str, Body] = {}
        self.entities: dict[str, dict[int, list[Body]]] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.token: str | None = None
        self.answers_html = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def create(self, name: str, parent: str | None = None, tick: int = 0) -> Body:
        """Add a world."""
        world_id = f"id-{len(self.worlds)}"
        self.worlds[world_id] = {
            "world_id": world_id,
            "name": name,
            "run_id": "run-1",
            "tick": tick,
            "entities": 0,
            "archetypes": {},
            "queued": 0,
            "pending": 0,
            "storage": "default",
            "is_live": True,
            "parent": parent,
            "template": "movement",
            "seed": 7,
            "stepped_at": None,
        }
        self.entities[world_id] = {}
        return self.worlds[world_id]

    def find(self, name: str) -> Body:
        """A world by id or name."""
        for one in self.worlds.values():
            if name in (one["world_id"], one["name"]):
                return one
        raise Problem(404, "ARC-W001", f"no world {name!r}")

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Any:
        """The status and the answer of a request."""
        if self.token is not None and headers.get("authorization") != f"Bearer {self.token}":
            raise Problem(401, "ARC-H001", "no key, or an unknown one")
        if method != "GET" and headers.get("x-archetype-role") == "viewer":
            raise Problem(403, "ARC-G001", "viewer may not do this")
        if path == "/v1/worlds":
            if method == "POST":
                if any(one["name"] == body["name"] for one in self.worlds.values()):
                    raise Problem(409, "ARC-G003", f"there is a world {body['name']!r}")
                return 201, self.create(body["name"])
            items = list(self.worlds.values())
            start = int(query.get("cursor", 0))
            page = items[start : start + 2]
            return 200, {"items": page, "next": str(start + 2) if start + 2 < len(items) else None}
        if path == "/v1/lineage":
            roots = [one for one in self.worlds.values() if one["parent"] is None]
            return 200, {"items": [self._branch(one) for one in roots], "next": None}
        found = re.fullmatch(r"/v1/worlds/([^/]+)(?:/(.*))?", path)
        if found is None:
            raise Problem(404, "ARC-H002", "no such route")
        world = self.find(unquote(found[1]))
        return self._of_world(world, method, found[2] or "", query, body)

    def _branch(self, world: Body) -> Body:
        below = [one for one in self.worlds.values() if one["parent"] == world["world_id"]]
        facts = {name: world[name] for name in ("world_id", "name", "tick", "is_live")}
        return {**facts, "children": [self._branch(one) for one in below]}

    def _of_world(self, world: Body, method: str, rest: str, query: dict[str, str], body: Any) -> Any:  # noqa: PLR0912  # reason: a table of routes
        own = self.entities[world["world_id"]]
        match method, rest.split("/"):
            case "GET", [""]:
                return 200, world
            case "DELETE", [""]:
                del self.worlds[world["world_id"]]
                return 200, {"world_id": world["world_id"], "destroyed": True}
            case "POST", ["fork"]:
                return 201, self.create(body.get("name", "fork"), world["world_id"], world["tick"])
            case "POST", ["entities"]:
                own[len(own) + 1] = body["components"]
                return 201, {"entity_id": len(own)}
            case "GET", ["entities", number]:
                if int(number) not in own:
                    raise Problem(404, "ARC-T001", f"entity {number} is not alive")
                return 200, {"entity_id": int(number), "tick": world["tick"] - 1, "components": own[int(number)]}
            case (("PATCH" | "DELETE"), ["entities", number]):
                return 200, {"entity_id": int(number)}
            case "POST", [("run" | "step" | "episode") as kind]:
                steps = body.get("steps", body.get("max_steps", 1))
                world["tick"] += steps
                return 200, {
                    "world_id": world["world_id"],
                    "kind": kind,
                    "final_tick": world["tick"] - 1,
                    "steps": steps,
                }
            case "POST", ["rollout"]:
                episodes = [
                    {"episode": n, "name": f"e{n}", "seed": n, "steps": 1, "reason": "max_steps"} for n in range(2)
                ]
                return 200, {"rollout_id": "r", "episodes": episodes, "duration_s": 0.1}
            case "GET", ["history"]:
                rows = [{"seq": n, "type": "spawn", "status": "applied", "payload": {}} for n in range(5, 0, -1)]
                start = int(query.get("cursor", 0))
                end = start + int(query["limit"])
                return 200, {"items": rows[start:end], "next": str(end) if end < len(rows) else None}
            case "GET", [("state" | "components") as kind]:
                ticks = [int(query.get("tick", world["tick"] - 1))]
                if "first_tick" in query:
                    ticks = list(range(int(query["first_tick"]), int(query["last_tick"]) + 1))
                return 200, [self._row(world, number, tick) for tick in ticks for number in own]
            case "GET", ["diff"]:
                return 200, [{"op": "changed", "entity_id": 1, "column": "spot__x", "before": "0.0", "after": "1.0"}]
            case "GET", ["events"]:
                coming = range(world["tick"], world["tick"] + 3)
                return 200, "".join(
                    f": beat\nid: {n}\nevent: tick\ndata: {json.dumps({'tick': n})}\n\n" for n in coming
                )
        raise Problem(404, "ARC-H002", "no such route")

    def _row(self, world: Body, number: int, tick: int) -> Body:
        row: Body = {
            "world_id": world["world_id"],
            "run_id": "run-1",
            "entity_id": number,
            "tick": tick,
            "is_active": True,
        }
        for one in self.entities[world["world_id"]][number]:
            row |= {f"{one['type'].lower()}__{name}": value for name, value in one.items() if name != "type"}
        return row


class _Handler(BaseHTTPRequestHandler):
    world: StandIn

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # reason: the name in the class that this overrides
        """Say nothing."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.world.requests.append((self.command, self.path, headers, body))
        if self.world.answers_html:
            return self._send(200, "text/html", b"<html>")
        try:
            status, answer = self.world.answer(self.command, parts.path, query, body, headers)
        except Problem as problem:
            facts = {"code": problem.code, "detail": problem.detail, "status": problem.status}
            return self._send(problem.status, "application/problem+json", json.dumps(facts).encode())
        if isinstance(answer, str):
            return self._send(status, "text/event-stream", answer.encode())
        if isinstance(answer, list):
            if "arrow" in headers.get("accept", ""):
                return self._send(status, "application/vnd.apache.arrow.stream", _arrow(answer))
            lines = "".join(json.dumps(row) + "\n" for row in answer)
            return self._send(status, "application/x-ndjson", lines.encode())
        return self._send(status, "application/json", json.dumps(answer).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815  # reason: the names that the base class calls


def _arrow(rows: list[Body]) -> bytes:
    import pyarrow as pa

    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()
