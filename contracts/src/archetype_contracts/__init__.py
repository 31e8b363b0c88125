"""The promises of Archetype's ports as tests: subclass a contract, define its hook, run pytest.

The contracts load on first use, because pytest imports this package for its plugin in every run.
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

_MODULES = {
    "Capability": "archetype_core.store",
    "CrashContract": "archetype_contracts.crash.contract",
    "GateContract": "archetype_contracts.gate.contract",
    "GateLimits": "archetype_contracts.gate.limits",
    "KernelContract": "archetype_contracts.kernel.contract",
    "StoreContract": "archetype_contracts.store.contract",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)
