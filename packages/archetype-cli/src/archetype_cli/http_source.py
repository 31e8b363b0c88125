"""Reads and changes worlds at a server. Each method is one route; nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx2

from archetype_cli.answer import Answer
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, meant
from archetype_cli.problem import failure_of, unreachable
from archetype_cli.source import AuditQuery, Moment, Selection

if TYPE_CHECKING:
    import pyarrow as pa

_BASE = ("world_id", "run_id", "entity_id", "tick", "is_active")
_ROWS = "application/x-ndjson"
_ARROW = "application/vnd.apache.arrow.stream"
_PAGE = 1000


class HttpSource:
    """A server, with what lets the caller in: a token, or in developer mode a role."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        role: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.place = url.rstrip("/")
        headers = {"User-Agent": "archetype-cli"}
        if token is not None:
            if not token.isascii() or not token.isprintable():
                raise Failure("the token has characters that no key has", "copy it again", ExitCode.USAGE)
            headers["Authorization"] = f"Bearer {token}"
        if role is not None:
            headers["X-Archetype-Role"] = role
        if not urlsplit(self.place).hostname:
            raise Failure(f"{url} is not the address of a server", "write it as http://host:port", ExitCode.USAGE)
        self._timeout = httpx2.Timeout(timeout_s, connect=min(5.0, timeout_s))
        try:
            self._client = httpx2.Client(
                base_url=self.place, headers=headers, timeout=self._timeout, transport=transport
            )
        except (httpx2.InvalidURL, ValueError) as failure:
            raise Failure(
                f"{url} is not an address: {failure}", "write it as http://host:port", ExitCode.USAGE
            ) from None

    def close(self) -> None:
        self._client.close()

    def worlds(self) -> Sequence[Mapping[str, Any]]:
        return list(self._pages("/v1/worlds", {}))

    def world(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._get(_world(name))
        return found

    def entity(self, world: str, entity_id: int, tick: int | None) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._get(f"{_world(world)}/entities/{entity_id}", {"tick": tick})
        return found

    def rows(self, world: str, selection: Selection) -> Answer:
        if selection.where is not None:
            raise Failure(
                "a server does not evaluate --where", "filter its answer, or read the directory itself", ExitCode.USAGE
            )
        path, queries = self._requests(world, selection)
        wanted = frozenset(selection.entity_ids)
        rows = (
            row for query in queries for row in self._lines(path, query) if not wanted or row["entity_id"] in wanted
        )
        first = list(islice(rows, 1))
        own = list(first[0]) if first else list(_BASE)
        # In the order of a local place, which no object of JSON promises.
        known = [*(name for name in _BASE if name in own), *(name for name in own if name not in _BASE)]
        for name in selection.columns:
            if first and name not in known:
                hint = meant(name, known, f"the columns are {', '.join(known)}")
                raise Failure(f"there is no column {name!r}", hint, ExitCode.NOT_FOUND)
        columns = list(dict.fromkeys(selection.columns)) or known
        kept = islice(chain(first, rows), selection.limit)
        hidden = frozenset({"world_id", "run_id", "is_active"}) - frozenset(selection.columns)
        return Answer(
            "rows",
            columns,
            ({name: row.get(name) for name in columns} for row in kept),
            hidden,
            lambda: self._arrow(path, queries, selection),
        )

    def diff(self, before: Moment, after: Moment, components: tuple[str, ...], where: str | None) -> Answer:
        if where is not None:
            raise Failure(
                "a server does not evaluate --where", "filter its answer, or read the directory itself", ExitCode.USAGE
            )
        ticks = [self._tick(one) for one in (before, after)]
        asked = {
            "before": ticks[0],
            "after": ticks[1],
            "other": after.world if after.world != before.world else None,
            "components": ",".join(components) or None,
        }
        rows = self._lines(f"{_world(before.world)}/diff", asked)
        columns = ("op", "entity_id", "column", "before", "after")
        return Answer("differences", columns, rows)

    def branches(self) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        waiting = [(None, one) for one in reversed(self._get("/v1/lineage")["items"])]
        while waiting:
            parent, one = waiting.pop()
            found.append(
                {
                    "name": one["name"],
                    "world_id": one["world_id"],
                    "parent": parent,
                    "forked_at": one.get("forked_at"),
                    "last_tick": one["tick"] - 1,
                }
            )
            waiting += [(one["world_id"], child) for child in reversed(one["children"])]
        return found

    def history(self, query: AuditQuery) -> Iterator[Mapping[str, Any]]:
        if query.world is None:
            raise Failure(
                "a server shows the history of one world at a time",
                "add the WORLD; `archetype world list` has them",
                ExitCode.USAGE,
            )
        asked = {
            "actor": query.actor,
            "type": query.type,
            "status": query.status,
            "since": query.since,
            "until": query.until,
            "oldest_first": "true" if query.oldest_first else None,
        }
        return islice(self._pages(f"{_world(query.world)}/history", asked, query.limit), query.limit)

    def new_ticks(self, world: str) -> Iterator[Mapping[str, Any]]:
        facts = self.world(world)
        tick = facts["tick"] - 1
        if tick >= 0:
            yield {"world_id": facts["world_id"], "run_id": facts["run_id"], "tick": tick}
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(tick)}
        with self._stream(f"{_world(world)}/events", {}, headers, is_endless=True) as response:
            for line in response.iter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def create_world(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create a world."""
        return self._send("POST", "/v1/worlds", body)

    def fork_world(self, world: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Fork a world."""
        return self._send("POST", f"{_world(world)}/fork", body)

    def destroy_world(self, world: str) -> Mapping[str, Any]:
        """Drop a live world."""
        return self._send("DELETE", _world(world))

    def spawn(self, world: str, components: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Spawn an entity."""
        return self._send("POST", f"{_world(world)}/entities", {"components": components})

    def update(self, world: str, entity_id: int, components: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Change fields of an entity."""
        return self._send("PATCH", f"{_world(world)}/entities/{entity_id}", {"components": components})

    def despawn(self, world: str, entity_id: int) -> Mapping[str, Any]:
        """Remove an entity."""
        return self._send("DELETE", f"{_world(world)}/entities/{entity_id}")

    def step(self, world: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run one tick."""
        return self._send("POST", f"{_world(world)}/step", body, is_long=True)

    def run(self, world: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run ticks."""
        return self._send("POST", f"{_world(world)}/run", body, is_long=True)

    def episode(self, world: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run an episode."""
        return self._send("POST", f"{_world(world)}/episode", body, is_long=True)

    def rollout(self, world: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a rollout."""
        return self._send("POST", f"{_world(world)}/rollout", body, is_long=True)

    def _requests(self, world: str, selection: Selection) -> tuple[str, list[dict[str, Any]]]:
        """The path and the parameters of the requests that answer a selection."""
        asked: dict[str, Any] = {"include_inactive": "true" if selection.include_inactive else None}
        if len(selection.entity_ids) == 1:
            asked["entity_id"] = selection.entity_ids[0]
        if selection.components:
            asked["components"] = ",".join(selection.components)
            if selection.ticks is not None:
                first, last = selection.ticks
                is_one = first is not None and first == last
                last = self._tick(Moment(world)) if last is None and not is_one else last
                asked |= {"tick": first} if is_one else {"first_tick": first or 0, "last_tick": last}
            return f"{_world(world)}/components", [asked]
        # Rows of all entities, whatever components they have, come a tick at a time.
        if selection.ticks is None:
            return f"{_world(world)}/state", [{}]
        first, last = selection.ticks
        newest = self._tick(Moment(world)) if last is None else last
        return f"{_world(world)}/state", [{"tick": tick} for tick in range(first or 0, newest + 1)]

    def _tick(self, moment: Moment) -> int:
        return int(self.world(moment.world)["tick"]) - 1 if moment.tick is None else moment.tick

    def _arrow(self, path: str, queries: Sequence[Mapping[str, Any]], selection: Selection) -> pa.RecordBatchReader:
        import pyarrow as pa
        import pyarrow.compute as pc

        tables = []
        for query in queries:
            with self._stream(path, query, {"Accept": _ARROW}) as response:
                tables.append(pa.ipc.open_stream(response.read()).read_all())
        table = pa.concat_tables(tables, promote_options="permissive")
        if selection.entity_ids:
            table = table.filter(pc.field("entity_id").isin(list(selection.entity_ids)))
        if selection.columns:
            table = table.select(list(dict.fromkeys(selection.columns)))
        return table.slice(0, selection.limit).to_reader()

    def _lines(self, path: str, query: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The rows of an answer, while it arrives."""
        with self._stream(path, query, {"Accept": _ROWS}) as response:
            for line in response.iter_lines():
                if line.strip():
                    yield json.loads(line)

    def _pages(self, path: str, query: Mapping[str, Any], limit: int | None = None) -> Iterator[Mapping[str, Any]]:
        cursor = None
        size = _PAGE if limit is None else max(1, min(limit, _PAGE))
        while True:
            page = self._get(path, {**query, "limit": size, "cursor": cursor})
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def _get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        with self._stream(path, query or {}, {"Accept": "application/json"}) as response:
            response.read()
            return _json(response, self.place)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, is_long: bool = False
    ) -> Mapping[str, Any]:
        given = None if body is None else {name: value for name, value in body.items() if value is not None}
        timeout = httpx2.Timeout(None, connect=5.0) if is_long else self._timeout
        try:
            response = self._client.request(method, path, json=given, timeout=timeout)
        except httpx2.HTTPError as failure:
            raise unreachable(self.place, failure, is_change=True) from failure
        if not response.is_success:
            raise failure_of(response, self.place)
        found: Mapping[str, Any] = _json(response, self.place)
        return found

    @contextmanager
    def _stream(
        self, path: str, query: Mapping[str, Any], headers: Mapping[str, str], is_endless: bool = False
    ) -> Iterator[httpx2.Response]:
        asked = {name: value for name, value in query.items() if value is not None}
        timeout = httpx2.Timeout(None, connect=5.0) if is_endless else self._timeout
        try:
            with self._client.stream("GET", path, params=asked, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                    raise failure_of(response, self.place)
                yield response
        except httpx2.HTTPError as failure:
            raise unreachable(self.place, failure) from failure


def _world(name: str) -> str:
    return f"/v1/worlds/{quote(name, safe='')}"


def _json(response: httpx2.Response, place: str) -> Any:
    try:
        return response.json()
    except ValueError:
        raise Failure(
            f"{place} did not answer in JSON, so it is no Archetype server", "check the address", ExitCode.UNREACHABLE
        ) from None
