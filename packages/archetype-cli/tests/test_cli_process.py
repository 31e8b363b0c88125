"""The installed command as a process: where it writes, how it ends, and how it is found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from cli_scene import Command, console_script, environment, in_terminal, process

from archetype_cli.command_group import COMMANDS, summary

pytest_plugins = ["cli_fixtures"]


def test_help_lists_every_command_and_imports_none(tmp_path: Path) -> None:
    """``--help`` has a line for each command of each installed package, and imports none of them."""
    done = process("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    names = {point.name for point in entry_points(group=COMMANDS)}
    assert {"demo", "query", "world"} <= names
    for name in names:
        assert f"\n  {name} " in done.stdout
    code = (
        "import sys\nfrom archetype_cli.boundary import run\nrun(['--help'])\n"
        "known = {'archetype_cli', 'archetype_cli.boundary', 'archetype_cli.command_group', 'archetype_cli.exit_code',\n"
        "         'archetype_cli.failure', 'archetype_cli.safe_text'}\n"
        "loaded = {name for name in sys.modules if name.startswith('archetype') or name in ('httpx2', 'rich', 'pyarrow')}\n"
        "sys.exit(str(loaded - known) if loaded - known else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("point", sorted(entry_points(group=COMMANDS)), ids=lambda point: point.name)
def test_the_line_of_a_command_is_its_help(point: EntryPoint) -> None:
    """The line that is read from a command's source is the one that the command itself has."""
    command = point.load()
    assert summary(point) == command.help.strip().splitlines()[0].rstrip(".")
    assert len(summary(point)) <= 64


def test_data_and_talk_are_apart(tmp_path: Path, race: Path) -> None:
    """Standard output has the rows and nothing else; what is said goes to standard error."""
    done = process("query", race, "race", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith('{"schema_version": 1, "kind": "rows"')
    wrong = process("query", race, "rase", cwd=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (3, "")
    assert "Traceback" not in wrong.stderr


def test_a_misspelt_command(tmp_path: Path) -> None:
    """A misspelt command is suggested; one of a package that is not installed names the package."""
    done = process("qery", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: `archetype` has no command 'qery'\nhint: did you mean 'query'?\n",
    )
    assert process("world", "lits", cwd=tmp_path).stderr.endswith("hint: did you mean 'list'?\n")


def test_a_reader_that_stops(tmp_path: Path, race: Path) -> None:
    """If the output is no longer read, the command ends without a complaint."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [console_script(), "query", str(race), "race", "--json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            env=environment(),
            cwd=tmp_path,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c(tmp_path: Path, race: Path) -> None:
    """Ctrl-C ends a command that waits with 130 and one line."""
    with subprocess.Popen(
        [console_script(), "tail", str(race), "race", "-f", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(PYTHONUNBUFFERED="1"),
        cwd=tmp_path,
    ) as running:
        try:
            assert running.stdout is not None
            running.stdout.readline()
            running.send_signal(signal.SIGINT)
            _, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert (running.returncode, err.strip()) == (130, b"interrupted")


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal(tmp_path: Path, race: Path, more: dict[str, str]) -> None:
    """A terminal gets a header in bold unless it does not want colours, and binary formats are refused."""
    shown, code = in_terminal(tmp_path, "query", str(race), "race", **{"TERM": "xterm", **more})
    assert code == 0
    assert "spot__x" in shown
    assert ("\x1b[1m" in shown) == (not more)
    assert "\x1b[31m" not in shown
    if not more:
        refused, code = in_terminal(tmp_path, "query", str(race), "race", "-f", "arrow")
        assert code == 2
        assert "--output" in refused


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, shell: str) -> None:
    """The completion script calls the command, which completes commands and options."""
    assert "_ARCHETYPE_COMPLETE" in process("completion", shell, cwd=tmp_path).stdout
    if shell == "bash":
        asked = {"_ARCHETYPE_COMPLETE": "bash_complete", "COMP_WORDS": "archetype que", "COMP_CWORD": "1"}
        assert "query" in process(cwd=tmp_path, **asked).stdout


def test_version(tmp_path: Path) -> None:
    """The version names the packages that are installed."""
    assert "archetype-cli 0.1.0\n" in process("--version", cwd=tmp_path).stdout


def test_a_new_project(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new project's simulation leaves a history that the command finds by the project's settings, also from below."""
    monkeypatch.chdir(tmp_path)
    assert command("init", "new").code == 0
    again = command("init", "new")
    assert again.code == 1
    assert "nothing was written" in again.err
    project = tmp_path / "new"
    subprocess.run([sys.executable, "simulation.py"], cwd=project, check=True, capture_output=True, env=environment())
    monkeypatch.chdir(project)
    shown = command("query", "balls", "--column", "tick", "--format", "csv")
    assert (shown.code, shown.out) == (0, "tick\n19\n19\n")
    (project / "below").mkdir()
    monkeypatch.chdir(project / "below")
    assert "balls" in command("log").out
