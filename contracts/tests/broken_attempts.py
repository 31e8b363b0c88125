"""Stores that forget who committed a tick, or what became of a commit that raised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import ClassVar
from uuid import UUID

from store_mutants import ChangedCommits, breaks

from archetype_core.errors import TickConflict
from archetype_core.store import Head, MemoryStore, Rows, TickCommit


@breaks("S-608", "S-609", "S-610", "S-611", machine=True, sound="S-407")
class LosesAttempts(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        return replace(tick, attempt="")


@breaks("S-608", machine=True, sound="S-407")
class NamesThePreviousAttempt(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        first = self.timeline(world_id).first
        return head if head.tick == first else replace(head, attempt=super().head(world_id, at=head.tick - 1).attempt)


@breaks("S-608")
class KeepsUuidsOnly(ChangedCommits):
    """Stores an attempt as a UUID if its text can be read as one."""

    def changed(self, tick: TickCommit) -> TickCommit:
        with suppress(ValueError):
            return replace(tick, attempt=str(UUID(tick.attempt)))
        return tick


@breaks("S-609", machine=True, sound="S-407")
class KeepsTheNewestAttempt(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return head if head.tick == self.timeline(world_id).last else replace(head, attempt="")


@breaks("S-609", machine=True, sound="S-407")
class OneAttemptPerCommit(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit([replace(tick, attempt=ticks[-1].attempt) for tick in ticks])


@breaks("S-609")
class SkipsEmptyAttempts(MemoryStore):
    """Names the attempt of an earlier tick where a tick has none."""

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        if at is None or head.attempt:
            return head
        earlier = (super(SkipsEmptyAttempts, self).head(world_id, at=tick).attempt for tick in range(head.tick, -1, -1))
        return replace(head, attempt=next(filter(None, earlier), ""))


@breaks("S-610", "S-611", machine=True)
class KeepsAttemptsPerHandle(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.attempts: set[str] = set()

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.attempts.update(tick.attempt for tick in ticks)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return head if head.attempt in self.attempts else replace(head, attempt="")


class ForgetsWhenClosed(MemoryStore):
    """Calls ``forget_place`` when the last handle of a place is closed."""

    handles: ClassVar[defaultdict[str, int]] = defaultdict(int)
    is_counted = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.handles[name] += 1
        self.is_counted = True

    def close(self) -> None:
        if self.is_counted:
            self.is_counted = False
            self.handles[self.name] -= 1
            if not self.handles[self.name]:
                self.forget_place()
        super().close()

    def forget_place(self) -> None:
        """Forget something about the place."""


@breaks("S-611", machine=True)
class KeepsAttemptsWhileOpen(ForgetsWhenClosed):
    known: ClassVar[defaultdict[str, set[str]]] = defaultdict(set)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.known[self.name].update(tick.attempt for tick in ticks)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return head if head.attempt in self.known[self.name] else replace(head, attempt="")

    def forget_place(self) -> None:
        self.known[self.name].clear()


@breaks("S-114", machine=True)
class AcceptsTheSameAttemptAgain(MemoryStore):
    """Takes a tick that it has under the same attempt as done, whatever its rows."""

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        try:
            super().commit(ticks)
        except TickConflict:
            if self.head(ticks[0].segment.world_id).attempt != ticks[-1].attempt:
                raise


def readable(tick: TickCommit) -> TickCommit:
    """A tick with those of its tables that can be read."""
    written: dict[str, Rows] = {}
    with suppress(OSError):
        for name in tick.written:
            written[name] = tick.written[name]
    return replace(tick, written=written)


@breaks("S-015", "S-016", sound="S-114")
class ReplacesBrokenTicks(MemoryStore):
    """Shows a tick whose commit raised, and accepts other rows for it afterwards."""

    broken: ClassVar[dict[tuple[str, str], TickCommit]] = {}

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        key = (self.name, ticks[0].segment.world_id) if ticks else ("", "")
        try:
            super().commit(ticks)
        except OSError:
            self.broken[key] = ticks[-1]
            raise
        self.broken.pop(key, None)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head, broken = super().head(world_id, at=at), self.broken.get((self.name, world_id))
        if not broken or at is not None:
            return head
        return replace(head, tick=broken.tick, attempt=broken.attempt, continuation=broken.continuation)


@breaks("S-013", "S-016", machine=True)
class KeepsTwoVersions(ForgetsWhenClosed):
    """Logs every commit before it reads the tables, and shows the first version of each tick once it is opened again."""

    logs: ClassVar[defaultdict[str, list[list[TickCommit]]]] = defaultdict(list)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        if self.handles[name] == 1:
            for ticks in self.logs[name]:
                with suppress(TickConflict):
                    super().commit(ticks)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        try:
            super().commit(ticks)
        except OSError:
            self.logs[self.name].append([readable(tick) for tick in ticks])
            raise
        self.logs[self.name].append(list(ticks))

    def forget_place(self) -> None:
        MemoryStore.forget(self.name)
