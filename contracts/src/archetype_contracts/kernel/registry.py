"""The clauses of the kernel contract; the modules beside this one register them."""

from __future__ import annotations

from archetype_contracts.clause import Registry
from archetype_contracts.kernel.subject import KernelSubject

REGISTRY: Registry[KernelSubject] = Registry("Kernel")
clause = REGISTRY.clause
