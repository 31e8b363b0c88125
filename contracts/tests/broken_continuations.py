"""Stores that lose or change what a world continues from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from broken_attempts import ForgetsWhenClosed
from store_mutants import ChangedCommits, breaks

from archetype_core.store import Head, MemoryStore, TickCommit


@breaks("S-612", "S-613", "S-614", "S-615", machine=True, sound="S-407")
class LosesContinuations(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        return replace(tick, continuation=b"")


@breaks("S-612", "S-613", "S-614", "S-615")
class CutsLongContinuations(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        return replace(tick, continuation=tick.continuation[: 64 * 1024])


@breaks("S-612", machine=True)
class EndsAtAZeroByte(ChangedCommits):
    def changed(self, tick: TickCommit) -> TickCommit:
        return replace(tick, continuation=tick.continuation.partition(b"\0")[0])


@breaks("S-612")
class KeepsTextOnly(ChangedCommits):
    """Stores a continuation as text, and what is no text with replacements."""

    def changed(self, tick: TickCommit) -> TickCommit:
        return replace(tick, continuation=tick.continuation.decode(errors="replace").encode())


@breaks("S-613", machine=True, sound="S-407")
class KeepsTheNewestContinuation(MemoryStore):
    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return head if head.tick == self.timeline(world_id).last else replace(head, continuation=b"")


@breaks("S-613", machine=True, sound="S-407")
class OneContinuationPerCommit(MemoryStore):
    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit([replace(tick, continuation=ticks[-1].continuation) for tick in ticks])


@breaks("S-613")
class OneContinuationPerAttempt(MemoryStore):
    """Stores a new entry only for a tick whose attempt differs from the one before."""

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        first, found = self.timeline(world_id).first, head
        while found.tick > first:
            before = super().head(world_id, at=found.tick - 1)
            if before.attempt != head.attempt:
                break
            found = before
        return replace(head, continuation=found.continuation)


@breaks("S-613")
class SkipsEmptyContinuations(MemoryStore):
    """Gives the continuation of an earlier tick where a tick has none."""

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head, first = super().head(world_id, at=at), self.timeline(world_id).first
        if at is None or head.continuation:
            return head
        ticks = range(head.tick, first - 1, -1)
        earlier = (super(SkipsEmptyContinuations, self).head(world_id, at=tick).continuation for tick in ticks)
        return replace(head, continuation=next(filter(None, earlier), b""))


@breaks("S-614", "S-615", machine=True)
class KeepsContinuationsPerHandle(MemoryStore):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.continuations: set[bytes] = set()

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.continuations.update(tick.continuation for tick in ticks)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return head if head.continuation in self.continuations else replace(head, continuation=b"")


@breaks("S-615", machine=True)
class KeepsContinuationsWhileOpen(ForgetsWhenClosed):
    known: ClassVar[defaultdict[str, set[bytes]]] = defaultdict(set)

    def commit(self, ticks: Sequence[TickCommit]) -> None:
        super().commit(ticks)
        self.known[self.name].update(tick.continuation for tick in ticks)

    def head(self, world_id: str, *, at: int | None = None) -> Head:
        head = super().head(world_id, at=at)
        return head if head.continuation in self.known[self.name] else replace(head, continuation=b"")

    def forget_place(self) -> None:
        self.known[self.name].clear()
