"""The clauses of the store contract; the modules beside this one register them."""

from __future__ import annotations

from archetype_contracts.clause import Registry
from archetype_contracts.store.subject import StoreSubject

REGISTRY: Registry[StoreSubject] = Registry("Store")
clause = REGISTRY.clause
