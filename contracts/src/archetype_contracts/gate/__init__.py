"""What a ``CommandGate`` promises: policy, quotas, queue, audit and worlds."""

from archetype_contracts.gate.limits import GateLimits, ManualClock
from archetype_contracts.gate.subject import Tampering

__all__ = ["GateLimits", "ManualClock", "Tampering"]
