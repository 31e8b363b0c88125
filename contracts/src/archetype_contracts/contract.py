"""The base of all contracts: it turns clauses into tests, and no clause can be removed, replaced or skipped silently."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from archetype_contracts.clause import Clause, Registry
from archetype_core.store import Capability

_RESERVED = re.compile(r"test_[a-z]\d{3}(_|$)")
_SEALED = ("registry", "hook", "check", "subject", "claims", "clauses", "require_whole", "voided")


class Contract:
    """Gives every adopting class one test method per clause.

    A class is checked when it is defined. Overriding a clause, or naming a capability or a known failure that does not
    exist, raises ``TypeError``, which pytest reports as a collection error.
    """

    registry: ClassVar[Registry[Any]]
    hook: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    known_failures: ClassVar[Mapping[str, str]] = {}
    evidence: ClassVar[str] = "{place}"
    """Where a failure sends its reader; ``{place}`` is the directory under test."""
    adapter: str = "?"
    """The type name of the adapter that was opened last, for the report."""
    remarks: tuple[str, ...] = ()
    """How many cases a clause tried, for the summary of a run."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "registry" in cls.__dict__ and Contract in cls.__bases__:
            return
        _check_overrides(cls)
        _check_claims(cls)
        for clause in cls.registry:
            # A subclass may claim less than its base: None hides the inherited tests that no longer apply.
            applies = clause.void(cls.claims()) is None
            setattr(cls, clause.test_name, _method(clause) if applies else None)

    @classmethod
    def claims(cls) -> frozenset[Capability]:
        """The capabilities that the adopter declares."""
        return getattr(cls, "capabilities", frozenset())

    @classmethod
    def clauses(cls) -> tuple[Clause[Any], ...]:
        """The clauses that apply to the adopter, in order of id."""
        return tuple(clause for clause in cls.registry if clause.void(cls.claims()) is None)

    @classmethod
    def voided(cls) -> tuple[tuple[Clause[Any], str], ...]:
        """The clauses that do not apply to the adopter, each with the reason."""
        found = ((clause, clause.void(cls.claims())) for clause in cls.registry)
        return tuple((clause, reason) for clause, reason in found if reason is not None)

    @classmethod
    def require_whole(cls) -> None:
        """Raise ``TypeError`` unless the class still has the original test of every clause that applies."""
        for clause in cls.clauses():
            if getattr(getattr(cls, clause.test_name, None), "clause", None) is not clause:
                raise TypeError(
                    f"{cls.__name__} lost clause {clause.id}: restore {clause.test_name}, which was removed or replaced"
                )

    def subject(self, place: Path) -> AbstractContextManager[Any]:
        """The object that the clauses get, in an empty directory."""
        raise NotImplementedError

    def check(self, clause: Clause[Any], place: Path) -> None:
        """Run one clause: it must pass, or fail if it is a known failure."""
        __tracebackhide__ = True
        reason = self.known_failures.get(clause.id)
        try:
            with self.subject(place) as subject:
                clause.check(subject)
        except Exception as exc:
            if reason is not None:
                pytest.xfail(f"{clause.id}: {reason}")
            exc.add_note(f"{clause.id}: {clause.sentence}")
            exc.add_note(f"Look at: {self.evidence.format(place=place)}")
            raise
        if reason is not None:
            pytest.fail(f"{clause.id} is listed in known_failures ({reason}), but it passes: remove it from the list")


def _method(clause: Clause[Any]) -> Callable[[Contract, Path], None]:
    def test(self: Contract, tmp_path: Path) -> None:
        __tracebackhide__ = True
        self.check(clause, tmp_path)

    test.__name__ = clause.test_name
    test.__doc__ = f"{clause.id}: {clause.sentence}"
    test.clause = clause  # type: ignore[attr-defined]  # reason: the plugin and `require_whole` look for it
    return test


def _check_overrides(cls: type[Contract]) -> None:
    tests = {clause.test_name: clause for clause in cls.registry}
    for base in cls.__mro__:
        if Contract in base.__bases__:
            break
        for name, value in base.__dict__.items():
            clause = tests.get(name)
            if clause is not None and ((value is None and base is not cls) or getattr(value, "clause", None) is clause):
                continue
            if clause is not None or _RESERVED.match(name):
                about = f"overrides clause {clause.id}" if clause else "is named like a clause"
                raise TypeError(
                    f"{base.__name__}.{name} {about}: remove it, and list a clause that fails in known_failures"
                )
            if name in _SEALED:
                raise TypeError(
                    f"{base.__name__}.{name} overrides a part of the contract: an adopter defines only {cls.hook}"
                )


def _check_claims(cls: type[Contract]) -> None:
    claimed: Any = cls.claims()
    if not isinstance(claimed, frozenset) or not all(isinstance(item, Capability) for item in claimed):
        raise TypeError(f"{cls.__name__}.capabilities must be a frozenset of Capability members, got {claimed!r}")
    for key, reason in cls.known_failures.items():
        clause = cls.registry.clauses.get(key)
        if clause is None:
            raise TypeError(f"{cls.__name__}.known_failures names {key!r}, which is not a clause of this contract")
        void = clause.void(cls.claims())
        if void is not None:
            raise TypeError(f"{cls.__name__}.known_failures names {key}, which does not apply: {void}")
        if not reason.strip():
            raise TypeError(f"{cls.__name__}.known_failures[{key!r}] is empty: write the reason")
