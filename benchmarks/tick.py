"""A whole in-memory tick: in milliseconds, against the same tick through Daft's runner, and against numpy."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import _measure
import _movement
import daft
import numpy as np
from daft import DataFrame


class ThroughRunner(_movement.Movement):
    """The same movement as a plan of Daft's own, which its runner executes."""

    async def process(self, df: DataFrame) -> DataFrame:
        """The moved frame, as a plan."""
        return await super().process(daft.from_arrow(cast(Any, df).snapshot.to_arrow()))


async def figures(quick: bool) -> dict[str, float]:
    """All figures by name."""
    found: dict[str, float] = {}
    for entities in (1, 1_000, 1_000_000):
        count = 5 if quick else 300 if entities < 1_000_000 else 15
        ours = await _movement.moving(entities)
        runner = await _movement.moving(entities, processor=ThroughRunner())
        start = _movement.columns(entities)
        history: list[tuple[np.ndarray, np.ndarray]] = [(start["position__x"], start["position__y"])]

        async def numpy(start: dict = start, history: list = history) -> None:
            x, y = history[-1]
            history.append((x + start["velocity__dx"], y + start["velocity__dy"]))

        median = await _measure.rounds(count, ours=ours.step, runner=runner.step, numpy=numpy)
        _movement.check(ours, entities)
        _movement.check(runner, entities)
        assert ours.digest() == runner.digest()
        found[f"tick_ms_{entities}"] = median["ours"] * 1e3
        found[f"runner_over_ours_{entities}"] = median["runner"] / median["ours"]
        if entities == 1_000_000:
            found[f"ours_over_numpy_{entities}"] = median["ours"] / median["numpy"]
            (before,) = ours.tables(ours.tick - 2).values()
            (after,) = ours.tables().values()
            shared = {
                name
                for name in after.columns
                if after.columns[name].arrow.buffers()[1].address == before.columns[name].arrow.buffers()[1].address
            }
            assert shared == {"entity_id", "velocity__dx", "velocity__dy"}, shared
            found["columns_shared_with_last_tick"] = len(shared)
    return found


BOUNDS = {
    "tick_ms_1": ("<=", 1.0),
    "tick_ms_1000": ("<=", 1.0),
    "runner_over_ours_1": (">=", 7.0),
    "runner_over_ours_1000": (">=", 7.0),
    "ours_over_numpy_1000000": ("<=", 3.0),
}

if __name__ == "__main__":
    options = _measure.arguments(__doc__)
    _measure.report("tick", asyncio.run(figures(options.quick)), BOUNDS, options.out)
