"""The store contract as a class: one subclass with one hook holds an adapter to every clause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from archetype_contracts.contract import Contract

# Each of these enters its clauses in the book.
from archetype_contracts.store import (  # noqa: F401  # reason: importing them fills the book
    capability,
    commit,
    concurrency,
    conflict,
    fork,
    head,
    lifetime,
    program,
    scan,
    search,
    table,
    value,
)
from archetype_contracts.store.book import BOOK
from archetype_contracts.store.subject import StoreSubject
from archetype_core.store import Capability, Store


class StoreContract(Contract):
    """Every promise of the ``Store`` port, as tests of the adapter that a subclass opens.

        class TestMyStore(StoreContract):
            capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})

            @asynccontextmanager
            async def open_store(self, place: Path) -> AsyncIterator[Store]:
                store = MyStore(place)
                yield store
                store.close()

    ``known_failures`` maps clause ids to a reason; such a clause must fail. ``examples`` is how many programs the state
    machine tries, ``None`` for the number in the active Hypothesis profile.
    """

    book = BOOK
    hook = "open_store"
    examples: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.open_store is not StoreContract.open_store and not hasattr(cls, "capabilities"):
            raise TypeError(f"{cls.__name__} declares no capabilities; claim none with `capabilities = frozenset()`")
        super().__init_subclass__(**kwargs)

    def open_store(self, place: Path) -> AbstractAsyncContextManager[Store]:
        """Open a store in a directory, which is empty the first time; an async context manager that closes it again."""
        raise NotImplementedError(f"{type(self).__name__} defines no open_store")

    @contextmanager
    def subject(self, place: Path) -> Iterator[StoreSubject]:
        """A place with one open handle."""
        with StoreSubject(self.open_store, self.claims(), place / "place", self.examples) as subject:
            type(self).adapter = subject.adapter
            yield subject


__all__ = ["Capability", "StoreContract"]
