"""One run of a process over a store: its input, its fault, and its outcome."""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class Kind(enum.StrEnum):
    """The kind of a fault."""

    NOTHING = "nothing"
    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    FAIL = "fail"
    SHORT = "short write"


class Call(enum.IntFlag):
    """Classes of system calls that change a disk."""

    WRITE = 1
    SYNC = 2
    RENAME = 4
    LINK = 8
    UNLINK = 16
    CREATE = 32
    TRUNCATE = 64
    ANY = 127


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault at the ``call``-th call of some classes; with ``stays`` also at every later one."""

    kind: Kind
    call: int
    classes: int = Call.ANY
    stays: bool = False
    error: int = errno.EIO

    def __str__(self) -> str:
        what = self.kind.value if self.kind is not Kind.FAIL else errno.errorcode.get(self.error, str(self.error))
        which = "any" if self.classes == Call.ANY else "/".join(one.name or "?" for one in Call(self.classes)).lower()
        return f"{what} at {which} call {self.call}{' and all after' if self.stays else ''}"


@dataclass(frozen=True, slots=True)
class TimedKill:
    """A kill from outside: this long after this many ticks were acknowledged."""

    acks: int
    delay_s: float

    def __str__(self) -> str:
        return f"killed {self.delay_s * 1000:.2f} ms after {self.acks} acknowledged ticks"


@dataclass(frozen=True, slots=True)
class Run:
    """A process that steps the program of a seed in a place until a tick, and its fault or kill."""

    place: str
    opener: str
    seed: int
    until: int
    together: bool = False
    """Whether the worlds commit at the same time, from separate threads, or one after the other."""
    fault: Fault | None = None
    kill: TimedKill | None = None
    log: str | None = None
    dies_on_error: bool = False
    """Whether the process kills itself right after its first failed step."""
    patience_s: float = 60.0

    def __str__(self) -> str:
        fault = self.fault or self.kill or "no fault"
        how = "worlds at once" if self.together else "worlds in turn"
        end = ", dies after the first failed step" if self.dies_on_error else ""
        return f"seed {self.seed}, until tick {self.until}, {how}: {fault}{end}"

    def to_json(self) -> dict[str, Any]:
        """The run as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Run:
        """The run that ``to_json`` returned."""
        fault, kill = data["fault"], data["kill"]
        made = Fault(**{**fault, "kind": Kind(fault["kind"])}) if fault else None
        return cls(**{**data, "fault": made, "kill": TimedKill(**kill) if kill else None})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended, and what it reported before."""

    lines: list[dict[str, Any]]
    """The lines that it reported over its pipe, in order."""
    status: int
    """Its exit status, negative for a signal."""
    hung: bool
    count: int
    """The number of system calls counted."""
    fired: int
    """The number of the call that got the fault; 0 for none."""
    ended_ns: int
    """When it was killed or ended, by the monotonic clock."""
    tail: list[str] = field(default_factory=list)
    stderr: str = ""

    def reported(self, key: str) -> list[Any]:
        """The values of all reported lines with this key."""
        return [line[key] for line in self.lines if key in line]

    @property
    def acknowledged(self) -> list[tuple[str, int, int]]:
        """World, tick and time of every acknowledged tick."""
        return [(world, tick, when) for world, tick, when in self.reported("ack")]
