"""How worlds and their progress show themselves."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from runtime_scene import Movement, Position, Velocity, with_runtime

from archetype import VIEWER, ActorCtx, ArchetypeRuntime, Policy
from archetype.progress import Bars


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_repr_tells_of_the_world() -> None:
    """A handle shows tick, entities per archetype, branch and last tick, and asks nothing that is on record."""

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
    """Who may not read a world is not told of it by its handle either (SC5)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("demo")
        await world.spawn(Position())
        blind = world.as_actor(ActorCtx("blind", {"nothing"}))
        assert repr(blind) == "RuntimeWorld('demo', not to be seen)"
        assert "entit" in repr(world.as_actor(ActorCtx("viewer", {VIEWER})))

    with_runtime(main, policy=Policy())


def progress(monkeypatch: pytest.MonkeyPatch, error: Any, output: Any, **options: Any) -> str:
    """What a run and a rollout of a world write to standard error."""
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(Bars.__init__, "__kwdefaults__", {"is_wanted": True, "delay_s": 0.0})

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("[red]demo", processors=[Movement()])
        await world.spawn(Position(), Velocity(dx=1))
        await world.run(20)
        await runtime.run_all(20)
        print("printed")

    with_runtime(main, **options)
    return str(error.getvalue())


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a run draws a bar on standard error, under the world's name as it is, and output stays output."""
    monkeypatch.setenv("TERM", "xterm")
    output = io.StringIO()
    shown = progress(monkeypatch, Terminal(), output)
    assert "[red]demo" in shown
    assert "20/20" in shown
    assert output.getvalue() == "printed\n"


def test_no_bar_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, or with `progress=False`, nothing is drawn."""
    assert progress(monkeypatch, io.StringIO(), io.StringIO()) == ""
    assert progress(monkeypatch, Terminal(), io.StringIO(), progress=False) == ""


def test_bars_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Things that run at once share one display, which is gone with the last of them; one step draws none."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = Bars(delay_s=0.0)
    with bars.bar("a", 10) as one, bars.bar("b", 10) as other, bars.bar("single", 1) as none:
        assert none is None
        assert one is not None
        assert other is not None
        one(5, 10)
        other(10, 10)
        assert bars._shown is not None
        assert len(bars._shown.tasks) == 2
    assert bars._shown is None


def test_short_work_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is over before anybody could read a bar draws none."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    bars = Bars(delay_s=float("inf"))
    with bars.bar("a", 10) as tell:
        assert tell is not None
        tell(5, 10)
        assert bars._shown is None
