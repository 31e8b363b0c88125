"""What every contract shares: clauses become tests, and none of them can be lost, replaced or skipped in silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from archetype_contracts.clause import Book, Clause
from archetype_core.store import Capability

_RESERVED = re.compile(r"test_[a-z]\d{3}(_|$)")
_SEALED = ("book", "hook", "check", "subject", "claims", "clauses", "require_whole", "voided")


class Contract:
    """The base of all contracts: turns a book of clauses into the test methods of every adopting class.

    An adopter's class is checked when it is defined: a clause that it overrides, a capability or a known failure that
    does not exist, is a ``TypeError`` there, which pytest reports as a collection error.
    """

    book: ClassVar[Book[Any]]
    hook: ClassVar[str]
    capabilities: ClassVar[frozenset[Capability]]
    known_failures: ClassVar[Mapping[str, str]] = {}
    adapter: str = "?"
    """The type name of what was last opened, for the report."""
    remarks: tuple[str, ...] = ()
    """How much a clause tried, for the summary of a run."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "book" in cls.__dict__ and Contract in cls.__bases__:
            return
        _check_overrides(cls)
        _check_claims(cls)
        for clause in cls.book:
            # A class that narrows its base's claims hides the clauses that no longer apply.
            applies = clause.void(cls.claims()) is None
            setattr(cls, clause.test_name, _method(clause) if applies else None)

    @classmethod
    def claims(cls) -> frozenset[Capability]:
        """The capabilities that the adopter declares."""
        return getattr(cls, "capabilities", frozenset())

    @classmethod
    def clauses(cls) -> tuple[Clause[Any], ...]:
        """The clauses that apply to what the adopter claims, by id."""
        return tuple(clause for clause in cls.book if clause.void(cls.claims()) is None)

    @classmethod
    def voided(cls) -> tuple[tuple[Clause[Any], str], ...]:
        """The clauses that do not apply, each with the reason."""
        found = ((clause, clause.void(cls.claims())) for clause in cls.book)
        return tuple((clause, reason) for clause, reason in found if reason is not None)

    @classmethod
    def require_whole(cls) -> None:
        """Raise ``TypeError`` unless every clause that applies is still the test it was made."""
        for clause in cls.clauses():
            if getattr(getattr(cls, clause.test_name, None), "clause", None) is not clause:
                raise TypeError(f"{cls.__name__} lost clause {clause.id}: {clause.test_name} was removed or replaced")

    def subject(self, place: Path) -> AbstractContextManager[Any]:
        """What the clauses are run on, made in an empty directory."""
        raise NotImplementedError

    def check(self, clause: Clause[Any], place: Path) -> None:
        """Run one clause; a known failure must fail, everything else must pass."""
        __tracebackhide__ = True
        reason = self.known_failures.get(clause.id)
        try:
            with self.subject(place) as subject:
                clause.check(subject)
        except Exception as exc:
            if reason is not None:
                pytest.xfail(f"{clause.id}: {reason}")
            exc.add_note(f"{clause.id}: {clause.sentence}")
            raise
        if reason is not None:
            pytest.fail(f"{clause.id} is listed in known_failures ({reason}), but it holds: remove it from the list")


def _method(clause: Clause[Any]) -> Callable[[Contract, Path], None]:
    def test(self: Contract, tmp_path: Path) -> None:
        __tracebackhide__ = True
        self.check(clause, tmp_path)

    test.__name__ = clause.test_name
    test.__doc__ = f"{clause.id}: {clause.sentence}"
    test.clause = clause  # type: ignore[attr-defined]  # reason: how the plugin and `require_whole` recognise it
    return test


def _check_overrides(cls: type[Contract]) -> None:
    tests = {clause.test_name: clause for clause in cls.book}
    for base in cls.__mro__:
        if Contract in base.__bases__:
            break
        for name, value in base.__dict__.items():
            clause = tests.get(name)
            if clause is not None and ((value is None and base is not cls) or getattr(value, "clause", None) is clause):
                continue
            if clause is not None or _RESERVED.match(name):
                about = f"overrides clause {clause.id}" if clause else "has the name of a clause"
                raise TypeError(f"{base.__name__}.{name} {about}; list what fails in known_failures instead")
            if name in _SEALED:
                raise TypeError(
                    f"{base.__name__}.{name} overrides a part of the contract; an adopter defines {cls.hook}"
                )


def _check_claims(cls: type[Contract]) -> None:
    claimed: Any = cls.claims()
    if not isinstance(claimed, frozenset) or not all(isinstance(item, Capability) for item in claimed):
        raise TypeError(f"{cls.__name__}.capabilities is a frozenset of Capability members, got {claimed!r}")
    for key, reason in cls.known_failures.items():
        clause = cls.book.clauses.get(key)
        if clause is None:
            raise TypeError(f"{cls.__name__}.known_failures names {key!r}, which is no clause of this contract")
        void = clause.void(cls.claims())
        if void is not None:
            raise TypeError(f"{cls.__name__}.known_failures names {key}, which does not apply: {void}")
        if not reason.strip():
            raise TypeError(f"{cls.__name__}.known_failures[{key!r}] gives no reason")
