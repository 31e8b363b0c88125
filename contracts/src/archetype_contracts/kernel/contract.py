"""The kernel contract as a class: one subclass with one hook holds a kernel to every clause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from archetype_contracts.contract import Contract

# Each of these enters its clauses in the book.
from archetype_contracts.kernel import column, fold, gate, program  # noqa: F401  # reason: importing them fills the book
from archetype_contracts.kernel.book import BOOK
from archetype_contracts.kernel.subject import KernelSubject
from archetype_contracts.verdict import require
from archetype_core.engine import Kernel


class KernelContract(Contract):
    """Every promise of the ``Kernel`` port, as tests of the kernel that a subclass makes.

        class TestMyKernel(KernelContract):
            def make_kernel(self) -> Kernel:
                return MyKernel()

    ``known_failures`` maps clause ids to a reason; such a clause must fail. ``examples`` is how many mutations the
    property tries, ``None`` for the number in the active Hypothesis profile.
    """

    book = BOOK
    hook = "make_kernel"
    examples: ClassVar[int | None] = None

    def make_kernel(self) -> Kernel:
        """Make a kernel."""
        raise NotImplementedError(f"{type(self).__name__} defines no make_kernel")

    @contextmanager
    def subject(self, place: Path) -> Iterator[KernelSubject]:  # noqa: ARG002  # reason: a kernel keeps nothing anywhere
        """A kernel of its own for every clause."""
        kernel = self.make_kernel()
        require(isinstance(kernel, Kernel), f"{type(kernel).__name__} lacks a verb of the Kernel protocol")
        type(self).adapter = type(kernel).__name__
        yield KernelSubject(kernel, self.examples)
