"""The executable meaning of Archetype's ports: subclass a contract, name one hook, run pytest.

The contracts load on first use: pytest imports this package in every run for its plugin, and a run that holds nobody to
a contract should pay nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archetype_contracts.crash.contract import CrashContract
    from archetype_contracts.gate.contract import GateContract
    from archetype_contracts.gate.limits import GateLimits
    from archetype_contracts.kernel.contract import KernelContract
    from archetype_contracts.store.contract import StoreContract
    from archetype_core.store import Capability

__all__ = ["Capability", "CrashContract", "GateContract", "GateLimits", "KernelContract", "StoreContract"]

_HOMES = {
    "Capability": "archetype_core.store.port",
    "CrashContract": "archetype_contracts.crash.contract",
    "GateContract": "archetype_contracts.gate.contract",
    "GateLimits": "archetype_contracts.gate.limits",
    "KernelContract": "archetype_contracts.kernel.contract",
    "StoreContract": "archetype_contracts.store.contract",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
