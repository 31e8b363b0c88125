"""The display of worlds and of their progress."""

from __future__ import annotations

import io
import sys

import pytest
from runtime_scene import Movement, Position, Velocity, with_runtime

from archetype import VIEWER, ActorCtx, ArchetypeRuntime, Policy, ProgressBars

# What a terminal is sent when a display begins and ends.
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_repr_shows_the_world() -> None:
    """A handle shows tick, entities per archetype, branch and last tick, and leaves no audit row."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo", processors=[Movement()])
        assert repr(world) == "RuntimeWorld('demo', not active yet)"
        assert "not active yet" in world._repr_html_()
        await world.spawn(Position(), Velocity(dx=1))
        await world.spawn(Position())
        await world.step()
        fork = await world.fork("<fork>")
        await fork.spawn(Position())
        before = (await world.history(1000)).count_rows()
        shown = repr(world)
        assert shown.startswith("RuntimeWorld('demo', tick 1, 2 entities (")
        assert "Position + Velocity: 1" in shown
        assert "last tick " in shown
        assert "branch of" not in shown
        assert f"branch of {world.world_id}" in repr(fork)
        assert "staged 1" in repr(fork)
        page = fork._repr_html_()
        assert "<b>&lt;fork&gt;</b>" in page
        assert "<fork>" not in page
        assert (await world.history(1000)).count_rows() == before + 1
        assert repr(runtime) == "ArchetypeRuntime(2 worlds up)"

    with_runtime(main)


def test_sync_repr() -> None:
    """Sync handles and runtimes show the same under their own names."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo")
        world.spawn(Position())
        world.step()
        assert repr(world).startswith("SyncRuntimeWorld('demo', tick 1, 1 entity (Position: 1)")
        assert repr(runtime) == "SyncArchetypeRuntime(1 worlds up)"
        assert "<td" in world._repr_html_()
    assert repr(runtime) == "SyncArchetypeRuntime(shut down)"


def test_repr_shows_no_more_than_the_actor_may_see() -> None:
    """A handle shows nothing of a world that its actor may not read (SC5)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        await world.spawn(Position())
        blind = world.as_actor(ActorCtx("blind", {"nothing"}))
        assert repr(blind) == "RuntimeWorld('demo', hidden by policy)"
        assert "entit" in repr(world.as_actor(ActorCtx("viewer", {VIEWER})))

    with_runtime(main, policy=Policy())


def ran(progress: bool | ProgressBars) -> None:
    """Run worlds for some ticks, one alone and then both at once."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("[red]demo", processors=[Movement()])
        await world.spawn(Position(), Velocity(dx=1))
        await world.run(20)
        await world.fork("other")
        await runtime.run_all(20)
        print("printed")

    with_runtime(main, progress=progress)


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal a run draws a bar, under the world's name as it is, and what the program prints is not in its way."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    ran(ProgressBars(delay_s=0.0, stream=stream))
    assert "[red]demo" in stream.getvalue()
    assert "20/20" in stream.getvalue()
    assert capsys.readouterr() == ("printed\n", "")


def test_bar_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is given a stream, a bar is drawn on standard error."""
    monkeypatch.setenv("TERM", "xterm")
    error = Terminal()
    monkeypatch.setattr(sys, "stderr", error)
    ran(ProgressBars(delay_s=0.0))
    assert "20/20" in error.getvalue()


def test_no_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, or with `progress=False`, nothing is drawn."""
    file, error = io.StringIO(), Terminal()
    ran(ProgressBars(delay_s=0.0, stream=file))
    assert file.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", error)
    ran(progress=False)
    ran(ProgressBars(is_wanted=False, delay_s=0.0))
    assert error.getvalue() == ""


def test_bars_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars of runs at the same time are one display, which ends with the last of them; one step draws none."""
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    bars = ProgressBars(delay_s=0.0, stream=stream)
    with bars.bar("a", 10) as one, bars.bar("single", 1) as none:
        assert none is None
        assert one is not None
        one(5, 10)
        with bars.bar("b", 10) as other:
            assert other is not None
            other(10, 10)
        assert SHOW_CURSOR not in stream.getvalue()
    shown = stream.getvalue()
    assert shown.count(HIDE_CURSOR) == shown.count(SHOW_CURSOR) == 1
    with bars.bar("again", 10) as again:
        assert again is not None
        again(1, 10)
    assert stream.getvalue().count(HIDE_CURSOR) == 2


def test_short_work_shows_no_bar() -> None:
    """A run that ends before the delay draws none."""
    stream = Terminal()
    bars = ProgressBars(delay_s=float("inf"), stream=stream)
    with bars.bar("a", 10) as report:
        assert report is not None
        report(5, 10)
    assert stream.getvalue() == ""
