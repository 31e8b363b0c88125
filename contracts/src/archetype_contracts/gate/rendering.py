"""Short forms of calls and answers for the program that a failure prints."""

from __future__ import annotations

from typing import Any

from archetype_core.command import Command, RunResult, StepResult, Ticket, WorldInfo

_MAX_LENGTH = 120


def render_command(command: Command[Any]) -> str:
    """A command with its arguments."""
    asked = ", ".join(f"{name}={value!r}" for name, value in command.describe().items() if value is not None)
    return clipped(f"{type(command).__name__}({asked})")


def render_answer(answer: object) -> str:
    """The main parts of an answer."""
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
            return ", ".join(map(render_answer, answer)) or "nothing"
    if type(answer).__name__ == "DataFrame":
        return "a frame"
    return clipped(str(answer))


def clipped(text: str) -> str:
    """The text, shortened if it is long."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"
