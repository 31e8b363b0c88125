"""Finds kernels by name, through entry points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from archetype_core.adapter import KERNELS, PACKAGES, Adapters, installed
from archetype_core.engine.materialize import PythonKernel
from archetype_core.engine.port import Kernel
from archetype_core.errors import AdapterMissing


def load_kernel(kernel: str | Kernel, *, adapters: Adapters | None = None) -> Kernel:
    """The kernel of a name, ``python`` or ``native``; an instance is taken as it is.

    ``adapters`` replaces the installed entry points.
    """
    if not isinstance(kernel, str):
        return kernel
    if kernel == "python":
        return PythonKernel()
    known = installed(KERNELS) if adapters is None else adapters
    if kernel not in known:
        remedy = (
            f"pip install {PACKAGES[kernel]}"
            if kernel in PACKAGES
            else f"installed kernels: {', '.join(sorted({'python', *known}))}"
        )
        raise AdapterMissing("kernel", kernel, remedy)
    factory: Callable[[], Any] = known[kernel].load()
    found: Kernel = factory()
    return found
