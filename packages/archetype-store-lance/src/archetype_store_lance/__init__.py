"""The Lance store: worlds in Lance tables, in a directory or an object store."""

from archetype_store_lance.address import Address
from archetype_store_lance.inspection import verify
from archetype_store_lance.limits import Limits
from archetype_store_lance.log_files import LocalLogFiles, LogFiles, RemoteLogFiles
from archetype_store_lance.opening import compact, open_lance
from archetype_store_lance.report import LanceFinding, LanceReport
from archetype_store_lance.store import LanceStore

__all__ = [
    "Address",
    "LanceFinding",
    "LanceReport",
    "LanceStore",
    "Limits",
    "LocalLogFiles",
    "LogFiles",
    "RemoteLogFiles",
    "compact",
    "open_lance",
    "verify",
]
