"""Clauses on disks that fail while the process lives: it is told with typed errors, and loses nothing by them."""

from __future__ import annotations

import errno
from typing import Any

from archetype_contracts.crash.book import clause
from archetype_contracts.crash.case import Call, Fault, Kind
from archetype_contracts.crash.subject import CrashSubject
from archetype_core.store import Capability

_LASTS = [Capability.PERSISTENCE]
_SPACE = Call.WRITE | Call.CREATE | Call.TRUNCATE | Call.RENAME | Call.LINK
_NAMES = Call.CREATE | Call.RENAME | Call.LINK | Call.UNLINK


def _closed(subject: CrashSubject) -> dict[str, Any]:
    """A place that was closed after its first ticks: faults while a place is made are for other clauses."""
    place = subject.place / "closed"
    with subject.trial() as trial:
        trial.live(1)
        trial.place.rename(place)
        trial.place.mkdir()
        return {"template": place, "told": trial.told}


@clause(
    "X-010",
    "Where any one call fails with EIO, errors are typed, a refused tick leaves nothing, and the process can go on.",
    needs=_LASTS,
)
def one_error(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, error=errno.EIO))


@clause(
    "X-011",
    "Where every call from some point on fails with EIO, errors are typed, and every acknowledged tick is there afterwards.",
    needs=_LASTS,
)
def errors_for_good(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, stays=True, error=errno.EIO), together=True)


@clause(
    "X-012", "A disk that is full for one call costs no acknowledged tick, and the process can go on.", needs=_LASTS
)
def one_full_disk(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, int(_SPACE), error=errno.ENOSPC), together=True, **_closed(subject))


@clause("X-013", "A disk that stays full costs no acknowledged tick, and errors are typed.", needs=_LASTS)
def full_disk_for_good(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, int(_SPACE), stays=True, error=errno.ENOSPC))


@clause("X-014", "A write that takes only a part is finished, or refused: no tick is cut short.", needs=_LASTS)
def short_write(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.SHORT, 0, int(Call.WRITE)), **_closed(subject))


@clause("X-015", "A write that takes a part before the disk is full costs no acknowledged tick.", needs=_LASTS)
def short_write_on_a_full_disk(subject: CrashSubject) -> None:
    fault = Fault(Kind.SHORT, 0, int(Call.WRITE), stays=True, error=errno.ENOSPC)
    subject.every_call(fault, together=True, **_closed(subject))


@clause(
    "X-016",
    "Where files may no longer be created, renamed or removed, errors are typed and nothing is lost.",
    needs=_LASTS,
)
def no_permission(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, int(_NAMES), stays=True, error=errno.EACCES))


@clause("X-017", "Where the disk becomes read-only, errors are typed and nothing acknowledged is lost.", needs=_LASTS)
def read_only(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, stays=True, error=errno.EROFS), together=True, **_closed(subject))
