"""One life of a process over a store: what is done to it, and what came of it."""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


class Kind(enum.StrEnum):
    """What happens at a call."""

    NOTHING = "nothing"
    KILL_BEFORE = "kill before"
    KILL_AFTER = "kill after"
    FAIL = "fail"
    SHORT = "short write"


class Call(enum.IntFlag):
    """Classes of calls that change a disk."""

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
    """What goes wrong: at the ``call``-th call of some classes, or with ``stays`` at all from that one on."""

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
class Stop:
    """A kill from outside: so long after so many ticks were acknowledged."""

    acks: int
    delay_s: float

    def __str__(self) -> str:
        return f"killed {self.delay_s * 1000:.2f} ms after {self.acks} acknowledged ticks"


@dataclass(frozen=True, slots=True)
class Life:
    """A process that steps the program of a seed in a place until a tick, and what is done to it."""

    place: str
    opener: str
    seed: int
    until: int
    together: bool = False
    """Whether the worlds commit at the same moment, from threads of their own, or one after the other."""
    fault: Fault | None = None
    stop: Stop | None = None
    log: str | None = None
    patience_s: float = 60.0

    def __str__(self) -> str:
        done = self.fault or self.stop or "nothing done to it"
        how = "worlds at once" if self.together else "worlds in turn"
        return f"seed {self.seed}, until tick {self.until}, {how}: {done}"

    def to_json(self) -> dict[str, Any]:
        """The life as a request."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Life:
        """What ``to_json`` was made of."""
        fault, stop = data["fault"], data["stop"]
        made = Fault(**{**fault, "kind": Kind(fault["kind"])}) if fault else None
        return cls(**{**data, "fault": made, "stop": Stop(**stop) if stop else None})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended, and what it said before."""

    lines: list[dict[str, Any]]
    """What it told over its pipe, in order."""
    status: int
    """Its exit status, negative for a signal."""
    hung: bool
    count: int
    """Calls counted."""
    fired: int
    """The call that was faulted, 0 for none."""
    ended_ns: int
    """When it was killed, by the monotonic clock."""
    tail: list[str] = field(default_factory=list)
    stderr: str = ""

    def said(self, key: str) -> list[Any]:
        """The lines of one kind."""
        return [line[key] for line in self.lines if key in line]

    @property
    def acknowledged(self) -> list[tuple[str, int, int]]:
        """World, tick and time of every tick that was acknowledged."""
        return [(world, tick, when) for world, tick, when in self.said("ack")]
