"""Calls without `await`, from any thread."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from runtime_scene import AwaitsCall, Calls, Movement, Position, Velocity, in_thread

from archetype import ActorCtx, ArchetypeRuntime, PostTick, RuntimeClosed, WorldClosed, run_sync
from archetype.interrupt import release, uninterrupted
from archetype.sync_runner import SyncRunner
from archetype_gate import Policy


def test_with_runtime_without_await() -> None:
    """A sync runtime leaves no loop in the thread, and is closed after its block (RT6, SC3)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo", processors=[Movement()])
        world.spawn(Position(), Velocity(dx=1))
        world.run(2)
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
    runtime.shutdown()
    with pytest.raises(RuntimeClosed):
        world.step()
    with pytest.raises(RuntimeClosed):
        runtime.world("again")
    with pytest.raises(RuntimeClosed), runtime:
        pass


def test_inside_a_running_loop() -> None:
    """Where a loop runs already, as in a notebook, a sync runtime works on its own loop, hooks included (RT6)."""
    ticks: list[int] = []

    async def cell() -> None:
        outer = asyncio.get_running_loop()

        def hook(event: PostTick) -> None:
            assert asyncio.get_running_loop() is not outer
            ticks.append(event.world.info().tick)

        with ArchetypeRuntime.sync("memory:") as runtime:
            world = runtime.world("demo", hooks=[(PostTick, hook)])
            world.spawn(Position())
            world.run(2)
            assert world.query(Position).count_rows() == 2

    asyncio.run(cell())
    assert ticks == [1, 2]


def test_threads_take_turns() -> None:
    """Many threads may use one sync runtime at the same time."""
    with ArchetypeRuntime.sync("memory:") as runtime, ThreadPoolExecutor(8) as pool:
        world = runtime.world("demo")
        ids = list(pool.map(lambda _: world.spawn(Position()), range(200)))
        assert sorted(ids) == list(range(1, 201))
        results = list(pool.map(lambda _: world.step(), range(20)))
        assert sorted(result.tick for result in results) == list(range(20))


def test_call_while_another_thread_runs() -> None:
    """A call from another thread is served during a run, and also when the run ends first."""
    runner, begun, go_on = SyncRunner(), threading.Event(), threading.Event()

    async def long() -> str:
        begun.set()
        await asyncio.to_thread(go_on.wait)
        return "long"

    async def short() -> str:
        return "short"

    async def longer() -> str:
        go_on.set()
        await asyncio.to_thread(leader.result)
        return "longer"

    leader = in_thread(lambda: runner.call(long()))
    begun.wait()
    assert runner.call(short()) == "short"
    # The first thread leaves the loop once it has its result; this thread runs the loop on.
    assert runner.call(longer()) == "longer"
    assert leader.result() == "long"
    runner.close()
    runner.close()
    with pytest.raises(RuntimeClosed):
        runner.call(short())


def test_errors_arrive_where_the_call_was_made() -> None:
    """An error reaches the caller, whichever thread runs the loop."""
    runner = SyncRunner()
    begun, go_on = threading.Event(), threading.Event()

    async def lead() -> None:
        begun.set()
        await asyncio.to_thread(go_on.wait)

    async def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        runner.call(fail())
    leader = in_thread(lambda: runner.call(lead()))
    begun.wait()
    with pytest.raises(KeyError):
        runner.call(fail())
    go_on.set()
    leader.result()

    async def cell() -> None:
        with pytest.raises(KeyError):
            runner.call(fail())

    asyncio.run(cell())

    async def inside() -> None:
        with pytest.raises(KeyError):
            runner.call(fail(), "nothing")
        with pytest.raises(KeyError):
            runner.call(fail(), "threads")

    runner.call(inside())
    runner.close()


def test_shutdown_from_another_thread_ends_a_run() -> None:
    """A shutdown from another thread ends a run with WorldClosed (C4)."""
    begun = threading.Event()
    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo", processors=[Calls(begun.set)])
        world.spawn(Position())
        run = in_thread(lambda: world.run(1_000_000))
        begun.wait()
        world.shutdown()
        with pytest.raises(WorldClosed):
            run.result()


INTERRUPTED = """
import asyncio, os, signal, sys
from archetype import ActorCtx, ArchetypeRuntime, Component, Processor

class Position(Component):
    x: float = 0.0

class Interrupted(Processor):
    components = (Position,)
    def process(self, df, tick):
        if tick == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return df

# A process that is started in the background may ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def script():
    with ArchetypeRuntime.sync("journal:./data") as runtime:
        world = runtime.world("demo", processors=[Interrupted()])
        world.spawn(Position())
        try:
            world.run(1_000_000)
        except KeyboardInterrupt:
            print("interrupted")
        assert 3 <= world.info().tick < 1_000_000
        world.remove_processor(Interrupted)
        world.step()
        print(world.query(Position).count_rows() == world.info().tick)

async def cell():
    script()

if sys.argv[1:]:
    # As a notebook's kernel does; asyncio.run() would handle the interrupt itself.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(cell())
    loop.close()
else:
    script()
"""


@pytest.mark.thorough
@pytest.mark.parametrize("where", [(), ("in a loop",)], ids=["script", "notebook"])
def test_interrupt_ends_a_run_and_not_the_runtime(tmp_path: Path, where: tuple[str, ...]) -> None:
    """Ctrl-C ends a run with KeyboardInterrupt between two ticks; runtime and world stay usable."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INTERRUPTED, *where],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["interrupted", "True"]), done.stderr


def test_run_sync() -> None:
    """`run_sync` runs a coroutine that makes its own runtime; inside a loop it is a RuntimeError (SC3)."""

    async def main() -> int:
        async with ArchetypeRuntime("memory:") as runtime:
            return await runtime.world("demo").spawn(Position())

    assert run_sync(main()) == 1

    async def cell() -> None:
        with pytest.raises(RuntimeError, match="await"):
            run_sync(main())

    asyncio.run(cell())


def test_sync_table_of_a_lazy_frame() -> None:
    """`spawn_table` takes a mapping or a lazy frame, also from a processor on the loop."""
    import daft

    counts: list[int] = []

    async def call() -> None:
        await asyncio.sleep(0)
        counts.append(len(world.spawn_table(daft.from_pydict({"x": [1.0, 2.0]}), Position)))

    with ArchetypeRuntime.sync("memory:") as runtime:
        world = runtime.world("demo", processors=[AwaitsCall(call)])
        assert world.spawn_table({"x": [1.0]}, Position) == range(1, 2)
        assert world.spawn_table(daft.from_pydict({"x": [1.0, 2.0]}), Position) == range(2, 4)
        world.step()
        world.step()
        assert counts == [2]
        assert (world.info().entities, world.info().pending) == (3, 2)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also where the tests were started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupting(Policy):
    """Somebody presses Ctrl-C while a spawn is authorized."""

    def allows(self, actor: ActorCtx, kind: str) -> bool:
        if kind == "spawn":
            signal.raise_signal(signal.SIGINT)
        return super().allows(actor, kind)


@pytest.mark.usefixtures("interruptible")
def test_a_mutation_is_not_cut_by_an_interrupt() -> None:
    """Ctrl-C in the middle of a mutation is raised after it: it is staged and on record as a whole (T6, G4)."""
    with ArchetypeRuntime.sync("memory:", policy=Interrupting()) as runtime:
        world = runtime.world("demo")
        world.step()
        with pytest.raises(KeyboardInterrupt):
            world.spawn(Position())
        world.step()
        assert world.info().entities == 1
        assert [row["status"] for row in runtime.history(type="spawn")] == ["applied"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_stops_what_hangs() -> None:
    """The second Ctrl-C is raised at once, in the middle of the block."""
    reached: list[int] = []

    def hang() -> None:
        with uninterrupted():
            for times in range(3):
                signal.raise_signal(signal.SIGINT)
                reached.append(times)

    with pytest.raises(KeyboardInterrupt):
        hang()
    assert reached == [0]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    release()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_calls_that_wait_for_nothing_need_no_loop() -> None:
    """A mutation of a world that is up runs in the thread of its caller, while another thread steps (T14)."""
    with ArchetypeRuntime.sync("memory:") as runtime:
        began, ended = threading.Event(), threading.Event()

        def hang() -> None:
            began.set()
            ended.wait(30)

        world = runtime.world("demo")
        world.spawn(Position())
        world.step()
        world.add_processor(Calls(hang))
        ticking = threading.Thread(target=world.step)
        ticking.start()
        try:
            assert began.wait(30)
            assert world.spawn(Position()) == 2
        finally:
            ended.set()
            ticking.join()
        world.step()
        assert world.info().entities == 2
