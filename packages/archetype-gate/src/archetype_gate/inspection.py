"""Looking at a ledger from outside."""

from __future__ import annotations

from pathlib import Path

from archetype_core.config import StorageConfig
from archetype_core.errors import LedgerError
from archetype_gate.ledger import Damage
from archetype_gate.sqlite import SqliteLedger
from archetype_gate.storage import ledger_place


def verify(storage: str | StorageConfig, *, ledger: str | Path | None = None) -> list[Damage]:
    """What is wrong with the audit of a storage: rows that were edited, removed or put elsewhere; empty if nothing is."""
    config = storage if isinstance(storage, StorageConfig) else StorageConfig(uri=storage)
    place = ledger_place(config, None if ledger is None else Path(ledger))
    if place is None:
        raise ValueError(f"{config.uri} is in memory: nothing of it outlives its process")
    if not place.exists():
        raise LedgerError(f"there is no ledger at {place}")
    opened = SqliteLedger(place)
    try:
        return opened.verify()
    finally:
        opened.close()
