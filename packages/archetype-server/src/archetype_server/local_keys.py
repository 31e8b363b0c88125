"""The keys in the files of a server on this machine, for ``archetype keys``: the entry point group ``archetype.keys``."""

from __future__ import annotations

import errno
from contextlib import closing
from pathlib import Path

from archetype_core.config import StorageConfig
from archetype_server.config import ServerConfig, default_storage
from archetype_server.key_store import DATABASE, KeyStore


def opened(storage: str | None, state: Path | None) -> closing[KeyStore]:
    """Open the keys of the server of a storage, or in a state directory; ``FileNotFoundError`` if there never was a server."""
    chosen = default_storage() if storage is None else StorageConfig(uri=storage)
    directory = ServerConfig(storage=chosen, state=state).state_directory
    if not (directory / DATABASE).exists():
        raise FileNotFoundError(
            errno.ENOENT, "there is no server's state; start the server once, or pass --state", str(directory)
        )
    return closing(KeyStore(directory / DATABASE))
