"""The clause that runs the state machine: whatever the program, the store agrees with the model."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from archetype_contracts.store.book import clause
from archetype_contracts.store.machine import StoreMachine
from archetype_contracts.store.subject import StoreSubject

_STEPS = 30


@clause(
    "S-950", "Any program of commits, forks, runs, conflicts, crashes and reads agrees with a model in plain Python."
)
def any_program(subject: StoreSubject) -> None:
    # Made here: settings on a machine's class would not reach the active profile, nor a subclass.
    chosen = settings(deadline=None, stateful_step_count=_STEPS, suppress_health_check=list(HealthCheck))
    if subject.examples is not None:
        chosen = settings(chosen, max_examples=subject.examples)

    def machine() -> StoreMachine:
        return StoreMachine(subject.another())

    # anything that makes a machine will do; the annotation asks for a class
    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[arg-type]  # reason: it takes any callable
