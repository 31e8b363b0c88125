"""Clauses on power that goes: what was acknowledged rests on what was synced."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Sequence

from archetype_contracts.crash.book import clause
from archetype_contracts.crash.case import Call, Fault, Kind, Outcome
from archetype_contracts.crash.disk import Disk
from archetype_contracts.crash.subject import SHORT, Acknowledged, CrashSubject, Trial
from archetype_contracts.crash.trace import Event, events
from archetype_core.ports import Capability

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
        for world, tick, when in marks:
            told.known[world] = tick
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
            if number >= shares // 2:
                # Half of them begin with what a killed process left.
                fault = Fault(Kind.KILL_BEFORE, chance.randint(40, 200))
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
    fault = Fault(Kind.FAIL, 0, int(Call.SYNC), error=errno.EIO)
    with subject.trial() as trial:
        count = trial.live(fault=Fault(Kind.NOTHING, 0, fault.classes)).count

    def one(number: int) -> None:
        chance = random.Random(f"{subject.effort.seed} sync {number}")  # noqa: S311  # reason: told again by its seed
        meant = Fault(Kind.FAIL, number, fault.classes, error=errno.EIO)
        with subject.trial() as trial:
            recording = Recording(trial, SHORT, together=False, fault=meant)
        failed = next((index for index, event in enumerate(recording.events) if event.kind == "F"), 0)
        moments = sorted([chance.randint(failed + 1, len(recording.events)), len(recording.events)])
        recording.try_cuts(moments, chance, f"seed {subject.effort.seed}, {meant}")

    subject.side_by_side(one, subject.spread(count, Call.SYNC))
