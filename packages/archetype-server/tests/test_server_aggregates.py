"""Aggregates and densities over HTTP: what numpy says of the same columns, in a few bytes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from serving import Serving, config, serving

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server with moving things, some of them in another table."""
    with serving(config(tmp_path_factory.mktemp("server"))) as here:
        here.world("demo")
        bundles: list[Any] = [
            [{"type": "Position", "y": float(one % 3)}, {"type": "Velocity", "dx": float(one)}] for one in range(10)
        ]
        bundles.append([{"type": "Position", "x": "NaN"}])
        here.ok("POST", "/worlds/demo/entities/batch", {"bundles": bundles})
        here.ok("POST", "/worlds/demo/run", {"steps": 4})
        yield here


def xs(tick: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The finite x of every entity at a tick."""
    return np.arange(10.0) * tick


def test_a_chart_over_time_is_one_call(server: Serving) -> None:
    """Every tick of a range has its numbers, and all histograms have the same edges."""
    found = server.ok(
        "GET", "/worlds/demo/aggregate?columns=position__x&first_tick=1&last_tick=3&bins=5&quantiles=0.1,0.9"
    )
    assert found["quantiles"] == [0.1, 0.9]
    edges = found["edges"]["position__x"]
    assert edges == np.linspace(0, 27, 6).tolist()
    assert [one["tick"] for one in found["items"]] == [1, 2, 3]
    for one in found["items"]:
        values = xs(one["tick"])
        assert (one["count"], one["nans"], one["nulls"], one["archetype"]) == (10, 1, 0, None)
        assert (one["mean"], one["min"], one["max"]) == (values.mean(), 0.0, values.max())
        assert one["quantiles"] == pytest.approx(np.quantile(values, [0.1, 0.9]).tolist())
        assert one["histogram"] == np.histogram(values, edges)[0].tolist()
    every = server.ok("GET", "/worlds/demo/aggregate?columns=position__x&first_tick=0&every=2")
    assert [one["tick"] for one in every["items"]] == [0, 2]
    assert every["edges"] == {}


def test_components_archetypes_and_worlds_are_told_apart(server: Serving) -> None:
    """A component stands for its columns, a table has rows of its own, and a fork is read at the same ticks."""
    rows = server.ok("GET", "/worlds/demo/aggregate?columns=Position&by_archetype=true")["items"]
    assert [(one["column"], one["archetype"], one["count"]) for one in rows] == [
        ("position__x", "Position", 0),
        ("position__x", "Position + Velocity", 10),
        ("position__y", "Position", 1),
        ("position__y", "Position + Velocity", 10),
    ]
    server.ok("POST", "/worlds/demo/fork", {"name": "branch"})
    server.ok("PATCH", "/worlds/branch/entities/1", {"components": [{"type": "Position", "x": 100.0}]})
    server.ok("POST", "/worlds/branch/step")
    found = server.ok("GET", "/worlds/demo/aggregate?columns=position__x&others=branch&first_tick=3&bins=2")
    assert [(one["tick"], one["max"]) for one in found["items"]] == [(3, 27.0), (3, 27.0), (4, 100.0)]
    assert len({one["world_id"] for one in found["items"]}) == 2
    assert found["edges"]["position__x"] == [0.0, 50.0, 100.0]


def test_aggregates_come_as_rows_too(server: Serving) -> None:
    """The formats of rows are those of aggregates."""
    path = "/worlds/demo/aggregate?columns=position__x&edges=0,10,30"
    answer = server.ask("GET", path, headers={"accept": ARROW})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column("histogram").to_pylist() == [[4, 6]]
    lines = server.ask("GET", path, headers={"accept": "application/x-ndjson"}).text.splitlines()
    assert json.loads(lines[0])["edges"] == [0.0, 10.0, 30.0]


def test_a_density_is_a_picture(server: Serving) -> None:
    """The counts come as numbers in base64 or as Arrow, row by row from the least y."""
    path = "/worlds/demo/density?x=position__x&y=position__y&tick=2&x_bins=4&y_bins=3"
    found = server.ok("GET", path)
    counts = np.frombuffer(base64.b64decode(found["data"]), "<u4").reshape(3, 4)
    ys = np.arange(10) % 3
    expected, x_edges, _ = np.histogram2d(xs(2), ys, bins=[4, 3])
    assert counts.tolist() == expected.T.tolist()
    assert found["x"] == {"column": "position__x", "min": 0.0, "max": x_edges[-1], "bins": 4}
    assert (found["tick"], found["count"], found["outside"], found["missing"]) == (2, 10, 0, 1)
    arrow = pa.ipc.open_stream(io.BytesIO(server.ask("GET", path, headers={"accept": ARROW}).content)).read_all()
    assert arrow.column("counts").to_pylist() == counts.tolist()
    facts = json.loads(arrow.schema.metadata[b"archetype.density"])
    assert facts == {name: value for name, value in found.items() if name != "data"}
    part = server.ok("GET", f"{path}&x_min=0&x_max=4")
    assert (part["count"], part["outside"]) == (3, 7)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/aggregate", 422),
        ("/aggregate?columns=position__z", 404),
        ("/aggregate?columns=Nothing", 404),
        ("/aggregate?columns=Position&tick=9", 404),
        ("/aggregate?columns=Position&tick=1&first_tick=0", 422),
        ("/aggregate?columns=Position&every=2", 422),
        ("/aggregate?columns=Position&bins=0", 400),
        ("/aggregate?columns=Position&bins=2&edges=0,1", 422),
        ("/aggregate?columns=Position&edges=1,0", 422),
        ("/aggregate?columns=Position&edges=a", 400),
        ("/aggregate?columns=Position&edges=nan,1", 422),
        ("/aggregate?columns=Position&quantiles=2", 422),
        ("/aggregate?columns=Position&others=nowhere", 404),
        ("/density?x=position__x", 400),
        ("/density?x=position__x&y=position__z", 404),
        ("/density?x=position__x&y=position__y&x_min=1", 422),
        ("/density?x=position__x&y=position__y&x_min=1&x_max=nan", 422),
        ("/density?x=position__x&y=position__y&x_bins=5000", 400),
        ("/density?x=position__x&y=position__y&tick=9", 404),
    ],
)
def test_what_makes_no_sense_is_refused(server: Serving, path: str, status: int) -> None:
    """A wrong column, tick, bin or range is one problem that says so."""
    assert server.problem("GET", f"/worlds/demo{path}")["status"] == status


def test_answers_are_bounded(server: Serving) -> None:
    """More ticks or bins than one answer takes are refused before anything is read."""
    world = server.world("long")
    server.ok("POST", f"/worlds/{world}/run", {"steps": 10_001})
    path = f"/worlds/{world}/aggregate?columns=Position&first_tick=0"
    assert "every=" in server.problem("GET", path)["detail"]
    assert server.problem("GET", f"{path}&every=2&bins=4000")["status"] == 422
    assert len(server.ok("GET", f"{path}&every=5000")["items"]) == 6
