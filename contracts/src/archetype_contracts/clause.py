"""A clause: one promise of a port, with a stable id, a sentence, and the function that checks it."""

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
    """A promise and its check: ``check`` takes the subject under test and raises if the promise is broken.

    The clause applies only to adapters that claim every capability in ``needs`` and do not claim ``lacks``.
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
        """The reason why the clause does not apply to an adapter with these claims, or ``None`` if it applies."""
        if self.lacks in claimed:
            return f"{self.lacks} is claimed"
        missing = sorted(self.needs - claimed)
        return f"{' and '.join(missing)} not claimed" if missing else None


@dataclass(slots=True)
class Registry(Generic[S]):
    """The clauses of one contract, by id. An id is never reused for another promise."""

    port: str
    clauses: dict[str, Clause[S]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Clause[S]]:
        return iter(self.clauses[key] for key in sorted(self.clauses))

    def clause(
        self, key: str, sentence: str, *, needs: Iterable[Capability] = (), lacks: Capability | None = None
    ) -> Callable[[Callable[[S], None]], Clause[S]]:
        """Decorate a check: register it as a clause under an id that is still free."""
        if not _ID.fullmatch(key) or key in self.clauses:
            raise ValueError(f"{key!r} is not a clause id such as 'S-001', or it is registered already")

        def register(check: Callable[[S], None]) -> Clause[S]:
            made = self.clauses[key] = Clause(key, sentence, check, frozenset(needs), lacks)
            return made

        return register
