"""Every error the project raises, in one tree.

An error carries its facts as attributes, a stable ``code``, and a message that says what happened, to what, and what to
do next. Each also is the built-in a caller would catch, so ``except LookupError`` works without importing this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class ArchetypeError(Exception):
    """The root of the tree; catch it to catch everything this project raises on purpose."""

    code: ClassVar[str] = "ARC-000"


# Data model (ARC-M)


class ComponentTypeError(ArchetypeError, TypeError):
    """A component class declares a field that has no Arrow form, or cannot be a column."""

    code = "ARC-M001"

    def __init__(self, component: str, field: str, reason: str, remedy: str) -> None:
        self.component, self.field, self.reason, self.remedy = component, field, reason, remedy
        super().__init__(f"{component}.{field}: {reason}. {remedy}")


class ValueRejected(ArchetypeError, ValueError):
    """A value cannot be stored in its column, and was refused where it entered."""

    code = "ARC-M002"

    def __init__(self, component: str, field: str, reason: str, *, row: int | None = None) -> None:
        self.component, self.field, self.reason, self.row = component, field, reason, row
        at = "" if row is None else f" (row {row})"
        super().__init__(f"{component}.{field}{at}: {reason}. Nothing was staged.")


class SignatureError(ArchetypeError, TypeError):
    """A set of components cannot be one archetype."""

    code = "ARC-M003"


class PayloadError(ArchetypeError, ValueError):
    """A component payload has no usable type, or does not fit the type that it names."""

    code = "ARC-M004"


class UnknownComponent(ArchetypeError, LookupError):
    """A stored or named component has no class in this process."""

    code = "ARC-M005"

    def __init__(self, name: str, hint: str) -> None:
        self.name = name
        super().__init__(f"no component class {name!r} is defined in this process: {hint}")


class SchemaMismatch(ArchetypeError, TypeError):
    """Columns do not fit the schema of the table they are meant for."""

    code = "ARC-M006"

    def __init__(self, table: str, differences: Iterable[str]) -> None:
        self.table, self.differences = table, tuple(differences)
        super().__init__(f"columns do not fit table {table}: {'; '.join(self.differences)}")


# The tick (ARC-T)


class EntityNotFound(ArchetypeError, LookupError):
    """An entity is not alive in the world, staged mutations included."""

    code = "ARC-T001"

    def __init__(self, entity_id: int, world: str) -> None:
        self.entity_id, self.world = entity_id, world
        super().__init__(f"no entity {entity_id} in world {world!r}; nothing was staged")


class ProcessorError(ArchetypeError, RuntimeError):
    """A processor raised, or returned a frame that the table cannot take; the tick was rolled back."""

    code = "ARC-T002"

    def __init__(self, processor: str, table: str, tick: int, reason: str) -> None:
        self.processor, self.table, self.tick, self.reason = processor, table, tick, reason
        super().__init__(
            f"{processor} failed on {table} at tick {tick}: {reason}. "
            "Nothing of the tick is visible; staged mutations are kept and the next step tries again."
        )


class ReentrantStep(ArchetypeError, RuntimeError):
    """A world was asked to step while it is stepping."""

    code = "ARC-T003"

    def __init__(
        self, world: str, tick: int, remedy: str = "stage mutations instead, they apply at the next tick"
    ) -> None:
        self.world, self.tick = world, tick
        super().__init__(f"world {world!r} is in the middle of tick {tick}: {remedy}")


class PendingMutations(ArchetypeError, RuntimeError):
    """A world with staged mutations was asked for something that would lose or blur them."""

    code = "ARC-T004"

    def __init__(self, world: str, count: int) -> None:
        self.world, self.count = world, count
        super().__init__(
            f"world {world!r} has {count} staged mutations: "
            "step it first, or fork with pending='copy' to take them along"
        )


class HookError(ArchetypeError, RuntimeError):
    """A hook registered with ``fail_fast=True`` failed."""

    code = "ARC-T005"

    def __init__(self, hook: str, event: str) -> None:
        self.hook, self.event = hook, event
        done = "nothing was run" if event == "PreTick" else "the tick is committed"
        super().__init__(f"hook {hook} failed on {event} and asked to fail fast; {done}")


# Worlds, runs and reads (ARC-W)


class WorldNotFound(ArchetypeError, LookupError):
    """No world of that name or id is in the store."""

    code = "ARC-W001"

    def __init__(self, world: str, known: Iterable[str] = ()) -> None:
        self.world, self.known = world, tuple(known)
        shown = ", ".join(self.known[:8]) + (f" and {len(self.known) - 8} more" if len(self.known) > 8 else "")
        known_text = f"; it holds {shown}" if self.known else "; it is empty"
        super().__init__(f"no world {world!r} in this store{known_text}")


class TickNotFound(ArchetypeError, LookupError):
    """A tick lies outside the history of a world."""

    code = "ARC-W002"

    def __init__(self, world: str, tick: int, first: int | None, last: int | None) -> None:
        self.world, self.tick, self.first, self.last = world, tick, first, last
        span = "it has no ticks yet" if last is None else f"its history is ticks {first} to {last}"
        super().__init__(f"world {world!r} has no tick {tick}: {span}")


class RunConflict(ArchetypeError, ValueError):
    """A run id was used before and cannot start again."""

    code = "ARC-W003"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has ended; give a new run_id, or none to go on with the active run")


class AmbiguousWorld(ArchetypeError, LookupError):
    """Several worlds of a store have the name that one was asked for by."""

    code = "ARC-W004"

    def __init__(self, name: str, world_ids: Iterable[str]) -> None:
        self.name, self.world_ids = name, tuple(world_ids)
        super().__init__(
            f"{len(self.world_ids)} worlds are named {name!r}: give an id, one of {', '.join(self.world_ids)}"
        )


class WorldClosed(ArchetypeError, RuntimeError):
    """A world was used after it was closed."""

    code = "ARC-W005"

    def __init__(self, world: str) -> None:
        self.world = world
        super().__init__(f"world {world!r} is closed")


# Storage (ARC-S)


class CommitError(ArchetypeError, RuntimeError):
    """A tick could not be made durable; nothing of it is visible."""

    code = "ARC-S001"


class TickConflict(CommitError):
    """A commit is not the successor of the world's last tick: somebody else wrote it."""

    code = "ARC-S002"

    def __init__(self, world_id: str, expected: int, got: int, owner: str | None = None) -> None:
        self.world_id, self.expected, self.got, self.owner = world_id, expected, got, owner
        by = f" (last written by {owner})" if owner else ""
        super().__init__(
            f"world {world_id} expects tick {expected}, got {got}{by}: another writer moved it on; reopen the world"
        )


class StoreClosed(ArchetypeError, RuntimeError):
    """A store was used after it was closed."""

    code = "ARC-S003"

    def __init__(self, store: str) -> None:
        self.store = store
        super().__init__(f"{store} is closed")


class CorruptStore(ArchetypeError, RuntimeError):
    """Stored bytes are not what was written."""

    code = "ARC-S004"

    def __init__(self, place: str, reason: str) -> None:
        self.place, self.reason = place, reason
        super().__init__(f"{place} is damaged: {reason}")


class UnsupportedCapability(ArchetypeError, NotImplementedError):
    """A store was asked for something that it does not claim to do."""

    code = "ARC-S005"

    def __init__(self, store: str, capability: str) -> None:
        self.store, self.capability = store, capability
        super().__init__(f"{store} does not claim {capability}; check `store.capabilities` or use a store that does")


class AdapterMissing(ArchetypeError, ImportError):
    """No installed package offers the adapter that was named."""

    code = "ARC-S006"

    def __init__(self, kind: str, name: str, remedy: str) -> None:
        self.kind, self.adapter, self.remedy = kind, name, remedy
        super().__init__(f"no {kind} for {name!r} is installed: {remedy}")


class UnknownScheme(ArchetypeError, ValueError):
    """A storage address has a scheme that no adapter is known for."""

    code = "ARC-S007"

    def __init__(self, uri: str, scheme: str, known: Iterable[str]) -> None:
        self.uri, self.scheme, self.known = uri, scheme, tuple(known)
        super().__init__(f"unknown storage scheme {scheme!r} in {uri!r}; installed schemes: {', '.join(self.known)}")


# The gate (ARC-G)


class PermissionDenied(ArchetypeError, PermissionError):
    """No role of an actor allows a command."""

    code = "ARC-G001"

    def __init__(self, actor: str, roles: Iterable[str], command: str) -> None:
        self.actor, self.roles, self.command = actor, tuple(sorted(roles)), command
        has = f"its roles ({', '.join(self.roles)}) do not" if self.roles else "it has no role that would"
        super().__init__(f"{actor} may not {command}: {has} allow it")


class QuotaExceeded(ArchetypeError, RuntimeError):
    """An actor has used up what it may do, for this tick or this day."""

    code = "ARC-G002"

    def __init__(self, actor: str, quota: str, limit: int, used: int, asked: int) -> None:
        self.actor, self.quota, self.limit, self.used, self.asked = actor, quota, limit, used, asked
        when = {"commands": "the world's next tick", "tokens": "the next UTC day"}.get(quota, "later")
        super().__init__(
            f"{actor} has used {used} of {limit} {quota} and asked for {asked} more; "
            f"nothing was done, try again after {when}"
        )


class WorldExists(ArchetypeError, ValueError):
    """The name or id of a new world is taken."""

    code = "ARC-G003"

    def __init__(self, name: str, world_id: str) -> None:
        self.name, self.world_id = name, world_id
        super().__init__(f"there is a world {name!r} already ({world_id}): open that one, or choose another name")


class NotDeferrable(ArchetypeError, TypeError):
    """A command cannot wait in a queue, because it does not survive being written down."""

    code = "ARC-G004"

    def __init__(self, command: str) -> None:
        self.command = command
        super().__init__(
            f"{command} cannot be queued: execute it, queues hold commands to entities, messages and custom ones"
        )


class LedgerError(ArchetypeError, RuntimeError):
    """What the gate must put on record could not be written; nothing that was asked is done."""

    code = "ARC-G005"


class GateClosed(ArchetypeError, RuntimeError):
    """A gate was used after it was closed."""

    code = "ARC-G006"

    def __init__(self) -> None:
        super().__init__("the gate is closed: its worlds are down, their histories stay in their stores")


class NoHandler(ArchetypeError, LookupError):
    """A custom command has a name that no handler of the world was registered for."""

    code = "ARC-G007"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"no handler for custom command {name!r}; there are {', '.join(self.known) or 'none'}")


# The runtime (ARC-R)


class RuntimeClosed(ArchetypeError, RuntimeError):
    """A runtime was used after it was shut down."""

    code = "ARC-R001"

    def __init__(self) -> None:
        super().__init__("the runtime is shut down: make a new one, histories stay in their stores")


class WorldNotActive(ArchetypeError, RuntimeError):
    """A declared world was asked for something that only a live one has."""

    code = "ARC-R002"

    def __init__(self, world: str, remedy: str) -> None:
        self.world, self.remedy = world, remedy
        super().__init__(f"world {world!r} is not active yet: {remedy}")


class LoopBusy(ArchetypeError, RuntimeError):
    """A sync handle was asked, from within its runtime's own event loop, for something that takes turns on that loop."""

    code = "ARC-R003"

    def __init__(self) -> None:
        super().__init__(
            "this would wait for the event loop that it was called from, in a hook or an awaiting processor: "
            "do it after the run, or use the async runtime"
        )


# Plans (ARC-P)


class PlanTooDeep(ArchetypeError, RecursionError):
    """A processor chained more lazy steps than the engine will plan."""

    code = "ARC-P001"

    def __init__(self, depth: int, limit: int) -> None:
        self.depth, self.limit = depth, limit
        super().__init__(
            f"a lazy plan of {depth} steps is over the limit of {limit}: "
            "call df.collect() in between, or fold the steps"
        )
