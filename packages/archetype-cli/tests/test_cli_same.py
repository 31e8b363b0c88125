"""A directory and a server that has it give the same bytes, whatever is asked and in whichever format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_scene import ESCAPE, Served

from archetype_cli.boundary import run

pytest_plugins = ["cli_fixtures"]

READS: dict[str, tuple[str, ...]] = {
    "worlds": ("world", "list", "PLACE"),
    "a world": ("world", "show", "PLACE", "race"),
    "an entity": ("entity", "get", "PLACE", "race", "1"),
    "an entity with values of many types": ("entity", "get", "PLACE", "race", "2"),
    "an entity at a tick": ("entity", "get", "PLACE", "race", "1", "--tick", "1"),
    "rows of a component": ("query", "PLACE", "race", "-c", "Spot", "-t", "all"),
    "rows of several components": ("query", "PLACE", "race", "-c", "Spot", "-c", "Pace", "-t", "1:4"),
    "rows with values of many types": ("query", "PLACE", "race", "-c", "Mind", "-t", "0:2"),
    "rows of a fork": ("query", "PLACE", "what-if", "-c", "Spot", "-t", "all"),
    "some columns": ("query", "PLACE", "race", "-c", "Spot", "--column", "spot__x", "--column", "tick", "-t", "all"),
    "some entities": ("query", "PLACE", "race", "-c", "Spot", "-e", "1", "-e", "3", "-t", "1:"),
    "an entity's rows": ("query", "PLACE", "race", "-c", "Spot", "-e", "2", "-t", "all"),
    "a condition": ("query", "PLACE", "race", "-c", "Spot", "-w", "spot__x > 1.0", "-t", "all"),
    "a condition on ticks": ("query", "PLACE", "race", "-c", "Spot", "-w", "tick between 1 and 2", "-t", "all"),
    "a number of rows": ("query", "PLACE", "race", "-c", "Spot", "-t", "all", "-n", "3"),
    "no rows": ("query", "PLACE", "race", "-c", "Spot", "-e", "99"),
    "inactive rows": ("query", "PLACE", "what-if", "-c", "Spot", "-t", "3", "--include-inactive"),
    "ticks": ("diff", "PLACE", "race@1", "@3"),
    "branches": ("diff", "PLACE", "race", "what-if"),
    "values of a component": ("diff", "PLACE", "race", "what-if", "-c", "Pace"),
    "differences that match": ("diff", "PLACE", "race", "what-if", "-w", "op = 'changed'"),
    "differences by column": ("diff", "PLACE", "race", "what-if", "--stat"),
    "history": ("history", "PLACE", "race", "--type", "run"),
    "spawns": ("history", "PLACE", "race", "--type", "spawn", "--oldest-first", "-n", "1"),
    "words": ("search", "PLACE", "race", "mind__text", "fast lap"),
    "a vector": ("search", "PLACE", "race", "mind__place", "[1.0, 0.0]", "--metric", "l2", "-n", "1"),
    "several vectors": ("search", "PLACE", "race", "mind__place", "[[1.0, 0.0], [0.0, 1.0]]"),
    "numbers": ("aggregate", "PLACE", "race", "spot__x", "pace__dx"),
    "numbers of a component": ("aggregate", "PLACE", "race", "Mind", "Spot", "--by-archetype", "-t", "2"),
    "numbers by tick": ("aggregate", "PLACE", "race", "Spot", "-t", "0:4", "--every", "2", "--other", "what-if"),
    "quantiles": ("aggregate", "PLACE", "race", "spot__x", "-t", "all", "--quantiles", "0,0.1,1"),
    "a histogram": ("aggregate", "PLACE", "race", "spot__x", "-t", "1:", "--bins", "3", "--by-archetype"),
    "a histogram with edges": ("aggregate", "PLACE", "race", "spot__x", "--edges", "0,0.5,100"),
    "a density": ("density", "PLACE", "race", "mind__laps", "pace__dx", "--bins", "3x2"),
    "a density at a tick": ("density", "PLACE", "race", "spot__x", "pace__dx", "--tick", "2", "--x-range", "-0.3:9.1"),
    "no text like it": ("search", "PLACE", "race", "mind__text", "zebra"),
}
FORMATS = ("table", "json", "jsonl", "csv", "arrow", "parquet")
Places = tuple[str, str]


@pytest.fixture(scope="module")
def places(dev_server: Served) -> Places:
    """The directory and the address of a server with a race and its fork."""

    def archetype(*words: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in dev_server.environment.items():
                patch.setenv(name, value)
            assert run(words) == 0

    def spawn(*components: dict[str, object]) -> None:
        archetype("entity", "spawn", "race", "-c", json.dumps(components))

    archetype("world", "create", "race", "--seed", "1")
    spawn({"type": "Spot"}, {"type": "Pace", "dx": 2.0})
    mind = {"type": "Mind", "text": "a fast lap", "place": [1.0, 0.5], "laps": 2**62, "tags": ["a", "b"], "best": "NaN"}
    spawn({"type": "Spot", "x": "NaN", "note": ESCAPE}, mind)
    spawn({"type": "Spot", "x": 0.1, "note": 'a "quoted", note'}, {"type": "Mind", "text": "slow", "place": [0.0, 1.0]})
    archetype("run", "race", "-n", "3")
    archetype("world", "fork", "race", "--name", "what-if")
    archetype("entity", "update", "what-if", "1", "-c", '{"type": "Pace", "dx": 9}')
    archetype("entity", "despawn", "what-if", "3")
    archetype("run", "what-if", "-n", "2")
    archetype("run", "race", "-n", "2")
    return str(dev_server.directory / "data"), dev_server.url


@pytest.fixture
def output(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., bytes]:
    """A function that runs a command, which must succeed, and returns what it wrote."""
    for name in ("PLACE", "URL", "TOKEN", "ROLE", "FORMAT", "TIMEOUT_S"):
        monkeypatch.delenv(f"ARCHETYPE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def written(*words: str) -> bytes:
        code = run(words)
        out, err = capsysbinary.readouterr()
        assert (code, err) == (0, b""), words
        return out

    return written


@pytest.mark.parametrize("read", READS)
def test_same_bytes(output: Callable[..., bytes], places: Places, read: str) -> None:
    """A read has the same answer from the files and through the server, in every format."""
    for form in FORMATS:
        local, remote = (
            output(*(place if word == "PLACE" else word for word in READS[read]), "--format", form) for place in places
        )
        assert local == remote, form
        assert local or form == "jsonl", form


def test_same_export(output: Callable[..., bytes], places: Places, tmp_path: Path) -> None:
    """An export has the same bytes."""
    for suffix in ("parquet", "arrow", "csv", "jsonl"):
        files = [tmp_path / f"{number}.{suffix}" for number in range(2)]
        for place, file in zip(places, files, strict=True):
            assert run(["export", place, "race", "-c", "Spot", "-o", str(file)]) == 0
        assert files[0].read_bytes() == files[1].read_bytes()


def test_same_table_of_everything(output: Callable[..., bytes], places: Places) -> None:
    """Without components, a table has the same rows from both."""
    local, remote = (output("query", place, "race") for place in places)
    assert local == remote


def test_same_first_line_of_a_tail(output: Callable[..., bytes], places: Places) -> None:
    """Following a world begins with the same line."""
    for form in ("table", "jsonl"):
        local, remote = (output("tail", place, "race", "-n", "1", "-f", form) for place in places)
        assert local == remote != b""
