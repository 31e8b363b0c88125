"""A program with a named rollout, which kills itself at a moment of it: ``rollout_child.py DIRECTORY PARALLEL MOMENT``.

A moment is ``tick:SEED:TICK``, ``score:SEED`` or ``end:base-epN`` (the result is stored, the fork is not destroyed yet). It
prints the results as JSON if it lives; the seeds of all ticks are appended to the file ``ticks`` in the directory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from daft import DataFrame
from runtime_scene import Position

from archetype import ArchetypeRuntime, EpisodeConfig, OnDestroy, Processor, RolloutConfig, WorldView

SEEDS = (10, 11, 12, 13)
STEPS = 3


class Walk(Processor):
    """A random walk."""

    components = (Position,)

    def __init__(self, die: Any, ticks: Path) -> None:
        self.die, self.ticks = die, ticks

    def process(self, df: DataFrame, rng: Any, world: WorldView, tick: int) -> DataFrame:
        if tick:
            with self.ticks.open("a") as file:
                file.write(f"{world.seed}\n")
            self.die(f"tick:{world.seed}:{tick}")
        return df.with_columns({"position__x": Position.c.x + float(rng.normal())})


def main(directory: Path, parallel: int, moment: str) -> None:
    """Open or create the world, and run the rollout."""

    def die(now: str) -> None:
        if now == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def score(view: WorldView) -> float:
        die(f"score:{view.seed}")
        return view.get(1)[Position].x

    with ArchetypeRuntime.sync(f"journal:{directory}/store") as runtime:
        hooks = [(OnDestroy, lambda event: die(f"end:{event.world.name.rpartition('-')[0]}"))]
        world = runtime.world("base", processors=[Walk(die, directory / "ticks")], hooks=hooks, seed=7)
        if world.info().tick == 0:
            world.spawn(Position())
            world.step()
        config = RolloutConfig(
            num_episodes=len(SEEDS),
            episode_config=EpisodeConfig(STEPS, score=score),
            parallel=parallel,
            seeds=SEEDS,
            labels=[{"number": number} for number in range(len(SEEDS))],
            name="walks",
        )
        rollout = world.run_rollout(config)
        rows = rollout.query(Position).sort(["episode", "tick"]).select("seed", "number", "tick", "position__x")
        found = {
            "rows": rows.to_pydict(),
            "episodes": rollout.frame().exclude("name").to_pydict(),
            "worlds": [one.name for one in runtime.worlds()],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
