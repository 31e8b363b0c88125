"""The model of the tick at length: many programs, and the machine finds every mutant by itself."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from tick_machine import TickMachine
from tick_mutants import MUTANTS

TestLong = TickMachine.TestCase
TestLong.settings = settings(max_examples=300, stateful_step_count=12)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_machine_finds_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state machine draws a program that notices it."""
    MUTANTS[name](monkeypatch)
    often = settings(
        max_examples=500,
        stateful_step_count=8,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(Exception):  # noqa: B017, PT011  # reason: a broken engine may fail anyhow
        run_state_machine_as_test(TickMachine, settings=often)
