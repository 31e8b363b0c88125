"""The clauses of the gate contract; the modules beside this one register them."""

from __future__ import annotations

from archetype_contracts.clause import Registry
from archetype_contracts.gate.subject import GateSubject

REGISTRY: Registry[GateSubject] = Registry("CommandGate")
clause = REGISTRY.clause
