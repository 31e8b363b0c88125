"""The Python kernel keeps the whole kernel contract."""

from __future__ import annotations

from archetype_contracts import KernelContract
from archetype_core.engine import Kernel, PythonKernel

_: type[Kernel] = PythonKernel


class TestPythonKernel(KernelContract):
    def make_kernel(self) -> Kernel:
        return PythonKernel()
