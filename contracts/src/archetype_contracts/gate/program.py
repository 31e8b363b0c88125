"""The clause that runs the state machine: for any program the gate agrees with the model."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from archetype_contracts.gate.machine import GateMachine
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.subject import GateSubject

_STEPS = 30


@clause(
    "G-901",
    "Any program of commands by several actors over several worlds, with ticks, days and reopenings, agrees with a model "
    "in plain Python.",
)
def any_program(subject: GateSubject) -> None:
    # Settings on the machine's class would replace the active profile and miss subclasses.
    chosen = settings(deadline=None, stateful_step_count=_STEPS, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)

    def machine() -> GateMachine:
        return GateMachine(subject.another())

    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[arg-type]  # reason: any callable that returns a machine works
