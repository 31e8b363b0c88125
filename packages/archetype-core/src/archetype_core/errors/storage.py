"""Errors of stores and adapters."""

from __future__ import annotations

from collections.abc import Iterable

from archetype_core.errors.root import ArchetypeError

# Storage (ARC-S)


class CommitError(ArchetypeError, RuntimeError):
    """A store could not be written or opened; nothing of the tick is visible."""

    code = "ARC-S001"


class TickConflict(CommitError):
    """A commit is not the world's next tick, because another writer committed one."""

    code = "ARC-S002"

    def __init__(self, world_id: str, expected: int, got: int, owner: str | None = None) -> None:
        self.world_id, self.expected, self.got, self.owner = world_id, expected, got, owner
        by = f" (last written by {owner})" if owner else ""
        super().__init__(
            f"tick {got} cannot be committed, because the next one of world {world_id} is {expected}{by}: another handle, "
            "runtime or process moved it on. Close this one with shutdown(), then declare or open the world again"
        )


class CommitUncertain(CommitError):
    """A commit failed when its data may have been on disk already; the next step finds out and repeats or adopts it."""

    code = "ARC-S008"

    def __init__(self, world_id: str, tick: int, reason: str) -> None:
        self.world_id, self.tick, self.reason = world_id, tick, reason
        super().__init__(
            f"tick {tick} of world {world_id} may be stored or not: {reason}; step again: "
            "it finds out, and adopts the tick or repeats it"
        )


class StoreClosed(ArchetypeError, RuntimeError):
    """A store was used after it was closed."""

    code = "ARC-S003"

    def __init__(self, store: str) -> None:
        self.store = store
        super().__init__(f"{store} is closed: open it again")


class CorruptStore(ArchetypeError, RuntimeError):
    """Stored data is damaged, missing or from another moment."""

    code = "ARC-S004"

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place} is damaged: {reason}")


class UnsupportedCapability(ArchetypeError, NotImplementedError):
    """A store was asked for a capability that it does not claim."""

    code = "ARC-S005"

    def __init__(self, store: str, capability: str) -> None:
        self.store, self.capability = store, capability
        super().__init__(f"{store} does not claim {capability}: check `store.capabilities`, or use another store")


class AdapterMissing(ArchetypeError, ImportError):
    """No installed package provides the named store or kernel."""

    code = "ARC-S006"

    def __init__(self, kind: str, name: str, remedy: str) -> None:
        self.kind, self.adapter, self.remedy = kind, name, remedy
        super().__init__(f"no {kind} for {name!r} is installed: {remedy}")


class UnknownScheme(ArchetypeError, ValueError):
    """No adapter is known for the scheme of a storage address."""

    code = "ARC-S007"

    def __init__(self, uri: str, scheme: str, known: Iterable[str]) -> None:
        self.uri, self.scheme, self.known = uri, scheme, tuple(known)
        super().__init__(f"unknown storage scheme {scheme!r} in {uri!r}: use one of {', '.join(self.known)}")


class StorageNotFound(ArchetypeError, FileNotFoundError):
    """A place was opened to read, and it holds no store; nothing was created there."""

    code = "ARC-S009"

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(f"there is no store at {place}: correct the path, or declare a world there and run it")


class OtherStore(ArchetypeError, ValueError):
    """An address names a place where a store of another kind is; nothing was changed there."""

    code = "ARC-S011"

    def __init__(self, given: str, address: str) -> None:
        self.given, self.address = given, address
        super().__init__(f"the store at {given} is of another kind than this address says: open it as {address}")


class StorageReadOnly(ArchetypeError, PermissionError):
    """A place can be read and not written; nothing was stored or changed there."""

    code = "ARC-S010"

    def __init__(self, place: str) -> None:
        self.place = place
        super().__init__(
            f"{place} is read-only, so nothing can be stored there: make it writable and open it again, "
            "or copy it to a place that is, or fork the world into one"
        )
