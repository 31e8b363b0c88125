"""The audit log is read and verified without a gate."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from archetype_core import Component, StorageConfig
from archetype_core.command import ActorCtx, AuditFilter, CreateWorld, Spawn, Step
from archetype_core.errors import LedgerError
from archetype_gate import ServiceContainer, read_audit, verify


class Buoy(Component):
    """Something to spawn."""

    depth: int = 3


async def fill(storage: StorageConfig) -> None:
    """Leave a few audit rows."""
    container = ServiceContainer()
    actor = ActorCtx("ada", {"admin"})
    world = (await container.gate.execute(actor, CreateWorld("harbour", storage))).world_id
    await container.gate.execute(actor, Spawn((Buoy(),)), world)
    await container.gate.execute(actor, Step(), world)
    await container.shutdown()


def test_rows_are_read_and_nothing_is_written(tmp_path: Path) -> None:
    """Rows are filtered as by a gate; the ledger stays byte for byte, also where nothing can be written."""
    storage = StorageConfig(f"journal:{tmp_path}/history")
    asyncio.run(fill(storage))
    place = tmp_path / "history"
    ledger = (place / "ledger.sqlite").read_bytes()
    paths = [place, *place.iterdir()]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    for path in paths:
        path.chmod(modes[path] & ~0o222)
    try:
        assert [row.type for row in read_audit(storage, AuditFilter(type="spawn"))] == ["spawn"]
        assert len(read_audit(storage, AuditFilter(limit=2))) == 2
        assert verify(storage) == []
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    assert (place / "ledger.sqlite").read_bytes() == ledger
    assert len(read_audit(storage, AuditFilter())) == len(read_audit(storage, AuditFilter())) > 2


def test_there_is_nothing_to_read(tmp_path: Path) -> None:
    """Without a ledger, or without its key, nothing is read and nothing is made."""
    with pytest.raises(LedgerError, match="there is no ledger"):
        read_audit(f"journal:{tmp_path}/history", AuditFilter())
    with pytest.raises(ValueError, match="in memory"):
        read_audit("memory:", AuditFilter())
    assert list(tmp_path.iterdir()) == []
    storage = StorageConfig(f"journal:{tmp_path}/history")
    asyncio.run(fill(storage))
    (tmp_path / "history" / "ledger.key").unlink()
    with pytest.raises(LedgerError, match="key"):
        read_audit(storage, AuditFilter())
    assert not (tmp_path / "history" / "ledger.key").exists()
