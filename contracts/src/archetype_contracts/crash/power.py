"""Clauses on power that goes: what was acknowledged rests on what was synced."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Sequence
from pathlib import Path

from archetype_contracts.crash.book import clause
from archetype_contracts.crash.case import Call, Fault, Kind, Outcome
from archetype_contracts.crash.disk import Disk
from archetype_contracts.crash.subject import SHORT, Acknowledged, CrashSubject, Trial
from archetype_contracts.crash.trace import Event, events
from archetype_core.store import Capability

_LASTS = [Capability.PERSISTENCE]
_LONG = 9


class Recording:
    """A life with everything that it did to the disk, and the disk as it was before."""

    def __init__(self, trial: Trial, until: int, *, together: bool, fault: Fault | None = None) -> None:
        self.until = until
        self.disk = Disk(trial.place)
        log = trial.place.with_name(f"{trial.place.name} log")
        self.earlier = Acknowledged(dict(trial.told.known), dict(trial.told.required))
        self.outcome: Outcome = trial.live(until, together=together, fault=fault, log=str(log))
        self.events: list[Event] = events(log)
        log.unlink()
        self.subject = trial.subject

    def acknowledged(self, count: int) -> Acknowledged:
        """What was acknowledged when so many events had happened."""
        told = Acknowledged(dict(self.earlier.known), dict(self.earlier.required))
        marks = [json.loads(event.path) for event in self.events[:count] if event.kind == "M"]
        window, now = self.subject.window_ns, self.events[count - 1].ns if count else 0
        for found in self.outcome.said("found"):
            told.known.update({world: max(tick, told.known.get(world, -1)) for world, tick in found.items()})
        for world, tick, when in marks:
            told.known[world] = max(tick, told.known.get(world, -1))
            if window is not None and when <= now - window:
                told.required[world] = tick
        return told

    def moments(self, chance: random.Random, cuts: int) -> list[int]:
        """Moments to cut: half of them right after an acknowledgement, when there is most to lose."""
        marks = [index + 1 for index, event in enumerate(self.events) if event.kind == "M"]
        return sorted(
            chance.choice(marks) if marks and number % 2 else chance.randint(1, len(self.events))
            for number in range(cuts)
        )

    def try_cuts(self, moments: Sequence[int], chance: random.Random, about: str) -> None:
        """Cut the power at some moments, one after the other, and look at what each leaves."""
        done = 0
        for moment in moments:
            while done < moment:
                self.disk.apply(self.events[done])
                done += 1
            with self.subject.trial(told=self.acknowledged(moment)) as trial:
                kept = self.disk.cut(trial.place, chance, self.subject.volatile)
                story = "\n  ".join(str(event)[:160] for event in self.events[max(0, moment - 24) : moment])
                trial.inspect(
                    None,
                    f"a power cut after event {moment} of {len(self.events)} ({about}), {kept}; the last events:\n  {story}\n",
                    self.until,
                )


@clause(
    "X-020",
    "Power that goes at any moment takes no acknowledged tick, or no more than the declared window.",
    needs=_LASTS,
)
def power_cuts(subject: CrashSubject) -> None:
    shares = 6

    def one(number: int) -> None:
        chance = random.Random(f"{subject.effort.seed} power {number}")  # noqa: S311  # reason: told again by its seed
        together = bool(number % 2)
        with subject.trial() as trial:
            # A third begins in an empty place, a third with what a killed process left, a third with what was closed.
            if number >= 2:
                fault = Fault(Kind.KILL_BEFORE, chance.randint(20, 150)) if number < 4 else None
                trial.live(SHORT, together=together, fault=fault)
            until = _LONG if number % 3 else SHORT
            recording = Recording(trial, until, together=together)
            about = f"seed {subject.effort.seed}, recording {number}, until tick {until}, {together=}"
        cuts = subject.effort.cuts // shares + (number < subject.effort.cuts % shares)
        recording.try_cuts(recording.moments(chance, cuts), chance, about)

    subject.side_by_side(one, range(shares))
    subject.remarks.append(f"power cut at {subject.effort.cuts} random moments of {shares} runs")


@clause(
    "X-021",
    "A sync that fails makes nothing durable: no tick is acknowledged on it, nor on a later sync of the same bytes.",
    needs=_LASTS,
)
def failed_sync(subject: CrashSubject) -> None:
    _fail_syncs(subject, None, Acknowledged(), SHORT)
    closed = subject.place / "closed"
    with subject.trial() as trial:
        trial.live()
        trial.place.rename(closed)
        trial.place.mkdir()
        told = trial.told
    _fail_syncs(subject, closed, told, SHORT + 2)


def _fail_syncs(subject: CrashSubject, template: Path | None, told: Acknowledged, until: int) -> None:
    fault = Fault(Kind.FAIL, 0, int(Call.SYNC), error=errno.EIO)
    with subject.trial(template, told) as trial:
        count = trial.live(until, fault=Fault(Kind.NOTHING, 0, fault.classes)).count

    def one(number: int) -> None:
        chance = random.Random(f"{subject.effort.seed} sync {number}")  # noqa: S311  # reason: told again by its seed
        meant = Fault(Kind.FAIL, number, fault.classes, error=errno.EIO)
        with subject.trial(template, told) as trial:
            recording = Recording(trial, until, together=False, fault=meant)
        failed = next((index for index, event in enumerate(recording.events) if event.kind == "F"), 0)
        # Right after the next acknowledgement there is most to lose.
        marks = [index + 1 for index, event in enumerate(recording.events) if event.kind == "M" and index > failed]
        moments = sorted([chance.randint(failed + 1, len(recording.events)), *marks[:1], len(recording.events)])
        where = "a closed place" if template else "an empty place"
        recording.try_cuts(moments, chance, f"seed {subject.effort.seed}, {meant}, in {where}")

    subject.side_by_side(one, subject.spread(count, Call.SYNC))
