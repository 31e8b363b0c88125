"""Labels and resource fields of episodes: which values they take, and the columns that they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import Move, Position, Velocity, drive

from archetype_core import World, open_store
from archetype_core.command import EpisodeResult, RolloutConfig, RolloutResult
from archetype_core.read import Branch, HistoryQuery, Labels, query_branches

same_type = st.sampled_from(
    [st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8"))]
)
columns = st.dictionaries(st.sampled_from(["a", "b", "variant"]), same_type)


@dataclass
class Wind:
    """A resource."""

    speed: float
    source: object = None
    _hidden: int = 0


class Tide:
    """A resource that is no dataclass."""

    def __init__(self) -> None:
        self.height = np.int32(3)
        self.curve = [1.0]


@pytest.mark.parametrize(
    ("labels", "error", "word"),
    [
        ({"episode": 1}, ValueError, "'episode'"),
        ({"a__b": 1}, ValueError, "identifier"),
        ({"two words": 1}, ValueError, "identifier"),
        ({1: 1}, ValueError, "identifier"),
        ({"a": [1]}, TypeError, "'a'"),
        ({"a": 2**63}, TypeError, "64-bit"),
        ([{"a": 1}], ValueError, "1 labels for 2 episodes"),
        ([{"a": 1}, {"a": "x"}], TypeError, "'a' must be of one type"),
        ([{"a": 1}, {"a": True}], TypeError, "'a' must be of one type"),
        ([{"a": 1}, 2], TypeError, "mapping"),
        ("variant", TypeError, "sequence"),
    ],
)
def test_wrong_labels_are_refused(labels: Any, error: type[Exception], word: str) -> None:
    """A label that cannot be a column is refused when the configuration is made (R2)."""
    with pytest.raises(error, match=word):
        RolloutConfig(2, labels=labels)


@pytest.mark.parametrize(
    ("resources", "error"), [([{Wind: Wind(1)}], ValueError), ([Wind(1), Wind(2)], TypeError), (7, TypeError)]
)
def test_wrong_resources_are_refused(resources: Any, error: type[Exception]) -> None:
    """Resources of episodes are one mapping for each (R2)."""
    with pytest.raises(error, match="resources"):
        RolloutConfig(2, resources=resources)


def test_simple_fields_of_resources_are_columns() -> None:
    """Fields of resources that were given for each episode become columns: public ones with a simple value (R2)."""
    config = RolloutConfig(2, resources=[{Wind: Wind(1, source=[]), Tide: Tide()}, {Wind: Wind(2.5, source=[])}])
    assert config.parameters_of(0) == {"wind__speed": 1, "tide__height": 3}
    assert config.parameters_of(1) == {"wind__speed": 2.5}
    assert RolloutConfig(2, resources={Wind: Wind(1)}).parameters_of(1) == {}


def test_values_of_numpy_are_plain() -> None:
    """A label that is a scalar of numpy becomes the Python value (R2)."""
    given: list[Any] = list(np.arange(2))
    config = RolloutConfig(2, labels=[{"a": one} for one in given])
    assert [config.labels_of(one) for one in range(2)] == [{"a": 0}, {"a": 1}]
    assert type(config.labels_of(1)["a"]) is int


@given(st.data())
def test_labels_are_columns_of_rows_and_results(data: st.DataObject) -> None:
    """Each row of a query and of a result has the labels of its episode, and null where it has none (R2, Q2)."""
    types = data.draw(columns)
    rows: list[dict[str, Any]] = [
        {name: data.draw(st.none() | type_) for name, type_ in types.items() if data.draw(st.booleans())}
        for _ in range(3)
    ]
    config = RolloutConfig(3, labels=rows)
    episodes = [
        EpisodeResult("w", f"b{number}", "r", number, number, 0, 1, "max_steps", 0.1, labels=config.labels_of(number))
        for number in range(3)
    ]
    found = RolloutResult("r", "w", tuple(episodes), 1.0).frame().to_pylist()
    expected = [
        {name: one.get(name) for one in [row] for name in types if any(name in r for r in rows)} for row in rows
    ]
    assert [{name: row[name] for name in wanted} for row, wanted in zip(found, expected, strict=True)] == expected
    assert found[0].keys() >= {"name", "episode", "seed", "reason", "steps", "score", "error"}


def test_labels_are_filtered_and_grouped() -> None:
    """Labels of branches are columns that a query can filter, also in its `where`; a component's column is not hidden (Q2)."""

    async def scenario() -> None:
        from daft import col, lit

        store = open_store("memory:")
        there = World(store, processors=[Move()])
        there.spawn(Position(), Velocity(dx=1.0))
        await there.run(2)
        branches = []
        given: list[Labels] = [{"wind": 0.5}, {"wind": 1, "kind": "x"}, {}]
        for number, labels in enumerate(given):
            fork = await there.fork(f"b{number}")
            await fork.run(1)
            timeline = fork.timeline()
            assert timeline is not None
            branches.append(Branch(timeline.own(fork.world_id), fork.name, fork.seed, number, labels))
        frame = query_branches(store, branches, HistoryQuery((Position,)))
        assert frame.sort("episode").select("wind", "kind").to_pydict() == {
            "wind": [0.5, 1.0, None],
            "kind": [None, "x", None],
        }
        assert frame.where(col("wind") > lit(0.7)).to_pydict()["episode"] == [1]
        found = query_branches(store, branches, HistoryQuery((Position,), where=col("kind") == lit("x")))
        assert found.select("branch").to_pydict() == {"branch": ["b1"]}
        hiding = [Branch(branches[0].timeline, "b", 0, 0, {"position__x": 1.0})]
        with pytest.raises(ValueError, match="position__x"):
            query_branches(store, hiding, HistoryQuery((Position,)))

    drive(scenario)
