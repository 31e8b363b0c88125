"""The kernel contract: a subclass with one hook runs every clause on a kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from archetype_contracts.assertion import require
from archetype_contracts.contract import Contract

# Importing each of these registers its clauses.
from archetype_contracts.kernel import column, fold, migration, program  # noqa: F401  # reason: importing them registers their clauses
from archetype_contracts.kernel.registry import REGISTRY
from archetype_contracts.kernel.subject import KernelSubject
from archetype_core.engine import Kernel


class KernelContract(Contract):
    """The promises of the ``Kernel`` port, as tests of the kernel that a subclass makes.

        class TestMyKernel(KernelContract):
            def make_kernel(self) -> Kernel:
                return MyKernel()

    ``known_failures`` maps clause ids to reasons; such a clause must fail. ``examples`` is the number of mutations that
    K-301 tries; ``None`` takes it from the active Hypothesis profile.
    """

    registry = REGISTRY
    hook = "make_kernel"
    evidence = "the clause's function in the traceback: it shows the inputs of `materialize`"
    examples: ClassVar[int | None] = None

    def make_kernel(self) -> Kernel:
        """Make a kernel."""
        raise NotImplementedError(f"{type(self).__name__} must define make_kernel")

    @contextmanager
    def subject(self, place: Path) -> Iterator[KernelSubject]:  # noqa: ARG002  # reason: a kernel stores nothing
        """Make a new kernel for every clause."""
        kernel = self.make_kernel()
        require(
            isinstance(kernel, Kernel),
            f"expected a Kernel from the hook, got {type(kernel).__name__}, which lacks a verb of the protocol",
        )
        type(self).adapter = type(kernel).__name__
        yield KernelSubject(kernel, self.examples)
