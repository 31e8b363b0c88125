"""The ledger of a place that cannot be written: a copy in memory, so that reads are audited and nothing is changed."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from archetype_core.errors import CorruptStore, LedgerError
from archetype_gate import schema
from archetype_gate.ledger_key import LedgerKey
from archetype_gate.sqlite import SqliteLedger
from archetype_journal import copy_database

log = logging.getLogger("archetype.gate")


def copied_ledger(path: Path, *, key: LedgerKey | None = None) -> SqliteLedger:
    """A ledger in memory with what the file has now; an empty one, and a warning, if this process cannot read the file."""
    if path.exists():
        try:
            return opened_copy(path, key=key)
        except (LedgerError, PermissionError) as failure:
            log.warning("the audit of %s cannot be read, so it begins empty: %s", path, failure)
    return SqliteLedger(None)


def opened_copy(path: Path, *, key: LedgerKey | None = None) -> SqliteLedger:
    """A ledger in memory with what the file has now; raises if it cannot be read."""
    return SqliteLedger(path, key=key, connect=_connect_copy, is_copy=True)


def _connect_copy(path: str) -> sqlite3.Connection:
    """A connection in memory with a copy of a ledger, and with the transactions that are only in its log."""
    file = Path(path)
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        with tempfile.TemporaryDirectory(prefix="archetype-copy-of-ledger-") as directory:
            # Beside this file, the ledger is open in another process, or was when that died.
            is_in_use = file.with_name(f"{file.name}-shm").exists()
            copy_database(file, Path(directory), is_in_use=is_in_use)
            with closing(sqlite3.connect(Path(directory) / file.name)) as source:
                source.backup(memory)
        schema.migrate(memory, path)
    except sqlite3.OperationalError as failure:
        memory.close()
        raise LedgerError(f"{path} cannot be read: {failure}") from failure
    except sqlite3.DatabaseError as failure:
        memory.close()
        raise CorruptStore(path, str(failure)) from failure
    except BaseException:
        memory.close()
        raise
    return memory
