"""Clauses on power cuts: an acknowledged tick must have been synced."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Sequence
from pathlib import Path

from archetype_contracts.crash.case import Call, Fault, Kind, Outcome
from archetype_contracts.crash.disk import Disk
from archetype_contracts.crash.registry import clause
from archetype_contracts.crash.subject import SHORT, Acknowledged, CrashSubject, Trial
from archetype_contracts.crash.trace import Event, events
from archetype_core.store import Capability

_PERSISTENT = [Capability.PERSISTENCE]
_LONG = 9


class Recording:
    """A run, the log of its system calls, and a model of the disk before it."""

    def __init__(self, trial: Trial, until: int, *, together: bool, fault: Fault | None = None) -> None:
        self.until = until
        self.disk = Disk(trial.place)
        log = trial.place.with_name(f"{trial.place.name} log")
        self.earlier = trial.acknowledged.copy()
        self.outcome: Outcome = trial.run(until, together=together, fault=fault, log=str(log))
        self.events: list[Event] = events(log)
        log.unlink()
        self.subject = trial.subject

    def acknowledged(self, count: int) -> Acknowledged:
        """The ticks that were acknowledged after the first ``count`` events."""
        result = self.earlier.copy()
        marks = [json.loads(event.path) for event in self.events[:count] if event.kind == "M"]
        # Of the tries after the last event nothing is on the disk, so they may be listed. A later refusal is left out: at
        # this moment the attempt may still have been on its way.
        result.attempts.note([*(line for line in self.outcome.lines if "tried" in line), *marks])
        window, now = self.subject.window_ns, self.events[count - 1].ns if count else 0
        for found in self.outcome.reported("found"):
            result.known.update({world: max(tick, result.known.get(world, -1)) for world, tick in found.items()})
        for world, tick, when in (mark["ack"] for mark in marks if "ack" in mark):
            result.known[world] = max(tick, result.known.get(world, -1))
            if window is not None and when <= now - window:
                result.required[world] = tick
        return result

    def acknowledgements(self, after: int = -1) -> list[int]:
        """The moments right after each acknowledgement that follows an event."""
        found = enumerate(self.events)
        return [
            index + 1 for index, one in found if index > after and one.kind == "M" and "ack" in json.loads(one.path)
        ]

    def moments(self, chance: random.Random, cuts: int) -> list[int]:
        """Random moments for power cuts, half of them right after an acknowledgement."""
        marks = self.acknowledgements()
        return sorted(
            chance.choice(marks) if marks and number % 2 else chance.randint(1, len(self.events))
            for number in range(cuts)
        )

    def try_cuts(self, moments: Sequence[int], chance: random.Random, about: str) -> None:
        """Cut the power at each moment and inspect the content that is left."""
        done = 0
        for moment in moments:
            while done < moment:
                self.disk.apply(self.events[done])
                done += 1
            with self.subject.trial(acknowledged=self.acknowledged(moment)) as trial:
                kept = self.disk.cut(trial.place, chance, self.subject.volatile)
                log = "\n  ".join(str(event)[:160] for event in self.events[max(0, moment - 24) : moment])
                trial.inspect(
                    None,
                    f"a power cut after event {moment} of {len(self.events)} ({about}), {kept}; the last events:\n  {log}\n",
                    self.until,
                )


@clause(
    "X-020",
    "A power cut at any moment loses no acknowledged tick, or no more than the declared window.",
    needs=_PERSISTENT,
)
def power_cuts(subject: CrashSubject) -> None:
    shares = 6

    def one(number: int) -> None:
        chance = random.Random(f"{subject.settings.seed} power {number}")  # noqa: S311  # reason: repeatable by its seed
        together = bool(number % 2)
        with subject.trial() as trial:
            # A third starts in an empty place, a third after a kill, a third after a close.
            if number >= 2:
                fault = Fault(Kind.KILL_BEFORE, chance.randint(20, 150)) if number < 4 else None
                trial.run(SHORT, together=together, fault=fault)
            until = _LONG if number % 3 else SHORT
            recording = Recording(trial, until, together=together)
            about = f"seed {subject.settings.seed}, recording {number}, until tick {until}, {together=}"
        cuts = subject.settings.cuts // shares + (number < subject.settings.cuts % shares)
        recording.try_cuts(recording.moments(chance, cuts), chance, about)

    subject.in_parallel(one, range(shares))
    subject.remarks.append(f"power cut at {subject.settings.cuts} random moments of {shares} runs")


@clause(
    "X-021",
    "A failed sync makes nothing durable: neither it nor a later sync of the same bytes acknowledges a tick.",
    needs=_PERSISTENT,
)
def failed_sync(subject: CrashSubject) -> None:
    _fail_syncs(subject, None, Acknowledged(), SHORT)
    closed = subject.place / "closed"
    with subject.trial() as trial:
        trial.run()
        trial.place.rename(closed)
        trial.place.mkdir()
        acknowledged = trial.acknowledged
    _fail_syncs(subject, closed, acknowledged, SHORT + 2)


def _fail_syncs(subject: CrashSubject, template: Path | None, acknowledged: Acknowledged, until: int) -> None:
    fault = Fault(Kind.FAIL, 0, int(Call.SYNC), error=errno.EIO)
    with subject.trial(template, acknowledged) as trial:
        count = trial.run(until, fault=Fault(Kind.NOTHING, 0, fault.classes)).count

    def one(number: int) -> None:
        chance = random.Random(f"{subject.settings.seed} sync {number}")  # noqa: S311  # reason: repeatable by its seed
        fault_here = Fault(Kind.FAIL, number, fault.classes, error=errno.EIO)
        with subject.trial(template, acknowledged) as trial:
            recording = Recording(trial, until, together=False, fault=fault_here)
        failed = next((index for index, event in enumerate(recording.events) if event.kind == "F"), 0)
        # The moment right after the next acknowledgement can lose the most.
        marks = recording.acknowledgements(failed)
        moments = sorted([chance.randint(failed + 1, len(recording.events)), *marks[:1], len(recording.events)])
        where = "a closed place" if template else "an empty place"
        recording.try_cuts(moments, chance, f"seed {subject.settings.seed}, {fault_here}, in {where}")

    subject.in_parallel(one, subject.spread(count, Call.SYNC))
