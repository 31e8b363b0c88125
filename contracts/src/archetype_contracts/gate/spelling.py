"""How calls and answers are written in the program that a failure prints."""

from __future__ import annotations

from typing import Any

from archetype_core.command import Command, RunResult, StepResult, Ticket, WorldInfo

_SHOWN = 120


def spell_command(command: Command[Any]) -> str:
    """A command by what it asks."""
    asked = ", ".join(f"{name}={value!r}" for name, value in command.describe().items() if value is not None)
    return clipped(f"{type(command).__name__}({asked})")


def spell_answer(answer: object) -> str:
    """An answer by what matters of it."""
    match answer:
        case WorldInfo():
            waits = f", {answer.queued} queued, {answer.pending} pending" if answer.queued or answer.pending else ""
            return f"{answer.name} ({answer.world_id[-6:]}) at tick {answer.tick}, {answer.entities} entities{waits}"
        case Ticket():
            ids = f" for {[*answer.entity_ids]}" if answer.entity_ids else ""
            return f"{answer.command_id[-6:]}{ids}"
        case StepResult():
            return f"tick {answer.tick}, {answer.applied} applied"
        case RunResult():
            return f"ticks {answer.first_tick} to {answer.final_tick}, {answer.applied} applied"
        case tuple() | list() if len(answer) > 3:
            return f"{len(answer)} of them"
        case tuple() | list():
            return ", ".join(map(spell_answer, answer)) or "nothing"
    if type(answer).__name__ == "DataFrame":
        return "a frame"
    return clipped(str(answer))


def clipped(text: str) -> str:
    """The text, or its beginning where it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
