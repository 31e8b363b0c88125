"""Calls that wait for the same ledger at the same time wait for one write, and never for one that began before them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from archetype_gate.group_sync import GroupSync


class Disk:
    """Writes what was collected when a write began, once it may."""

    def __init__(self) -> None:
        self.collected = self.written = self.writes = 0
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    def sync(self) -> None:
        """Write."""
        seen = self.collected
        self.has_begun.set()
        assert self.may_end.wait(30)
        self.writes += 1
        if self.failure is not None:
            raise self.failure
        self.written = seen


async def begun(group: GroupSync, disk: Any) -> asyncio.Task[None]:
    """Begin a write, and collect something after it has begun."""
    disk.collected = 1
    first = asyncio.create_task(group.sync(disk))
    assert await asyncio.to_thread(disk.has_begun.wait, 30)
    disk.collected = 2
    return first


def test_all_who_come_meanwhile_share_the_next_write() -> None:
    """Twenty calls during a write need one more, which has what they collected."""

    async def play() -> None:
        group, disk = GroupSync(), Disk()
        first = await begun(group, disk)
        others = [asyncio.create_task(group.sync(cast("Any", disk))) for _ in range(20)]
        await asyncio.sleep(0)
        disk.may_end.set()
        await asyncio.gather(first, *others)
        assert (disk.written, disk.writes) == (2, 2)
        await group.sync(cast("Any", disk))
        assert disk.writes == 3

    asyncio.run(play())


def test_a_failure_is_told_to_all_who_wait() -> None:
    """Nobody is told that something is on disk if the write failed; the next call tries again."""

    async def play() -> None:
        group, disk = GroupSync(), Disk()
        first = await begun(group, disk)
        others = [asyncio.create_task(group.sync(cast("Any", disk))) for _ in range(3)]
        await asyncio.sleep(0)
        disk.failure = OSError("full")
        disk.may_end.set()
        found = await asyncio.gather(first, *others, return_exceptions=True)
        assert all(isinstance(one, OSError) for one in found)
        disk.failure = None
        await group.sync(cast("Any", disk))
        assert disk.written == 2

    asyncio.run(play())


def test_a_call_that_is_given_up_ends_no_write() -> None:
    """A cancelled call waits for its write, and the others have theirs."""

    async def play() -> None:
        group, disk = GroupSync(), Disk()
        first = await begun(group, disk)
        other, last = (asyncio.create_task(group.sync(cast("Any", disk))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        other.cancel()
        await asyncio.sleep(0)
        assert not first.done()
        disk.may_end.set()
        for one in (first, other):
            with pytest.raises(asyncio.CancelledError):
                await one
        await last
        assert disk.written == 2

    asyncio.run(play())
