"""The command gate: policy, quotas, queue, audit log and ledger, and the services behind it."""

from archetype_gate.container import ServiceContainer
from archetype_gate.inspection import read_audit, verify
from archetype_gate.ledger import AcceptedCommand, AuditEntry, Damage, Ledger, Settlement
from archetype_gate.policy import Policy
from archetype_gate.quota import Quotas, Usage
from archetype_gate.service import CommandService
from archetype_gate.sqlite import SqliteLedger
from archetype_gate.tick_tracer import otel_hooks

__all__ = [
    "AcceptedCommand",
    "AuditEntry",
    "CommandService",
    "Damage",
    "Ledger",
    "Policy",
    "Quotas",
    "ServiceContainer",
    "Settlement",
    "SqliteLedger",
    "Usage",
    "otel_hooks",
    "read_audit",
    "verify",
]
