"""The crash contract: a subclass that names the function that opens a store runs every clause on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from archetype_contracts.contract import Contract

# Importing each of these registers its clauses.
from archetype_contracts.crash import (  # noqa: F401  # reason: importing them registers their clauses
    failure,
    kill,
    leftovers,
    power,
    race,
)
from archetype_contracts.crash.registry import REGISTRY
from archetype_contracts.crash.settings import CrashSettings
from archetype_contracts.crash.subject import CrashSubject
from archetype_core.store import Capability


class CrashContract(Contract):
    """What a persistent store promises when its process is killed, its disk fails or the power is cut.

        class TestMyStoreCrash(CrashContract):
            capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})
            opener = "my_tests.crash:open_store"

    ``opener`` names a function that takes a directory and returns an open ``Store``. It is imported and called in separate
    processes. The contract needs Linux on x86_64 or aarch64, seccomp, glibc and a C compiler.
    """

    registry = REGISTRY
    hook = "opener"
    evidence = "the fault and the calls above; the files in {place}; ARCHETYPE_CRASH_AT=<call> repeats one call"
    opener: ClassVar[str]
    durability: ClassVar[Literal["tick", "interval", "exit"]] = "tick"
    """What the store promises about an acknowledged tick."""
    window_s: ClassVar[float] = 0.0
    """How many seconds a store with ``durability="interval"`` may lose."""
    patience_s: ClassVar[float] = 60.0
    """After this many seconds a process counts as hung."""
    volatile: ClassVar[tuple[str, ...]] = ("*-shm",)
    """Patterns of files that a power cut removes, such as the shared memory of SQLite."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        opener = getattr(cls, "opener", None)
        if opener is not None:
            if not isinstance(opener, str) or opener.count(":") != 1:
                raise TypeError(f"{cls.__name__}.opener must be 'module:function', got {opener!r}")
            if Capability.PERSISTENCE not in getattr(cls, "capabilities", frozenset()):
                raise TypeError(
                    f"{cls.__name__} must claim PERSISTENCE: only a store that persists can lose data in a crash"
                )
            if (cls.durability == "interval") != (cls.window_s > 0):
                raise TypeError(f"{cls.__name__}: set window_s if and only if durability is 'interval'")
        super().__init_subclass__(**kwargs)

    @contextmanager
    def subject(self, place: Path) -> Iterator[CrashSubject]:
        """Make the directory in which processes run."""
        window = {"tick": 0.0, "interval": self.window_s, "exit": None}[self.durability]
        type(self).adapter = self.opener
        subject = CrashSubject(
            self.opener,
            self.claims(),
            place / "crash",
            CrashSettings.of(type(self)),
            window_s=window,
            patience_s=self.patience_s,
            volatile=self.volatile,
        )
        with subject:
            try:
                yield subject
            finally:
                for remark in subject.remarks:
                    print(remark)  # noqa: T201  # reason: pytest shows it when a clause fails
                self.remarks = tuple(subject.remarks)


__all__ = ["Capability", "CrashContract"]
