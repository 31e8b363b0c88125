"""The clause that runs the state machine: for any program the store agrees with the model."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from archetype_contracts.store.machine import StoreMachine
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject

_STEPS = 30


@clause(
    "S-950", "Any program of commits, forks, runs, conflicts, crashes and reads agrees with a model in plain Python."
)
def any_program(subject: StoreSubject) -> None:
    # Settings on the machine's class would replace the active profile and miss subclasses.
    chosen = settings(deadline=None, stateful_step_count=_STEPS, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)

    def machine() -> StoreMachine:
        return StoreMachine(subject.another())

    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[arg-type]  # reason: any callable that returns a machine works
