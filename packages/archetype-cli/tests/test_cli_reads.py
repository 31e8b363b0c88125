"""The commands that read a local place."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cli_scene import ESCAPE, Command, make_history

pytest_plugins = ["cli_fixtures"]


def items(text: str) -> list[dict[str, object]]:
    """The rows of a JSON answer."""
    answer = json.loads(text)
    assert answer["schema_version"] == 1
    found: list[dict[str, object]] = answer["items"]
    return found


def test_query_shows_the_last_tick(command: Command, race: Path) -> None:
    """Without options a query shows all entities after the last tick, with the columns of all components."""
    done = command("query", race, "race", "--json")
    assert done.code == 0
    rows = items(done.out)
    assert [(row["tick"], row["entity_id"]) for row in rows] == [(4, 1), (4, 2)]
    assert (rows[0]["spot__x"], rows[0]["pace__dx"]) == (8.0, 2.0)
    assert (rows[1]["spot__x"], rows[1]["pace__dx"], rows[1]["spot__note"]) == ("NaN", None, ESCAPE)


def test_query_of_components_and_ticks(command: Command, race: Path) -> None:
    """A component selects the entities that have it and its columns, and a range its ticks, those of ancestors too."""
    rows = items(command("query", race, "what-if", "-c", "Pace", "--ticks", "1:5", "--json").out)
    assert [(row["tick"], row["pace__dx"]) for row in rows] == [(1, 2.0), (2, 2.0), (3, 9.0), (4, 9.0)]
    assert "spot__x" not in rows[0]


def test_query_selects(command: Command, race: Path) -> None:
    """Entities, a condition, columns and a number of rows can be chosen."""
    rows = items(command("query", race, "race", "-e", 1, "-t", "all", "-w", "spot__x > 1.0", "-n", 2, "--json").out)
    assert [row["spot__x"] for row in rows] == [2.0, 4.0]
    shown = command("query", race, "race", "--column", "entity_id", "--column", "spot__x", "-f", "csv")
    assert shown.out == "entity_id,spot__x\n1,8.0\n2,NaN\n"


def test_inactive_rows(command: Command, race: Path) -> None:
    """The last values of a despawned entity are shown on request."""
    rows = items(command("query", race, "what-if", "-t", 3, "--include-inactive", "--json").out)
    assert [(row["entity_id"], row["is_active"]) for row in rows] == [(1, True), (2, False)]


def test_formats_agree(command: Command, race: Path, tmp_path: Path) -> None:
    """Every format has the same rows; Arrow and Parquet keep the types of the store."""
    asked = ("query", race, "race", "-t", "all")
    rows = items(command(*asked, "--json").out)
    lines = [json.loads(line) for line in command(*asked, "-f", "jsonl").out.splitlines()]
    assert lines == rows
    table = list(csv.DictReader(io.StringIO(command(*asked, "-f", "csv").out)))
    assert [row["spot__note"] for row in table] == [row["spot__note"] for row in rows]
    for form in ("arrow", "parquet"):
        path = tmp_path / f"rows.{form}"
        assert command(*asked, "-f", form, "-o", path).code == 0
        found = pa.ipc.open_stream(path.read_bytes()).read_all() if form == "arrow" else pq.read_table(path)
        assert found.schema.field("tick").type == pa.int64()
        assert found.column("spot__note").to_pylist() == [row["spot__note"] for row in rows]


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_text_of_agents_is_harmless(command: Command, race: Path, form: str) -> None:
    """No control character and no change of direction that is stored reaches the terminal."""
    shown = command("query", race, "race", "-f", form).out
    assert "red" in shown
    assert not set(shown) & {"\x1b", "\u202e"}


def test_a_read_changes_nothing(command: Command, race: Path) -> None:
    """Reading a store leaves every file as it was, and no audit row."""

    def contents() -> dict[Path, bytes]:
        # SQLite's own files beside a database come and go with its readers.
        files = (path for path in race.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
        return {path: path.read_bytes() for path in files}

    kept = contents()
    for words in (["log"], ["world", "list"], ["history"], ["query", "race"], ["entity", "get", "race", "1"]):
        name = words.index("get") + 1 if "get" in words else 2 if words[:2] == ["world", "list"] else 1
        assert command(*words[:name], race, *words[name:]).code == 0
    assert command("verify", race).code == 0
    assert contents() == kept


def test_a_place_that_cannot_be_written(command: Command, tmp_path: Path) -> None:
    """A read-only place can be read, its audit log too."""
    place = tmp_path / "data"
    make_history(f"journal:{place}")
    paths = [place, *place.iterdir()]
    for path in paths:
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
    try:
        assert len(items(command("query", place, "race", "--json").out)) == 2
        assert items(command("history", place, "race", "-n", 1, "--json").out)
    finally:
        for path in paths:
            path.chmod(stat.S_IMODE(path.stat().st_mode) | 0o200)


def test_log_is_a_tree(command: Command, race: Path) -> None:
    """A fork stands below its parent, with the last tick that both share."""
    branches = items(command("log", race, "--json").out)
    assert [(one["name"], one["forked_at"], one["last_tick"]) for one in branches] == [
        ("race", None, 4),
        ("what-if", 2, 4),
    ]
    assert branches[1]["parent"] == branches[0]["world_id"]
    lines = command("log", race).out.splitlines()
    assert lines[1].startswith("race ")
    assert lines[2].lstrip("└─`- ").startswith("what-if ")


def test_worlds(command: Command, race: Path) -> None:
    """Worlds are listed and shown by name or id, with the same facts."""
    listed = items(command("world", "list", race, "--json").out)
    assert [(one["name"], one["tick"], one["entities"]) for one in listed] == [("race", 5, 2), ("what-if", 5, 1)]
    for name in ("race", listed[0]["world_id"]):
        assert json.loads(command("world", "show", race, name, "--json").out)["item"] == listed[0]


def test_entity(command: Command, race: Path) -> None:
    """An entity is shown with its components, at any tick."""
    done = command("entity", "get", race, "race", 1, "--tick", 1, "--json")
    assert json.loads(done.out)["item"] == {
        "entity_id": 1,
        "tick": 1,
        "components": [{"type": "Pace", "dx": 2.0}, {"type": "Spot", "x": 2.0, "note": ""}],
    }
    gone = command("entity", "get", race, "what-if", 2)
    assert gone.code == 3
    assert "--ticks all" in gone.err


def test_diff(command: Command, race: Path) -> None:
    """A diff of branches or ticks lists values; it counts them, chooses components and sets the exit code on request."""
    rows = items(command("diff", race, "race", "what-if", "--json").out)
    assert {(row["op"], row["entity_id"], row["column"]) for row in rows} >= {
        ("changed", 1, "spot__x"),
        ("removed", 2, "spot__note"),
        ("removed", 2, None),
    }
    assert items(command("diff", race, "race@1", "@3", "--json").out) == [
        {"op": "changed", "entity_id": 1, "column": "spot__x", "before": "2.0", "after": "6.0"}
    ]
    assert command("diff", race, "race@1", "@3", "--stat", "-f", "csv").out == "op,column,entities\nchanged,spot__x,1\n"
    assert command("diff", race, "race@1", "@3", "-c", "Pace", "--exit-code").code == 0
    assert command("diff", race, "race@1", "@3", "--exit-code").code == 1
    assert command("diff", race, "race@1", "@3").code == 0
    assert command("diff", race, "race", "what-if", "-w", "op = 'removed'", "--stat", "--exit-code").code == 1


def test_search(command: Command, race: Path) -> None:
    """Texts are ranked by the words of a query, at any tick."""
    found = items(command("search", race, "race", "spot__note", "red line", "--tick", 2, "--json").out)
    assert [(row["entity_id"], row["tick"]) for row in found] == [(2, 2)]


def test_history(command: Command, race: Path) -> None:
    """The audit log is filtered and counted, of one world and of all."""
    rows = items(command("history", race, "race", "--type", "spawn", "--oldest-first", "--json").out)
    assert [row["type"] for row in rows] == ["spawn", "spawn"]
    assert isinstance(rows[0]["payload"], dict)
    assert int(str(rows[0]["seq"])) < int(str(rows[1]["seq"]))
    assert len(items(command("history", race, "-n", 3, "--json").out)) == 3
    assert items(command("history", race, "--until", "2020-01-01", "--json").out) == []


def test_export_guesses_the_format(command: Command, race: Path, tmp_path: Path) -> None:
    """The end of the file's name is its format; the whole history is exported unless ticks are chosen."""
    path = tmp_path / "race.parquet"
    done = command("export", race, "race", "-o", path)
    assert (done.code, done.out) == (0, "")
    assert pq.read_table(path).num_rows == 10
    assert command("export", race, "race", "-o", path, "-n", 3, "-c", "Spot").code == 0
    assert pq.read_table(path).num_rows == 3
    assert command("export", race, "race", "-o", tmp_path / "race.xyz").code == 2
    assert [one.name for one in tmp_path.iterdir()] == ["race.parquet"]


def test_a_file_is_whole_or_absent(command: Command, race: Path, tmp_path: Path) -> None:
    """If an export fails, neither a file nor a part of one is left, and an older file stays."""
    path = tmp_path / "rows.csv"
    path.write_text("before")
    assert command("export", race, "race", "-o", path, "-w", "spot__y > 1").code == 3
    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text() == "before"


def test_tail(command: Command, race: Path) -> None:
    """The last committed tick comes first."""
    done = command("tail", race, "race", "-n", 1, "-f", "jsonl")
    assert json.loads(done.out)["tick"] == 4


def test_a_lance_store(command: Command, tmp_path: Path) -> None:
    """A bare path of a Lance store works as one of a journal does."""
    pytest.importorskip("archetype_store_lance")
    place = tmp_path / "data"
    make_history(str(place))
    assert len(items(command("query", place, "race", "-t", "all", "--json").out)) == 10
    assert command("verify", place).code == 0
    assert command("compact", place).code == 0
    assert command("repair", place, "-y").code == 2


def test_upkeep_of_a_journal(command: Command, tmp_path: Path) -> None:
    """A damaged journal is reported with exit code 7, and repaired; what a store has no use for is refused."""
    place = tmp_path / "data"
    make_history(f"journal:{place}")
    assert command("verify", place).code == 0
    refused = command("compact", place)
    assert refused.code == 2
    data = bytearray((place / "journal.sqlite").read_bytes())
    at = data.rindex(struct.pack("<d", 8.0))
    data[at : at + 8] = struct.pack("<d", 8.5)
    (place / "journal.sqlite").write_bytes(data)
    damaged = command("verify", place, "--json")
    assert damaged.code == 7
    assert items(damaged.out)
    repaired = command("repair", place, "--yes", "--roll-back", "--json")
    assert repaired.code == 0, repaired
    assert command("verify", place).code == 0


def test_doctor(command: Command, race: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor names versions, adapters and stores, reads a place, and says what to do about what is wrong."""
    monkeypatch.chdir(race.parent)
    rows = {str(row["check"]): row for row in items(command("doctor", race, "--json").out)}
    assert "journal" in str(rows["stores"]["detail"])
    assert rows["stores here"]["detail"] == "data"
    assert (rows["worlds"]["status"], rows["files"]["status"]) == ("ok", "ok")
    assert {row["status"] for row in rows.values()} <= {"ok", "absent"}
    nothing = command("doctor", tmp_path / "nothing", "--json")
    assert nothing.code == 1
    (failed,) = (row for row in items(nothing.out) if row["status"] == "failed")
    assert (failed["check"], "archetype demo" in str(failed["remedy"])) == ("worlds", True)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "journal.sqlite").write_bytes(b"no database" * 1000)
    done = command("doctor", damaged, "--json")
    assert done.code == 1
    assert [row["check"] for row in items(done.out) if row["status"] == "failed"] == ["worlds"]


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["query", "RACE", "rase"], 3, "did you mean 'race'?"),
        (["query", "RACE", "race", "-c", "Spott"], 3, "did you mean 'Spot'?"),
        (["query", "RACE", "race", "--column", "spot__xx"], 3, "did you mean 'spot__x'?"),
        (["query", "RACE", "race", "-w", "spot__xx > 1"], 3, "did you mean 'spot__x'?"),
        (["query", "RACE", "race", "-w", "spot__x >"], 2, "write it as in SQL"),
        (["query", "RACE", "race", "-t", "77"], 3, "from tick 0 to 4"),
        (["query", "RACE", "race", "-t", "4:2"], 2, "--help"),
        (["query", "RACE"], 2, "usage: archetype query [PLACE] WORLD"),
        (["query", "RACE", "race", "more"], 2, "usage: archetype query"),
        (["query", "./nothing-here", "race"], 3, "archetype demo"),
        (["query", "EMPTY", "race"], 3, "archetype doctor"),
        (["search", "RACE", "race", "spot__nte", "red"], 3, "did you mean 'spot__note'?"),
        (["search", "RACE", "race", "spot__note", "[1, red]"], 2, "a JSON list of numbers"),
        (["search", "RACE", "race", "spot__note", "[1.5]"], 2, ""),
        (["search", "RACE", "race", "spot__note", "red", "--tick", "9"], 3, "from tick 0 to 4"),
        (["world", "show", "RACE", "race", "--live"], 2, "archetype serve"),
        (["query", "sqlite:./x", "race"], 2, ""),
        (["diff", "RACE", "race"], 2, "usage: archetype diff"),
        (["diff", "RACE", "race@", "race"], 2, "WORLD@TICK"),
        (["diff", "RACE", "race", "what-if", "-c", "Spo"], 3, "did you mean 'Spot'?"),
        (["world", "create", "RACE", "name"], 2, "archetype serve"),
        (["entity", "get", "RACE", "race", "one"], 2, "a number"),
        (["verify", "http://localhost:1"], 2, "on the server's machine"),
        (["query", "RACE", "race", "-w", "spot__x"], 2, "write it as in SQL"),
        (["query", "RACE", "race", "--json", "-f", "csv"], 2, "one of them"),
        (["query"], 2, "usage: archetype query [PLACE] WORLD"),
        (["query", "race", "RACE"], 2, "is not the first word"),
        (["query", "race", "Spot"], 2, "neither a directory nor an address"),
        (["query", "http:/localhost:9", "race"], 2, "write it as http://localhost:9"),
        (["query", "localhost:9", "race"], 2, "write it as http://localhost:9"),
        (["query", "RACE", "race", "-w", 'spot__note = "red"'], 2, "in single quotes: 'red'"),
        (["query", "RACE", "race", "-w", "x > 1"], 3, "the columns are"),
        (["query", "RACE", "race", "--json", "-o", "./nowhere/rows.json"], 3, "nowhere/rows.json: No such"),
        (["aggregate", "RACE", "race"], 2, "WORLD COLUMN..."),
        (["aggregate", "RACE", "race", "spot__xx"], 3, "spot__x"),
        (["aggregate", "RACE", "race", "Spott"], 3, "did you mean 'Spot'?"),
        (["aggregate", "RACE", "race", "spot__note"], 2, "choose another column"),
        (["aggregate", "RACE", "race", "spot__x", "--bins", "3", "--edges", "1,2"], 2, "give one"),
        (["aggregate", "RACE", "race", "spot__x", "--quantiles", "a"], 2, "0,1"),
        (["density", "RACE", "race", "spot__x"], 2, "WORLD X Y"),
        (["density", "RACE", "race", "spot__x", "pace__dx", "--x-range", "2:1"], 2, "the lesser one first"),
        (["tail", "RACE", "race", "--type", "spawn"], 2, "add --commands"),
        (["ls"], 2, "`archetype world list`"),
        (["entity", "get", "RACE", "race", "0"], 2, "from 1 on"),
    ],
)
def test_mistakes(*, command: Command, race: Path, tmp_path: Path, words: list[str], code: int, hint: str) -> None:
    """A mistake is at most two lines, what happened and what to do, with an exit code that says which kind it is."""
    places = {"RACE": str(race), "EMPTY": str(tmp_path)}
    done = command(*(places.get(word, word) for word in words))
    assert (done.code, done.out) == (code, "")
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2
    assert hint in done.err


@pytest.mark.parametrize("words", [[], ["world"], ["keys"]])
def test_without_a_command(command: Command, words: list[str]) -> None:
    """Who names no command is shown which there are, on standard error."""
    done = command(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: archetype")
    assert "list" in done.err


def test_density(command: Command, race: Path) -> None:
    """Entities are counted in bins of two columns; what cannot be counted is said beside the answer."""
    asked = ("density", race, "race", "spot__x", "pace__dx", "--tick", 2, "--bins", "2x1")
    assert command(*asked, "--x-range", "0:8", "-f", "csv").out == "x_from,x_to,y_from,y_to,count\n4.0,8.0,1.5,2.5,1\n"
    found = json.loads(command(*asked, "--x-range", "4:8", "--json").out)["item"]
    assert (found["counts"], found["count"], found["x"]["bins"]) == ([[1, 0]], 1, 2)
    beyond = command(*asked, "--x-range", "7:8")
    assert beyond.err == "not counted: 1 outside, 0 without two finite numbers\n"


def test_aggregate(command: Command, race: Path) -> None:
    """Numbers about columns come tick by tick; all are about finite values, and the others are counted."""
    rows = items(command("aggregate", race, "race", "Spot", "-t", "1:3", "--bins", 2, "--json").out)
    assert [(row["tick"], row["column"], row["count"], row["nans"], row["mean"]) for row in rows] == [
        (1, "spot__x", 1, 1, 2.0),
        (2, "spot__x", 1, 1, 4.0),
    ]
    assert rows[0]["histogram"] == [1, 0]
    shown = command("aggregate", race, "race", "pace__dx").out
    assert "world_id" not in shown
    assert "archetype" not in shown


def test_without_the_packages_of_a_store(race: Path) -> None:
    """Where the packages for local reads are missing, the message says what to install."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        f"from archetype_cli.boundary import run; sys.exit(run(['log', {str(race)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 8
    assert "pip install 'archetype-cli[local]'" in done.stderr
