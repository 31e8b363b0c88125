"""The Lance store: worlds in Lance tables, in a directory or an object store."""

from archetype_store_lance.inspection import Finding, Report, compact, verify
from archetype_store_lance.opening import open_lance
from archetype_store_lance.store import LanceStore

__all__ = ["Finding", "LanceStore", "Report", "compact", "open_lance", "verify"]
