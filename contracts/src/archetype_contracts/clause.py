"""A clause: one promise of a port, with a stable id, a sentence, and the check that holds an adapter to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from archetype_core.store import Capability

S = TypeVar("S")

_ID = re.compile(r"[A-Z]-\d{3}")


@dataclass(frozen=True, slots=True)
class Clause(Generic[S]):
    """A promise and its check; ``check`` takes the subject under test and raises where the promise is broken.

    ``needs`` are capabilities without which the promise is void, ``lacks`` one whose absence it is about.
    """

    id: str
    sentence: str
    check: Callable[[S], None]
    needs: frozenset[Capability] = frozenset()
    lacks: Capability | None = None

    @property
    def test_name(self) -> str:
        """The name of the test method that runs the clause."""
        return f"test_{self.id.replace('-', '').lower()}_{self.check.__name__}"

    def void(self, claimed: frozenset[Capability]) -> str | None:
        """Why the clause does not apply to an adapter with these claims, or ``None`` if it does."""
        if self.lacks in claimed:
            return f"{self.lacks} is claimed"
        missing = sorted(self.needs - claimed)
        return f"{' and '.join(missing)} not claimed" if missing else None


@dataclass(slots=True)
class Book(Generic[S]):
    """The clauses of one contract; an id is used once and for ever."""

    port: str
    clauses: dict[str, Clause[S]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Clause[S]]:
        return iter(self.clauses[key] for key in sorted(self.clauses))

    def clause(
        self, key: str, sentence: str, *, needs: Iterable[Capability] = (), lacks: Capability | None = None
    ) -> Callable[[Callable[[S], None]], Clause[S]]:
        """Enter a check into the book."""
        if not _ID.fullmatch(key) or key in self.clauses:
            raise ValueError(f"{key!r} is no clause id, or is taken")

        def enter(check: Callable[[S], None]) -> Clause[S]:
            made = self.clauses[key] = Clause(key, sentence, check, frozenset(needs), lacks)
            return made

        return enter
