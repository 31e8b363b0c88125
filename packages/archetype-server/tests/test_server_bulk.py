"""Bulk reads in parts, and pages that are not read again for each of them."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet
from serving import Serving, config, serving

from archetype_server import bulk, page_cache, rows

FORMS = (rows.NDJSON, rows.CSV, rows.ARROW, rows.PARQUET)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with a world in which entities come and go."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        here.world("demo")
        here.ok("POST", "/worlds/demo/run", {"steps": 3})
        for number in range(6):
            here.ok("POST", "/worlds/demo/entities/batch", {"bundles": [[{"type": "Position", "x": number}]] * 5})
            here.ok("POST", "/worlds/demo/step")
            here.ok("DELETE", f"/worlds/demo/entities/{5 * number + 1}")
            here.ok(
                "POST", f"/worlds/demo/entities/{5 * number + 2}/components", {"components": [{"type": "Velocity"}]}
            )
        here.ok("POST", "/worlds/demo/run", {"steps": 3})
        yield here


def read(form: str, data: bytes) -> list[dict[str, Any]]:
    """The ticks, entities and states of an answer."""
    if form == rows.NDJSON:
        return [json.loads(line) for line in data.splitlines()]
    table = {
        rows.CSV: lambda: csv.read_csv(io.BytesIO(data)),
        rows.ARROW: lambda: pa.ipc.open_stream(data).read_all(),
        rows.PARQUET: lambda: parquet.read_table(io.BytesIO(data)),
    }[form]()
    found: list[dict[str, Any]] = table.to_pylist()
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "query",
    [
        "first_tick=0",
        "first_tick=2&last_tick=5&include_inactive=true",
        "first_tick=4&entity_id=2&include_inactive=true",
        "first_tick=50&last_tick=60",
        "tick=7",
        "include_inactive=true",
    ],
)
def test_a_bulk_read_is_what_the_pages_are(server: Serving, form: str, query: str) -> None:
    """Whatever the format, the rows and their order are those of JSON: by tick and entity, a tombstone first."""
    path = f"/worlds/demo/components?components=Position&{query}"
    expected, cursor = [], ""
    while True:
        page = server.ok("GET", f"{path}&limit=7{cursor}")
        expected += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    answer = server.ask("GET", path, headers={"accept": form})
    assert answer.headers["content-type"].partition(";")[0] == form
    names = ("tick", "entity_id", "is_active", "position__x")
    found = [tuple(one[name] for name in names) for one in read(form, answer.content)]
    assert found == [tuple(one[name] for name in names) for one in expected]
    assert found == sorted(found, key=lambda one: one[:3])


def test_a_bulk_read_that_cannot_begin_is_a_problem(server: Serving) -> None:
    """What is refused before the first row is a problem like any other."""
    path = "/worlds/demo/components?components=Position"
    assert server.problem("GET", f"{path}&tick=99", headers={"accept": rows.ARROW})["code"] == "ARC-W002"
    assert (
        server.problem("GET", "/worlds/demo/components?components=Nothing", headers={"accept": rows.CSV})["status"]
        == 404
    )


@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 5), min_size=1, max_size=12), part=st.integers(1, 9))
def test_ticks_are_read_in_parts_of_some_size(sizes: list[int], part: int) -> None:
    """However many rows ticks have, every row is given once and in order."""
    import asyncio

    import daft

    ticks = [tick for tick, size in enumerate(sizes) for _ in range(size)]
    frame = daft.from_pydict({"tick": ticks, "entity_id": [*range(len(ticks))]})

    async def main() -> list[int]:
        bulk_rows = bulk.PART_ROWS
        bulk.PART_ROWS = part
        try:
            answer = await bulk.of_ticks(frame, range(len(sizes)), rows.NDJSON)
            chunks: AsyncIterator[bytes] = answer.iterator  # type: ignore[assignment]  # reason: as it was given
            lines = b"".join([chunk async for chunk in chunks])
        finally:
            bulk.PART_ROWS = bulk_rows
        return [json.loads(line)["entity_id"] for line in lines.splitlines()]

    assert asyncio.run(main()) == [*range(len(ticks))]


def test_pages_keep_what_they_were_cut_from(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second page of an answer is cut from what the first one read."""
    read_again: list[Any] = []
    collected = rows.collected

    def counted(frame: Any, limit: int, **more: Any) -> pa.Table:
        read_again.append(frame)
        return collected(frame, limit, **more)

    monkeypatch.setattr(rows, "collected", counted)
    path = "/worlds/demo/components?components=Position&first_tick=0&limit=20"
    page, pages = server.ok("GET", path), 1
    while page["next"] is not None:
        page, pages = server.ok("GET", f"{path}&cursor={page['next']}"), pages + 1
    assert (pages > 5, len(read_again)) == (True, 1)


def test_the_pages_of_a_state_follow_the_ids(server: Serving) -> None:
    """A page of a state begins after the last id of the page before, whatever table an entity is in."""
    seen: list[int] = []
    cursor = ""
    while True:
        page = server.ok("GET", f"/worlds/demo/state?limit=4{cursor}")
        seen += [one["entity_id"] for one in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == [one for one in range(1, 31) if one % 5 != 1]


def test_a_cache_of_pages_has_a_bound() -> None:
    """The answers that were asked for longest ago go first; one that is too large is not kept."""
    cache = page_cache.PageCache(10)
    cache.put("a", 1, 4)
    cache.put("b", 2, 4)
    assert cache.get("a") == 1
    cache.put("c", 3, 4)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    cache.put("d", 4, 11)
    cache.put("a", 5, 6)
    assert [cache.get(key) for key in "acd"] == [5, 3, None]
