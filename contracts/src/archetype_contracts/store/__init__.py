"""The store contract: what every ``Store`` must do, clause by clause, and a state machine over all of it."""

from archetype_contracts.store.observation import read, scan_of

__all__ = ["read", "scan_of"]
