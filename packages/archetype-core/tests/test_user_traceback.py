"""What a modeller reads when a processor, a hook or a call fails: the own lines, then one line with code and remedy."""

from __future__ import annotations

import asyncio
import inspect
import logging
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daft
import numpy as np
import pytest
from daft import DataFrame
from scene import Position
from tracebacks import MOST_LINES, failing, failure, lines, shown

from archetype_core.engine import Commands, PostTick, PreTick, Processor, World
from archetype_core.errors import HookError, ProcessorError
from archetype_core.store import MemoryStore
from archetype_core.user_traceback import door, trim

REMEDY = "fix the cause and step again. [ARC-T002]"


def invert(size: int) -> Any:
    """Fails inside a library."""
    return np.linalg.inv(np.zeros((size, size)))


async def wait_and_fail() -> None:
    """Fails after it awaited."""
    await asyncio.sleep(0)
    raise ValueError("later")


def fail_in_thread() -> None:
    """Fails in whatever thread it runs."""
    raise ValueError("elsewhere")


@daft.func.batch(return_dtype=daft.DataType.float64())
def broken(series: daft.Series) -> daft.Series:
    """Fails when a batch of values is evaluated."""
    raise ZeroDivisionError("in code of a column")


class Raises(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        raise ValueError("boom")


class Calculates(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        invert(2)
        return df


class Awaits(Processor):
    components = (Position,)

    async def process(self, df: DataFrame) -> DataFrame:
        await asyncio.gather(wait_and_fail(), asyncio.sleep(0))
        return df


class Threads(Processor):
    components = (Position,)

    async def process(self, df: DataFrame) -> DataFrame:
        await asyncio.to_thread(fail_in_thread)
        return df


class Batches(Processor):
    components = (Position,)

    # Any: Daft declares text as the only keys.
    def process(self, df: Any) -> Any:
        return df.with_columns({Position.c.y: Position.c.y + 1}).with_columns({Position.c.x: broken(Position.c.x)})


class Plans(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        return df.sort("entity_id").with_column("position__x", broken(Position.c.x))


class Nulls(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        halved = df.with_columns({"position__x": daft.lit(None).cast(daft.DataType.float64())})
        return halved.with_columns({"position__y": Position.c.y + 1})


class Forgets(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        df.with_column("position__x", Position.c.x + 1)
        return None  # type: ignore[return-value]  # reason: the mistake of this test


class Demands(Processor):
    components = (Position,)

    def process(self, df: DataFrame, wind: float) -> DataFrame:
        return df.with_column("position__x", Position.c.x + wind)


class Misspells(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("position__x", getattr(Position.c, "xx") + 1)  # noqa: B009  # reason: unknown to checkers


class ReadsNothing(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        return df.with_column("position__x", df["position__xx"] + 1)


class Chains(Processor):
    components = (Position,)

    def process(self, df: DataFrame) -> DataFrame:
        try:
            dict[str, int]()["key"]
        except KeyError as missing:
            raise ValueError("no such key") from missing
        return df


LAST_LINES = {
    Raises: 'raise ValueError("boom")',
    Calculates: "return np.linalg.inv(np.zeros((size, size)))",
    Awaits: 'raise ValueError("later")',
    Threads: 'raise ValueError("elsewhere")',
    Batches: 'raise ZeroDivisionError("in code of a column")',
    Plans: 'raise ZeroDivisionError("in code of a column")',
    Nulls: 'halved = df.with_columns({"position__x": daft.lit(None).cast(daft.DataType.float64())})',
    Forgets: "def process(self, df: DataFrame) -> DataFrame:",
    Demands: "def process(self, df: DataFrame, wind: float) -> DataFrame:",
    Misspells: 'return df.with_column("position__x", getattr(Position.c, "xx") + 1)  '
    "# noqa: B009  # reason: unknown to checkers",
    ReadsNothing: 'return df.with_column("position__x", df["position__xx"] + 1)',
    Chains: 'raise ValueError("no such key") from missing',
}


@pytest.mark.parametrize("kind", LAST_LINES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_failing_processor_shows_the_users_lines(kind: type[Processor], steps: int) -> None:
    """The traceback is short and ends with the user's own line; its last line has the code and what to do (T7)."""
    world = failing(kind())
    error = failure(world.step if steps == 1 else lambda: world.run(steps))
    assert isinstance(error, ProcessorError)
    assert shown(error)[-1] == LAST_LINES[kind]
    printed = lines(error)
    assert printed[-1].endswith(REMEDY)
    # The user's own chain of causes adds to it.
    assert len(printed) <= MOST_LINES or kind is Chains
    assert not [one for one in printed if "archetype_core/engine" in one or "concurrent/futures" in one]


class Ends(Processor):
    """Ends the program from inside a tick."""

    components = (Position,)
    on_error = "skip"

    def __init__(self, ending: type[BaseException]) -> None:
        self.ending = ending

    def process(self, df: DataFrame, commands: Commands) -> DataFrame:
        commands.spawn(Position())
        raise self.ending(3)


class EndsLater(Ends):
    async def process(self, df: DataFrame, commands: Commands) -> DataFrame:  # type: ignore[override]  # reason: either
        commands.spawn(Position())
        await asyncio.sleep(0)
        raise self.ending(3)


@pytest.mark.parametrize("kind", [Ends, EndsLater])
@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_program_drops_the_attempt(kind: type[Ends], ending: type[BaseException]) -> None:
    """``SystemExit`` and ``KeyboardInterrupt`` pass as they are, in the user's lines; nothing of the tick stays (T7)."""
    processor = kind(ending)
    world = failing(processor)
    with pytest.raises(ending) as caught:
        asyncio.run(world.step())
    assert caught.value.args == (3,)
    inner = traceback.extract_tb(caught.value.__traceback__)
    assert inner[-1].line == "raise self.ending(3)"
    assert [one.name for one in inner if "archetype_core" in one.filename and "/tests/" not in one.filename] == []
    assert (world.tick, world.pending) == (1, 0)
    assert [rows.num_rows for rows in world.tables().values()] == [1, 1]
    world.remove_processor(processor)
    asyncio.run(world.step())
    assert world.tick == 2


def test_a_lazy_step_shows_the_line_that_wrote_it_and_the_code_that_it_runs() -> None:
    """A column's code fails after ``process`` returned; the traceback leads from its line there into the code."""
    error = failure(failing(Batches()).step)
    assert shown(error)[-2] == inspect.getsource(Batches.process).splitlines()[-1].strip()


def test_the_cause_is_kept_and_prints_one_line() -> None:
    """``__cause__`` is the user's exception; its lines are printed once, with the error."""
    error = failure(failing(Raises()).step)
    cause = error.__cause__
    assert isinstance(cause, ValueError)
    assert cause.args == ("boom",)
    assert lines(cause) == ["ValueError: boom"]


def test_the_users_chain_of_causes_is_kept() -> None:
    """What a processor caught before it raised is printed with its line."""
    error = failure(failing(Chains()).step)
    assert [one for one in lines(error) if one.startswith('    dict[str, int]()["key"]')]


def test_the_whole_failure_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """The log has every frame of the failure, those of Archetype too."""
    with caplog.at_level(logging.DEBUG, "archetype"):
        failure(failing(Raises()).step)
    assert "engine/executor.py" in caplog.text
    assert 'raise ValueError("boom")' in caplog.text


def test_a_setting_keeps_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """``ARCHETYPE_FULL_TRACEBACK=1`` prints everything; ``0`` is the default."""
    world = failing(Raises())
    monkeypatch.setenv("ARCHETYPE_FULL_TRACEBACK", "1")
    assert len(lines(failure(world.step))) > 2 * MOST_LINES
    monkeypatch.setenv("ARCHETYPE_FULL_TRACEBACK", "0")
    assert len(lines(failure(world.step))) <= MOST_LINES


def observe(event: object) -> None:
    """Fails as a hook."""
    raise ValueError("from a hook")


async def observe_later(event: object) -> None:
    """Fails as a hook that awaits."""
    await asyncio.sleep(0)
    raise ValueError("from a hook")


@pytest.mark.parametrize("handler", [observe, observe_later])
@pytest.mark.parametrize("event", [PreTick, PostTick])
def test_a_failing_hook_shows_the_users_lines(
    handler: Callable[[object], object], event: type[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A fail-fast hook has a short traceback too, and its log record does not print a second one."""
    world = World(MemoryStore(), hooks=[])
    world.add_hook(event, handler, fail_fast=True)
    error = failure(world.step)
    assert isinstance(error, HookError)
    assert error.reason == "ValueError: from a hook"
    assert shown(error)[-1] == 'raise ValueError("from a hook")'
    printed = lines(error)
    assert printed[-1].endswith("[ARC-T005]")
    assert len(printed) <= MOST_LINES
    (record,) = caplog.records
    assert record.exc_info is None


def test_the_log_of_an_ordinary_hook_has_the_users_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A hook that may fail is logged with its own lines, and no others."""
    world = World(MemoryStore(), hooks=[(PreTick, observe)])
    asyncio.run(world.step())
    assert 'raise ValueError("from a hook")' in caplog.text
    assert "engine/hook.py" not in caplog.text


class Skipped(Raises):
    on_error = "skip"


def test_the_log_of_a_skipped_processor_has_the_users_lines(caplog: pytest.LogCaptureFixture) -> None:
    """A processor that is skipped is logged with its own lines, and no others."""
    asyncio.run(failing(Skipped()).step())
    assert 'raise ValueError("boom")' in caplog.text
    assert "engine/executor.py" not in caplog.text


SCRIPT = """
import asyncio
import numpy as np
from archetype_core import Component, MemoryStore, Processor, World

class Position(Component):
    x: float = 0.0

def helper():
    return np.linalg.inv(np.zeros((2, 2)))

class Bad(Processor):
    components = (Position,)

    def process(self, df):
        helper()
        return df

async def main():
    world = World(MemoryStore(), processors=[Bad()])
    world.spawn(Position())
    await world.step()
    await world.run(3)

asyncio.run(main())
"""


def test_a_script_prints_a_short_traceback(tmp_path: Path) -> None:
    """An uncaught error of a script prints at most 25 lines, the user's own last."""
    script = tmp_path / "model.py"
    script.write_text(SCRIPT)
    ran = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    printed = ran.stderr.rstrip().splitlines()
    assert ran.returncode == 1
    assert len(printed) <= MOST_LINES
    assert printed[-1].endswith(REMEDY)
    assert [one.strip() for one in printed if f'"{script}"' in one] == [
        f'File "{script}", line {number}, in {name}'
        for number, name in ((25, "<module>"), (23, "main"), (16, "process"), (10, "helper"))
    ]


def raised(call: Callable[[], object]) -> Exception:
    """What a call raises, without the frame of this function."""
    try:
        call()
    except Exception as caught:  # noqa: BLE001  # reason: returned
        error = caught
    trace = error.__traceback__
    return error.with_traceback(None if trace is None else trace.tb_next)


def test_an_error_raised_on_purpose_shows_the_users_line_alone() -> None:
    """A refused argument is no matter of Archetype's own lines."""
    world = World(MemoryStore())
    error = raised(lambda: world.query(ticks="3"))  # type: ignore[arg-type]  # reason: the mistake of this test
    assert len(traceback.extract_tb(error.__traceback__)) == 1


def module(name: str, source: str, filename: Path) -> dict[str, Any]:
    """The names of a module that is made here, in place of one of an installed package."""
    filename.write_text(textwrap.dedent(source))
    names: dict[str, Any] = {"__name__": name, "__file__": str(filename)}
    exec(compile(filename.read_text(), str(filename), "exec"), names)  # noqa: S102  # reason: the source is above
    return names


def test_a_defect_keeps_all_its_frames(tmp_path: Path) -> None:
    """An error that our code does not raise on purpose is reported with every line of ours."""
    source = """
        def inner(mapping):
            return mapping["missing"]
        def outer(mapping):
            return inner(mapping)
        """
    outer = door(module("archetype_core.made", source, tmp_path / "made.py")["outer"])
    error = raised(lambda: outer({}))
    assert shown(error)[-2:] == ["return inner(mapping)", 'return mapping["missing"]']


def test_a_bare_assertion_tells_what_it_asserts(tmp_path: Path) -> None:
    """An ``assert`` without a message says nothing itself, so its source line stands for it."""
    # in a module that pytest does not rewrite
    source = """
        def check(size):
            assert size > 100
        """
    check = module("model", source, tmp_path / "model.py")["check"]

    class Asserts(Processor):
        components = (Position,)

        def process(self, df: DataFrame) -> DataFrame:
            check(df.count_rows())
            return df

    error = failure(failing(Asserts()).step)
    assert isinstance(error, ProcessorError)
    assert error.reason == "AssertionError: assert size > 100"


def test_lines_between_two_of_the_users_are_kept() -> None:
    """A library that calls back is shown between the user's lines; Archetype's and asyncio's lines are not."""

    def compare(value: int) -> int:
        raise LookupError(value)

    def user() -> None:
        textwrap.re.sub("a", lambda _: str(compare(1)), "a")  # type: ignore[attr-defined]  # reason: a library with a frame

    error = raised(user)
    trim(error)
    names = [one.name for one in traceback.extract_tb(error.__traceback__)]
    assert names == ["user", "sub", "<lambda>", "compare"]


def test_a_door_looks_like_the_method_that_it_is_made_of() -> None:
    """Signature, name and docstring stay, and a coroutine function stays one."""
    assert list(inspect.signature(World.step).parameters) == ["self", "config", "applied", "inputs"]
    assert inspect.iscoroutinefunction(World.step)
    assert World.step.__qualname__ == "World.step"
    assert (World.step.__doc__ or "").startswith("Run one tick")


def test_an_unknown_keyword_argument_gets_a_suggestion() -> None:
    """A misspelt argument of a door says which one may be meant, and shows the user's line alone."""
    world = World(MemoryStore())
    error = raised(lambda: world.query(Position, tick=3))  # type: ignore[call-arg]  # reason: the mistake of this test
    assert "id you mean" in str(error)
    assert "ticks" in str(error)
    assert len(traceback.extract_tb(error.__traceback__)) == 1
    listed = raised(lambda: world.query(Position, zzz=3))  # type: ignore[call-arg]  # reason: the mistake of this test
    assert "it takes ticks, entity_ids" in str(listed)
    update = raised(lambda: door(World.update)(world, 1, x=3))  # type: ignore[call-arg]  # reason: the mistake of this test
    assert str(update).endswith("it takes entities, *components")


def test_cancelling_is_left_alone() -> None:
    """A cancelled step raises ``CancelledError`` as it is."""

    class Sleeps(Processor):
        components = (Position,)

        async def process(self, df: DataFrame) -> DataFrame:
            started.set()
            await asyncio.Event().wait()
            return df

    async def main() -> None:
        task = asyncio.ensure_future(world.step())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    started = asyncio.Event()
    world = World(MemoryStore(), processors=[Sleeps()])
    world.spawn(Position())
    asyncio.run(world.step())
    asyncio.run(main())
