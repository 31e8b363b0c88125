"""The crash contract as a class: one subclass that names how a store is opened holds it to every clause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from archetype_contracts.contract import Contract

# Each of these enters its clauses in the book.
from archetype_contracts.crash import (  # noqa: F401  # reason: importing them fills the book
    failure,
    kill,
    power,
    residue,
    rivalry,
)
from archetype_contracts.crash.book import BOOK
from archetype_contracts.crash.effort import Effort
from archetype_contracts.crash.subject import CrashSubject
from archetype_core.store import Capability


class CrashContract(Contract):
    """What a persistent store promises when its process is killed, its disk fails or the power goes.

        class TestMyStoreCrash(CrashContract):
            capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})
            opener = "my_tests.crash:open_store"

    ``opener`` names a function that takes a directory and returns an open ``Store``; it is imported in processes of its
    own, which open nothing but that. Needs Linux on x86_64 or aarch64, seccomp, glibc and a C compiler.
    """

    book = BOOK
    hook = "opener"
    opener: ClassVar[str]
    durability: ClassVar[Literal["tick", "interval", "exit"]] = "tick"
    """What the opened store promises of an acknowledged tick."""
    window_s: ClassVar[float] = 0.0
    """How much a store of ``durability="interval"`` may lose."""
    patience_s: ClassVar[float] = 60.0
    """After so long a process counts as hung."""
    volatile: ClassVar[tuple[str, ...]] = ("*-shm",)
    """Names of files that mean nothing after a power cut, such as the shared memory of SQLite."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        opener = getattr(cls, "opener", None)
        if opener is not None:
            if not isinstance(opener, str) or opener.count(":") != 1:
                raise TypeError(f"{cls.__name__}.opener is a 'module:function', not {opener!r}")
            if Capability.PERSISTENCE not in getattr(cls, "capabilities", frozenset()):
                raise TypeError(f"{cls.__name__} claims no PERSISTENCE, so no crash can take anything from it")
            if (cls.durability == "interval") != (cls.window_s > 0):
                raise TypeError(f"{cls.__name__}: durability='interval' and a window_s go together")
        super().__init_subclass__(**kwargs)

    @contextmanager
    def subject(self, place: Path) -> Iterator[CrashSubject]:
        """Places to crash in."""
        window = {"tick": 0.0, "interval": self.window_s, "exit": None}[self.durability]
        type(self).adapter = self.opener
        subject = CrashSubject(
            self.opener,
            self.claims(),
            place / "crash",
            Effort.of(type(self)),
            window_s=window,
            patience_s=self.patience_s,
            volatile=self.volatile,
        )
        with subject:
            try:
                yield subject
            finally:
                for remark in subject.remarks:
                    print(remark)  # noqa: T201  # reason: pytest shows it where a clause fails
                self.remarks = tuple(subject.remarks)


__all__ = ["Capability", "CrashContract"]
