"""The tables of a SQLite ledger, and the migrations from older versions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from archetype_core.errors import LedgerError

VERSION = 1
APPLICATION = 0x41724C67  # "ArLg"

_VERSION_1 = """
CREATE TABLE worlds (
    world_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    run_id TEXT NOT NULL,
    seed INTEGER NOT NULL,
    first_tick INTEGER NOT NULL,
    parent_world TEXT,
    parent_run TEXT,
    parent_tick INTEGER,
    kernel TEXT NOT NULL,
    ids_to INTEGER NOT NULL,
    settled_tick INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    is_told INTEGER NOT NULL,
    maker TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX worlds_by_name ON worlds (name) WHERE is_open;
CREATE TABLE commands (
    seq INTEGER PRIMARY KEY,
    command_id TEXT NOT NULL UNIQUE,
    world_id TEXT NOT NULL,
    form TEXT NOT NULL,
    payload BLOB NOT NULL,
    first_id INTEGER NOT NULL,
    id_count INTEGER NOT NULL,
    due INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX commands_by_world ON commands (world_id, seq);
CREATE TABLE staged (
    seq INTEGER PRIMARY KEY,
    world_id TEXT NOT NULL,
    members TEXT NOT NULL,
    payloads BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX staged_by_world ON staged (world_id, seq);
CREATE TABLE held (
    seq INTEGER PRIMARY KEY,
    command_id TEXT NOT NULL UNIQUE,
    world_id TEXT NOT NULL,
    source TEXT NOT NULL,
    tick INTEGER NOT NULL,
    attempt TEXT NOT NULL,
    entry TEXT NOT NULL,
    payload BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    span INTEGER NOT NULL,
    settles INTEGER,
    command_id TEXT NOT NULL,
    is_new INTEGER NOT NULL,
    world_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    roles TEXT NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    status TEXT NOT NULL,
    reason TEXT NOT NULL,
    tick INTEGER,
    at_us INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_command ON audit (command_id, is_new);
CREATE INDEX audit_by_world ON audit (world_id, is_new, seq);
CREATE INDEX audit_by_settled ON audit (settles) WHERE settles IS NOT NULL;
CREATE TABLE chain (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    count INTEGER NOT NULL,
    hash BLOB NOT NULL,
    sums BLOB NOT NULL,
    seal BLOB NOT NULL,
    key_check BLOB
) STRICT;
INSERT INTO chain VALUES (1, 0, zeroblob(32), zeroblob(288), zeroblob(32), NULL);
CREATE TABLE rollouts (
    world_id TEXT, name TEXT, rollout_id TEXT NOT NULL, config TEXT NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (world_id, name)
) WITHOUT ROWID, STRICT;
CREATE TABLE episodes (
    rollout_id TEXT, episode INTEGER, world_id TEXT NOT NULL, result TEXT, hash BLOB NOT NULL,
    PRIMARY KEY (rollout_id, episode)
) WITHOUT ROWID, STRICT;
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    request TEXT NOT NULL,
    command_id TEXT NOT NULL,
    world_id TEXT NOT NULL,
    tick INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    result TEXT,
    hash BLOB NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX answers_by_actor ON answers (actor, at_us);
CREATE INDEX answers_by_time ON answers (at_us);
CREATE TABLE tokens (
    actor TEXT, day TEXT, used INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (actor, day)
) WITHOUT ROWID, STRICT;
CREATE TABLE ticks (
    actor TEXT, world_id TEXT, tick INTEGER NOT NULL, used INTEGER NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY (actor, world_id)
) WITHOUT ROWID, STRICT;
"""


def _create(connection: sqlite3.Connection) -> None:
    for statement in _VERSION_1.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")


SETTLEMENT = "s.settles = (SELECT max(settles) FROM audit WHERE settles <= a.seq) AND a.seq < s.settles + s.span"
"""Joins an audit row ``a`` of a command with the one ``s`` that settles it: a row settles ``span`` rows from ``settles`` on."""

_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_create,)
"""The migration from version n to n + 1, at index n."""


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Create or upgrade the tables in one transaction; ``LedgerError`` for a newer version or another program's database."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and application != APPLICATION:
            raise LedgerError(f"{path} is a database of another program, not a ledger: choose another directory")
        if version > VERSION:
            raise LedgerError(
                f"{path} has version {version}, this release reads up to version {VERSION}: install a newer release"
            )
        for migration in _MIGRATIONS[version:]:
            migration(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
