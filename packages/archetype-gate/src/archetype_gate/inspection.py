"""Checks and reads a ledger without opening a gate."""

from __future__ import annotations

from pathlib import Path

from archetype_core.command import AuditFilter, AuditHead, AuditRow
from archetype_core.config import StorageConfig
from archetype_core.errors import LedgerError
from archetype_gate.ledger import Damage
from archetype_gate.ledger_copy import opened_copy
from archetype_gate.ledger_key import LedgerKey
from archetype_gate.storage import ledger_path


def verify(
    storage: str | StorageConfig,
    *,
    ledger: str | Path | None = None,
    ledger_key: LedgerKey | None = None,
    head: AuditHead | None = None,
) -> list[Damage]:
    """Check a storage's ledger and list the rows that were edited, removed, added or moved; empty if there are none.

    Reads every row, of a copy in memory, and changes nothing. ``ledger`` and ``ledger_key`` are what the gate was given. With
    a ``head`` that was taken earlier it also tells whether the audit was cut back to before that or written anew.
    ``LedgerError`` if there is no ledger or the key is missing or another one, ``ValueError`` for a storage in memory.
    """
    copy = opened_copy(_existing(storage, ledger), key=ledger_key)
    try:
        return copy.verify(head)
    finally:
        copy.close()


def read_audit(
    storage: str | StorageConfig,
    which: AuditFilter,
    *,
    ledger: str | Path | None = None,
    ledger_key: LedgerKey | None = None,
) -> tuple[AuditRow, ...]:
    """Read rows of a storage's audit log, beside its writers and also where nothing can be written; changes nothing.

    Costs a copy of the ledger in memory. Raises what ``verify`` raises. A read like this leaves no audit row.
    """
    copy = opened_copy(_existing(storage, ledger), key=ledger_key)
    try:
        return copy.history(which)
    finally:
        copy.close()


def _existing(storage: str | StorageConfig, ledger: str | Path | None) -> Path:
    """The path of a storage's ledger, which is there."""
    config = storage if isinstance(storage, StorageConfig) else StorageConfig(uri=storage)
    path = ledger_path(config, None if ledger is None else Path(ledger))
    if path is None:
        raise ValueError(f"{config.uri} is in memory: its ledger ends with its process, so there is none to read")
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}: check the storage, and pass ledger=… if the gate had one")
    return path
