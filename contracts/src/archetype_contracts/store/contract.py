"""The store contract: a subclass with one hook runs every clause on an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from archetype_contracts.contract import Contract

# Importing each of these registers its clauses.
from archetype_contracts.store import (  # noqa: F401  # reason: importing them registers their clauses
    capability,
    commit,
    concurrency,
    condition,
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
from archetype_contracts.store.registry import REGISTRY
from archetype_contracts.store.subject import StoreSubject
from archetype_core.store import Capability, Store


class StoreContract(Contract):
    """The promises of the ``Store`` port, as tests of the adapter that a subclass opens.

        class TestMyStore(StoreContract):
            capabilities = frozenset({Capability.TIME_TRAVEL, Capability.PERSISTENCE})

            @asynccontextmanager
            async def open_store(self, place: Path) -> AsyncIterator[Store]:
                store = MyStore(place)
                yield store
                store.close()

    ``known_failures`` maps clause ids to reasons; such a clause must fail. ``examples`` is the number of conditions that
    S-419 tries and of programs that S-950 tries; ``None`` takes it from the active Hypothesis profile.
    """

    registry = REGISTRY
    hook = "open_store"
    evidence = "the calls above, and the files of the store in {place}"
    examples: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if cls.open_store is not StoreContract.open_store and not hasattr(cls, "capabilities"):
            raise TypeError(
                f"{cls.__name__} declares no capabilities: to claim none, write `capabilities = frozenset()`"
            )
        super().__init_subclass__(**kwargs)

    def open_store(self, place: Path) -> AbstractAsyncContextManager[Store]:
        """Open the store in a directory, which is empty the first time, and close it on leaving the context."""
        raise NotImplementedError(f"{type(self).__name__} must define open_store")

    @contextmanager
    def subject(self, place: Path) -> Iterator[StoreSubject]:
        """Make a place with one open handle."""
        with StoreSubject(self.open_store, self.claims(), place / "place", self.examples) as subject:
            type(self).adapter = subject.adapter
            yield subject


__all__ = ["Capability", "StoreContract"]
