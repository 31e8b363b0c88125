"""Clauses on disks that fail while the process runs: errors are typed, and no acknowledged tick is lost."""

from __future__ import annotations

import errno
from typing import Any

from archetype_contracts.crash.case import Call, Fault, Kind
from archetype_contracts.crash.registry import clause
from archetype_contracts.crash.subject import CrashSubject
from archetype_core.store import Capability

_PERSISTENT = [Capability.PERSISTENCE]
_SPACE = Call.WRITE | Call.CREATE | Call.TRUNCATE | Call.RENAME | Call.LINK
_NAMES = Call.CREATE | Call.RENAME | Call.LINK | Call.UNLINK


def _closed(subject: CrashSubject) -> dict[str, Any]:
    """Make a place that was closed after its first tick; other clauses cause faults while a place is created."""
    place = subject.place / "closed"
    with subject.trial() as trial:
        trial.run(1)
        trial.place.rename(place)
        trial.place.mkdir()
        return {"template": place, "acknowledged": trial.acknowledged}


@clause(
    "X-010",
    "If any one call fails with EIO, errors are typed, a refused tick leaves nothing, and the process can continue.",
    needs=_PERSISTENT,
)
def one_error(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, error=errno.EIO))


@clause(
    "X-011",
    "If every call from some point on fails with EIO, errors are typed, and every acknowledged tick exists afterwards.",
    needs=_PERSISTENT,
)
def every_later_error(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, stays=True, error=errno.EIO), together=True)


@clause(
    "X-012",
    "If the disk is full for one call, no acknowledged tick is lost, and the process can continue.",
    needs=_PERSISTENT,
)
def one_full_disk(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, int(_SPACE), error=errno.ENOSPC), together=True, **_closed(subject))


@clause("X-013", "If the disk stays full, errors are typed, and no acknowledged tick is lost.", needs=_PERSISTENT)
def disk_stays_full(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, int(_SPACE), stays=True, error=errno.ENOSPC))


@clause(
    "X-014", "After a short write the rest is written or the tick is refused: no tick is truncated.", needs=_PERSISTENT
)
def short_write(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.SHORT, 0, int(Call.WRITE)), **_closed(subject))


@clause("X-015", "If a short write is followed by a full disk, no acknowledged tick is lost.", needs=_PERSISTENT)
def short_write_on_a_full_disk(subject: CrashSubject) -> None:
    fault = Fault(Kind.SHORT, 0, int(Call.WRITE), stays=True, error=errno.ENOSPC)
    subject.every_call(fault, together=True, **_closed(subject))


@clause(
    "X-016",
    "If files can no longer be created, renamed or removed, errors are typed, and no acknowledged tick is lost.",
    needs=_PERSISTENT,
)
def no_permission(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, int(_NAMES), stays=True, error=errno.EACCES))


@clause(
    "X-017", "If the disk becomes read-only, errors are typed, and no acknowledged tick is lost.", needs=_PERSISTENT
)
def read_only(subject: CrashSubject) -> None:
    subject.every_call(Fault(Kind.FAIL, 0, stays=True, error=errno.EROFS), together=True, **_closed(subject))


@clause(
    "X-018",
    "If any one call fails and the process dies with the error, a refused tick never exists, and an uncertain one as committed.",
    needs=_PERSISTENT,
)
def death_after_an_error(subject: CrashSubject) -> None:
    for fault in (Fault(Kind.FAIL, 0, error=errno.EIO), Fault(Kind.FAIL, 0, int(_SPACE), error=errno.ENOSPC)):
        subject.every_call(fault, dies_on_error=True)
