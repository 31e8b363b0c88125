"""Conditions, columns and several entities of a read over HTTP; no condition reads or does anything else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from serving import Serving, config, serving

from archetype_server.problem import Unprocessable
from archetype_server.where import condition_of

ROWS = "/worlds/demo/components"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with five entities that moved once."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        here.world("demo")
        kinds = [[{"type": "Position", "x": float(n)}, {"type": "Velocity", "dx": 1.0}] for n in range(5)]
        here.ok("POST", "/worlds/demo/entities/batch", {"bundles": kinds})
        here.ok("POST", "/worlds/demo/run", {"steps": 2})
        yield here


def ids(server: Serving, path: str, **parameters: Any) -> list[int]:
    """The entities of the rows of an answer."""
    return [one["entity_id"] for one in server.ok("GET", path, params=parameters)["items"]]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("position__x > 3", [4, 5]),
        ("position__x > 3 and entity_id in (1, 5)", [5]),
        ("not (position__x between 2 and 4)", [1, 5]),
        ("abs(position__x - 3) <= 1e0 or position__x is null", [2, 3, 4]),
        ("world_id = 'it''s ( not this'", []),
        ("position__x * 2 % 4 = 2", [1, 3, 5]),
    ],
)
def test_rows_that_match(server: Serving, where: str, expected: list[int]) -> None:
    """A condition chooses rows, in pages, as NDJSON and over ranges of ticks."""
    assert ids(server, ROWS, components="Position", where=where) == expected
    several = {"components": "Position", "first_tick": 1, "where": where}
    assert ids(server, ROWS, **several) == expected
    lines = server.ask("GET", ROWS, params=several, headers={"accept": "application/x-ndjson"})
    assert len(lines.text.splitlines()) == len(expected)


@pytest.mark.parametrize(
    "where",
    [
        "(select 1) = 1",
        "position__x in (SELECT 1)",
        "url_download('http://localhost/x') is null",
        "\"url_download\"('x') is null",
        "`a` = 1",
        "position__x > 1; drop table x",
        "position__x > 1 -- more",
        "position__x /* */ > 1",
        "'\\' = url_download('x')",
        "$$a$$ = 'a'",
        "exists (1)",
        "sum(position__x) > 1",
        "(abs)(position__x) > 1",
        "position__x >",
        "position__x",
        "position__x = 'text",
        "position__x > 'a' + 1",
        "",
        "1 = 1 and " * 101 + "1 = 1",
        "(" * 400 + "1 = 1" + ")" * 400,
    ],
)
def test_what_is_no_condition(server: Serving, where: str) -> None:
    """Anything but a comparison of columns and values is refused, with a text that says what may be written."""
    found = server.problem("GET", ROWS, params={"where": where, "components": "Position"})
    assert (found["status"], found["code"]) == (422, "ARC-H018")


def test_functions_that_are_not_named_are_refused() -> None:
    """No function of the engine but the harmless ones can be called, however it is spelt."""
    for call in ("URL_DOWNLOAD(a)", "file (a)", "prompt\n('x')", "abs(read_csv('x'))"):
        with pytest.raises(Unprocessable):
            condition_of(f"{call} = 1")
    condition_of(" and ".join(["a = 1"] * 80))


def test_unknown_columns(server: Serving) -> None:
    """A misspelt column is named, in a condition and in a choice of columns."""
    for more in ({"where": "position__z > 1"}, {"columns": "position__z"}):
        found = server.problem("GET", "/worlds/demo/components", params={"components": "Position", **more})
        assert (found["status"], found["code"], found["column"]) == (404, "ARC-W006", "position__z")


def test_columns_and_entities(server: Serving) -> None:
    """Columns are chosen beside the base columns, and several entities by their ids."""
    path = "/worlds/demo/components?components=Position&columns=position__x&entity_id=2,4"
    items = server.ok("GET", path)["items"]
    assert [(one["entity_id"], one["position__x"]) for one in items] == [(2, 2.0), (4, 4.0)]
    assert sorted(items[0]) == ["entity_id", "is_active", "position__x", "run_id", "tick", "world_id"]
    every = server.ok("GET", "/worlds/demo/components?first_tick=0")["items"]
    assert [(one["tick"], one["entity_id"]) for one in every] == [(t, e) for t in (0, 1) for e in range(1, 6)]


def test_differences_that_match(server: Serving) -> None:
    """A difference is of some columns, and of the entities that match."""
    path, asked = "/worlds/demo/diff", {"before": 0, "after": 1, "columns": "position__x"}
    assert ids(server, path, **asked) == [1, 2, 3, 4, 5]
    assert ids(server, path, **asked, where="entity_id > 3") == [4, 5]
