"""Checks a ledger without opening a gate."""

from __future__ import annotations

from pathlib import Path

from archetype_core.command import AuditHead
from archetype_core.config import StorageConfig
from archetype_core.errors import LedgerError
from archetype_gate.ledger import Damage
from archetype_gate.ledger_key import LedgerKey
from archetype_gate.sqlite import SqliteLedger
from archetype_gate.storage import ledger_path


def verify(
    storage: str | StorageConfig,
    *,
    ledger: str | Path | None = None,
    ledger_key: LedgerKey | None = None,
    head: AuditHead | None = None,
) -> list[Damage]:
    """Check a storage's ledger and list the rows that were edited, removed, added or moved; empty if there are none.

    Reads every row. ``ledger`` and ``ledger_key`` are what the gate was given. With a ``head`` that was taken earlier it also
    tells whether the audit was cut back to before that or written anew. ``LedgerError`` if there is no ledger or the key
    is missing or another one, ``ValueError`` for a storage in memory.
    """
    config = storage if isinstance(storage, StorageConfig) else StorageConfig(uri=storage)
    path = ledger_path(config, None if ledger is None else Path(ledger))
    if path is None:
        raise ValueError(f"{config.uri} is in memory: its ledger ends with its process and cannot be verified")
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}: check the storage, and pass ledger=… if the gate had one")
    opened = SqliteLedger(path, key=ledger_key)
    try:
        return opened.verify(head)
    finally:
        opened.close()
