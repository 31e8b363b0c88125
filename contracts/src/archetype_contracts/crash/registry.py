"""The clauses of the crash contract; the modules beside this one register them."""

from __future__ import annotations

from archetype_contracts.clause import Registry
from archetype_contracts.crash.subject import CrashSubject

REGISTRY: Registry[CrashSubject] = Registry("Store")
clause = REGISTRY.clause
