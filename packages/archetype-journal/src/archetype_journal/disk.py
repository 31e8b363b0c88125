"""Durable file operations: make a directory that lasts, sync a file, sync a directory."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path


class Disk:
    """The file operations that a journal does itself, beside SQLite's. Subclass it to watch, delay or fail them in a test."""

    def exists(self, path: Path) -> bool:
        """Whether a file exists."""
        return path.exists()

    def sync(self, path: Path) -> None:
        """Put a file's content on disk; ``FileNotFoundError`` if there is none."""
        sync_path(path)


def make_directory(path: Path) -> None:
    """Create a directory and its parents, durably. Costs one sync even if the directory exists."""
    if not path.is_dir():
        make_directory(path.parent)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as failure:
            raise NotADirectoryError(errno.ENOTDIR, "a file is where a directory should be", str(path)) from failure
    # Sync an existing directory too: its creator may have died before it did. If this process may not read the parent,
    # another user provided the directory, and its durability is theirs.
    with suppress(PermissionError):
        sync_directory(path.parent)


def sync_path(path: Path) -> None:
    """Put a file's content on disk, whichever process wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable; syncing a file does not."""
    sync_path(path)


def rewrite_file(path: Path) -> None:
    """Write a file's bytes over themselves and sync it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        offset = 0
        while piece := os.pread(descriptor, 1 << 20, offset):
            offset += os.pwrite(descriptor, piece, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
