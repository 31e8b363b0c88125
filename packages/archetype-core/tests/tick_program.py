"""A program of the tick model, as data: mutations, attempts of ticks, forks and restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tick_model import Op
from tick_scene import Fault, Route

Acts = tuple[tuple[Route, Op], ...]


@dataclass(frozen=True)
class Attempt:
    """What happens in one try of a tick. Numbers pick one of the tables that processors of the script act on.

    ``acts`` stage with ``commands``, ``solo`` with a handle and in one table alone, because nothing orders handles of several
    tables. A task that a hook starts does what ``late`` says once the attempt is over.
    """

    hook: tuple[Op, ...] = ()
    acts: tuple[tuple[int, Acts], ...] = ()
    solo: tuple[int, Acts] | None = None
    late: tuple[Op, ...] = ()
    skips: tuple[int, ...] = ()
    fails: tuple[int, Literal["before", "after"]] | None = None
    fault: Fault | None = None
    watches: bool = False


@dataclass(frozen=True)
class Stage:
    branch: int
    op: Op


@dataclass(frozen=True)
class Step:
    branch: int
    attempt: Attempt = Attempt()


@dataclass(frozen=True)
class Fork:
    branch: int
    at: int | None = None
    pending: Literal["refuse", "copy"] = "refuse"


@dataclass(frozen=True)
class Reopen:
    branch: int


Line = Stage | Step | Fork | Reopen
