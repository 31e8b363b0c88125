"""Reads and changes worlds at a server. Each method is one route; nothing is decided here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from archetype_cli.answer import Answer, rows_of
from archetype_cli.column import chosen_columns
from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, Interrupted, meant
from archetype_cli.http_aggregate import grid, query_of
from archetype_cli.http_aggregate import rows_of as summary_rows
from archetype_cli.http_client import ARROW, HttpClient
from archetype_cli.json_value import jsonable
from archetype_cli.source import (
    BASE_COLUMNS,
    DIFF_COLUMNS,
    FREE,
    HIDDEN_COLUMNS,
    HISTOGRAM_COLUMNS,
    KEY_FACTS,
    SUMMARY_COLUMNS,
    WORLD_FACTS,
    AuditQuery,
    Grid,
    Likeness,
    Moment,
    Plane,
    Selection,
    Summary,
    Terms,
)

if TYPE_CHECKING:
    import pyarrow as pa

_AGAIN_S = 1.0
_LIVE_FACTS = ("is_live", "template", "queued", "pending", "stepped_at")


class HttpSource:
    """The worlds of a server."""

    def __init__(self, client: HttpClient) -> None:
        self._http = client

    def close(self) -> None:
        self._http.close()

    def worlds(self) -> Sequence[Mapping[str, Any]]:
        found = sorted(self._http.pages("/v1/worlds", {}), key=lambda one: str(one["world_id"]))
        return [_facts(one) for one in found]

    def world(self, name: str) -> Mapping[str, Any]:
        return _facts(self._http.get(_world(name)))

    def live_world(self, name: str) -> Mapping[str, Any]:
        """Return what a server knows of a live world beside its history."""
        path = _world(name)
        found = self._http.get(path)
        parts = {part: list(self._http.pages(f"{path}/{part}", {})) for part in ("processors", "hooks", "resources")}
        return {**_facts(found), **{fact: found[fact] for fact in _LIVE_FACTS}, **parts}

    def me(self) -> Mapping[str, Any]:
        """Return who the caller is, and what it has used of its quotas."""
        found: Mapping[str, Any] = self._http.get("/v1/me")
        return found

    def entity(self, world: str, entity_id: int, tick: int | None) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._http.get(f"{_world(world)}/entities/{entity_id}", {"tick": tick})
        return found

    def rows(self, world: str, selection: Selection) -> Answer:
        path, queries = self._requests(world, selection)
        hidden = HIDDEN_COLUMNS - frozenset(selection.columns)
        if selection.where is not None or selection.is_arrow:
            table = self._table(path, queries, selection)
            return Answer("rows", table.column_names, rows_of(table.to_reader()), hidden, table.to_reader)
        wanted = frozenset(selection.entity_ids)
        coming = chain.from_iterable(self._coming(path, query, selection) for query in queries)
        rows = (row for row in coming if not wanted or row["entity_id"] in wanted)
        first = list(islice(rows, 1))
        own = list(first[0]) if first else self._http.header(path, queries[-1] if queries else {})
        columns = chosen_columns(selection.columns, _ordered(own, selection.components))
        kept = islice(chain(first, rows), selection.limit)
        return Answer(
            "rows",
            columns,
            ({name: row.get(name) for name in columns} for row in kept),
            hidden,
        )

    def diff(self, before: Moment, after: Moment, components: tuple[str, ...], where: str | None) -> Answer:
        ticks = [self._tick(one) for one in (before, after)]
        asked = {
            "before": ticks[0],
            "after": ticks[1],
            "other": after.world if after.world != before.world else None,
        }
        path = f"{_world(before.world)}/diff"
        prefixes = tuple(f"{self._component(name, before.world, after.world).lower()}__" for name in components)

        def is_wanted(column: str | None) -> bool:
            # The rows of an entity that came, went or moved have no column; they belong to every component.
            return not components or column is None or column.startswith(prefixes)

        def reader() -> pa.RecordBatchReader:
            table = self._table(path, [asked], Selection(columns=DIFF_COLUMNS, where=where))
            return table.filter([is_wanted(one) for one in table.column("column").to_pylist()]).to_reader()

        coming = self._http.lines(path, asked) if where is None else rows_of(reader())
        rows = (row for row in coming if is_wanted(row["column"]))
        return Answer("differences", DIFF_COLUMNS, rows, frozenset(), reader)

    def search(self, world: str, likeness: Likeness) -> Answer:
        path = f"{_world(world)}/search"
        asked = {
            "column": likeness.column,
            "query": likeness.query,
            "k": likeness.k,
            "at": likeness.tick,
            "metric": likeness.metric,
        }
        body = {name: value for name, value in asked.items() if value is not None}
        rows = list(self._http.lines(path, body=body))
        columns = list(rows[0]) if rows else self._http.header(path, body=body)
        return Answer("found", columns, rows, frozenset(), lambda: self._read(path, body=body).to_reader())

    def summary(self, world: str, wanted: Summary) -> Answer:
        path, query = f"{_world(world)}/aggregate", query_of(wanted, self._tick(Moment(world)))
        found = summary_rows(self._http.get(path, query), wanted)
        return Answer(
            "numbers",
            SUMMARY_COLUMNS + (HISTOGRAM_COLUMNS if wanted.bins is not None else ()),
            found,
            batches=lambda: self._read(path, query).to_reader(),
        )

    def grid(self, world: str, plane: Plane) -> Grid:
        tick = self._tick(Moment(world, plane.tick))
        return grid(self._http, f"{_world(world)}/density", plane, tick)

    def branches(self) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        waiting = [(None, one) for one in reversed(self._http.get("/v1/lineage")["items"])]
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
        return sorted(found, key=lambda one: str(one["world_id"]))

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
        yield from map(_audited, self._http.pages(f"{_world(query.world)}/history", asked, query.limit))

    def new_ticks(self, world: str) -> Iterator[Mapping[str, Any]]:
        facts = self.world(world)
        tick = facts["tick"] - 1
        if tick >= 0:
            yield {"world_id": facts["world_id"], "tick": tick}
        yield from self._events(world, {}, str(tick) if tick >= 0 else None)

    def new_commands(self, world: str | None, types: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        query = {"kinds": None if world is None else "command", "types": ",".join(types) or None}
        yield from map(_audited, self._events(world, query, None))

    def _events(self, world: str | None, query: Mapping[str, Any], last_id: str | None) -> Iterator[Mapping[str, Any]]:
        """What a stream tells, and after a server's restart the next one."""
        path = "/v1/events" if world is None else f"{_world(world)}/events"
        while True:
            headers = {} if last_id is None else {"Last-Event-ID": last_id}
            with self._http.stream(
                "GET", path, query, accept="text/event-stream", headers=headers, is_endless=True
            ) as response:
                kind = ""
                for line in response.iter_lines():
                    name, _, value = line.partition(": ")
                    last_id = value if name == "id" else last_id
                    kind = value if name == "event" else kind
                    if name == "data" and kind != "dropped":
                        yield json.loads(value)
            # It ends with the world, with the server, and for a reader that was too slow.
            try:
                self.me() if world is None else self.world(world)
            except Failure as failure:
                if failure.exit_code is ExitCode.NOT_FOUND:
                    return
                raise
            time.sleep(_AGAIN_S)

    def create_world(self, body: Mapping[str, Any], terms: Terms = FREE) -> Mapping[str, Any]:
        """Create a world."""
        return _facts(self._http.send_once("POST", "/v1/worlds", body, terms))

    def fork_world(self, world: str, body: Mapping[str, Any], terms: Terms = FREE) -> Mapping[str, Any]:
        """Fork a world."""
        return _facts(self._http.send_once("POST", f"{_world(world)}/fork", body, terms))

    def destroy_world(self, world: str, terms: Terms = FREE) -> Mapping[str, Any]:
        """Drop a live world."""
        return self._http.send_once("DELETE", _world(world), None, terms)

    def spawn(self, world: str, components: Sequence[Mapping[str, Any]], terms: Terms = FREE) -> Mapping[str, Any]:
        """Spawn an entity."""
        return self._http.send_once("POST", f"{_world(world)}/entities", {"components": components}, terms)

    def update(
        self, world: str, entity_id: int, components: Sequence[Mapping[str, Any]], terms: Terms = FREE
    ) -> Mapping[str, Any]:
        """Change fields of an entity."""
        path = f"{_world(world)}/entities/{entity_id}"
        return self._http.send_once("PATCH", path, {"components": components}, terms)

    def despawn(self, world: str, entity_id: int, terms: Terms = FREE) -> Mapping[str, Any]:
        """Remove an entity."""
        return self._http.send_once("DELETE", f"{_world(world)}/entities/{entity_id}", None, terms)

    def simulate(self, what: str, world: str, body: Mapping[str, Any], terms: Terms = FREE) -> Mapping[str, Any]:
        """Run a step, a run, an episode or a rollout, however long that takes."""
        try:
            return self._http.send_once("POST", f"{_world(world)}/{what}", body, terms, is_long=True)
        except Interrupted as failure:
            raise Interrupted(f"the server goes on with the {what} of {world!r}; {failure}") from None

    def create_key(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make an API key."""
        made = self._http.send("POST", "/v1/keys", jsonable(body))
        return {"key": made["key"], "info": _key(made["info"])}

    def keys(self) -> Sequence[Mapping[str, Any]]:
        """List all API keys."""
        return [_key(one) for one in self._http.pages("/v1/keys", {})]

    def revoke_key(self, key_id: str) -> bool:
        """End an API key; whether there was one that was not revoked before."""
        return bool(self._http.send("DELETE", f"/v1/keys/{quote(key_id, safe='')}")["revoked"])

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

    def _component(self, name: str, *worlds: str) -> str:
        """The name of a component that the server or a world has; a `Failure` suggests the nearest."""
        known = {kind for one in self._http.pages("/v1/templates", {}) for kind in one["components"]}
        for world in worlds:
            known |= {kind for names in self.world(world)["archetypes"] for kind in names.split(" + ")}
        if name not in known:
            hint = meant(name, known, f"the components are {', '.join(sorted(known))}")
            raise Failure(f"no entity ever had a component {name!r}", hint, ExitCode.NOT_FOUND)
        return name

    def _tick(self, moment: Moment) -> int:
        return int(self.world(moment.world)["tick"]) - 1 if moment.tick is None else moment.tick

    def _coming(self, path: str, query: Mapping[str, Any], selection: Selection) -> Iterator[Mapping[str, Any]]:
        """The rows of a request: all while they arrive, or if few are wanted, a page at a time."""
        if selection.limit is not None and path.endswith("/components"):
            # Pages are cut by the server, before the command leaves out entities.
            limit = selection.limit if len(selection.entity_ids) <= 1 else None
            return self._http.pages(path, query, limit)
        return self._http.lines(path, query)

    def _table(self, path: str, queries: Sequence[Mapping[str, Any]], selection: Selection) -> pa.Table:
        """The rows of requests as Arrow, and of those what is selected."""
        pa = _pyarrow(selection.where)
        tables = [self._read(path, query) for query in queries]
        table = pa.concat_tables(tables, promote_options="permissive")
        if selection.entity_ids:
            wanted = pa.array(selection.entity_ids, pa.int64())
            table = table.filter(pa.compute.is_in(table.column("entity_id"), value_set=wanted))
        if selection.where is not None:
            from archetype_cli.condition import check_condition, expression, matching

            check_condition(selection.where, table.schema)
            table = matching(table, expression(selection.where))
        names = _ordered(table.column_names, selection.components)
        return table.select(chosen_columns(selection.columns, names)).slice(0, selection.limit)

    def _read(
        self, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> pa.Table:
        """A whole answer as Arrow."""
        pa = _pyarrow(None)
        with self._http.stream("POST" if body else "GET", path, query, body=body, accept=ARROW) as response:
            return pa.ipc.open_stream(response.read()).read_all()


def _world(name: str) -> str:
    return f"/v1/worlds/{quote(name, safe='')}"


def _ordered(names: Sequence[str], components: Sequence[str]) -> list[str]:
    """Columns in the order of a local place: the base columns, and then by component, as they are asked for."""
    own = [name for name in names if name not in BASE_COLUMNS]
    if not components:
        own.sort(key=lambda name: name.partition("__")[0])
    return [*(name for name in BASE_COLUMNS if name in names), *own]


def _facts(world: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: world[name] for name in WORLD_FACTS}


def _key(info: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: _time(info[name]) if name.endswith("_at") else info[name] for name in KEY_FACTS}


def _audited(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**row, **{name: _time(row[name]) for name in ("submitted_at", "settled_at")}}


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _pyarrow(where: str | None) -> Any:
    """The Arrow package; a `Failure` where what the command needs is not installed."""
    try:
        if where is not None:
            import daft  # noqa: F401  # reason: to know before anything is asked
        import pyarrow as pa
        import pyarrow.compute
    except ImportError as failure:
        need = "--where" if where is not None else "this format"
        raise Failure(
            f"{need} needs the package {failure.name}", "pip install 'archetype-cli[local]'", ExitCode.NOT_INSTALLED
        ) from failure
    return pa
