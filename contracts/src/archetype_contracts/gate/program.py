"""The clause that runs the state machine: whatever the program, the gate agrees with the model."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.machine import GateMachine
from archetype_contracts.gate.subject import GateSubject

_STEPS = 30


@clause(
    "G-901",
    "Any program of commands by any actors over several worlds, with ticks, days and reopenings, agrees with a model of "
    "policy, quotas, order, entities and audit in plain Python.",
)
def any_program(subject: GateSubject) -> None:
    # Made here: settings on a machine's class would not reach the active profile, nor a subclass.
    chosen = settings(deadline=None, stateful_step_count=_STEPS, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)

    def machine() -> GateMachine:
        return GateMachine(subject.another())

    # anything that makes a machine will do; the annotation asks for a class
    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[arg-type]  # reason: it takes any callable
