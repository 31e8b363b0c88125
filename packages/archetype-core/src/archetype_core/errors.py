"""All errors that Archetype raises, as one tree.

Each error has a stable ``code``, its facts as attributes, and a message that says what happened, to what, and what to do
next. Each one also derives from a built-in exception, so ``except LookupError`` works without this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from archetype_core.argument import nearest


class ArchetypeError(Exception):
    """The root of the tree: catching it catches every error that Archetype raises itself.

    Its text is its message with the code at the end, so that a traceback's last line has the code and what to do.
    """

    code: ClassVar[str] = "ARC-000"

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.code}]"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from their message alone, which is not what the constructors take.
        return _rebuilt, (type(self), self.args), self.__dict__


# Data model (ARC-M)


class ComponentTypeError(ArchetypeError, TypeError):
    """A component class declares a field that cannot be stored as a column."""

    code = "ARC-M001"

    def __init__(self, component: str, field: str, reason: str, remedy: str) -> None:
        self.component, self.field, self.reason, self.remedy = component, field, reason, remedy
        super().__init__(f"{component}.{field}: {reason}. {remedy}")


class ValueRejected(ArchetypeError, ValueError):
    """A value does not fit its column and was refused before it was staged."""

    code = "ARC-M002"

    def __init__(self, component: str, field: str, reason: str, *, row: int | None = None) -> None:
        self.component, self.field, self.reason, self.row = component, field, reason, row
        at = "" if row is None else f" (row {row})"
        super().__init__(f"{component}.{field}{at}: {reason}. Nothing was staged; correct the value and try again.")


class SignatureError(ArchetypeError, TypeError):
    """A set of components cannot be one archetype."""

    code = "ARC-M003"


class PayloadError(ArchetypeError, ValueError):
    """A component payload names no known type, or does not fit the type it names."""

    code = "ARC-M004"


class UnknownComponent(ArchetypeError, LookupError):
    """A component that is stored, or given by name, has no class in this process."""

    code = "ARC-M005"

    def __init__(self, name: str, hint: str) -> None:
        self.name = name
        super().__init__(f"no component class {name!r} in this process: {hint}")


class SchemaMismatch(ArchetypeError, TypeError):
    """Columns do not match the schema of their table, or stored rows do not match the class of their component."""

    code = "ARC-M006"

    def __init__(self, table: str, differences: Iterable[str], *, remedy: str = "") -> None:
        self.table, self.differences, self.remedy = table, tuple(differences), remedy
        what = f"stored rows of {table} do not fit its class" if remedy else f"columns do not fit table {table}"
        text = f"{what}: {'; '.join(self.differences)}"
        super().__init__(f"{text}\n{remedy}" if remedy else text)


# The tick (ARC-T)


class EntityNotFound(ArchetypeError, LookupError):
    """An entity is not alive in the world; staged spawns and despawns count."""

    code = "ARC-T001"

    def __init__(self, entity_id: int, world: str) -> None:
        self.entity_id, self.world = entity_id, world
        super().__init__(
            f"entity {entity_id} is not alive in world {world!r}: check the id; reads see a new entity after a step"
        )


class ProcessorError(ArchetypeError, RuntimeError):
    """A processor raised, or returned what does not fit its table; the tick was rolled back.

    ``column`` and ``entity_id`` are those of the first wrong value, if there is one; a failing expression has a ``column`` too.
    """

    code = "ARC-T002"

    def __init__(
        self,
        processor: str,
        table: str,
        tick: int,
        reason: str,
        *,
        column: str | None = None,
        entity_id: int | None = None,
    ) -> None:
        self.processor, self.table, self.tick, self.reason = processor, table, tick, reason
        self.column, self.entity_id = column, entity_id
        stop = "" if reason.endswith(("?", "!")) else "."
        # A reason of several lines must not hide what to do.
        space = "\n" if "\n" in reason else " "
        super().__init__(
            f"{processor} failed on table {table} at tick {tick}: {reason}{stop}{space}"
            "The tick was rolled back and its staged mutations are kept; fix the cause and step again."
        )


class ReentrantStep(ArchetypeError, RuntimeError):
    """A call that waits for the running tick came from inside that tick."""

    code = "ARC-T003"

    def __init__(
        self, world: str, tick: int, remedy: str = "stage mutations instead; they apply at the next tick"
    ) -> None:
        self.world, self.tick = world, tick
        super().__init__(f"world {world!r} is still running tick {tick}: {remedy}")


class PendingMutations(ArchetypeError, RuntimeError):
    """A world with staged mutations was asked for a fork, which would lose them."""

    code = "ARC-T004"

    def __init__(self, world: str, count: int) -> None:
        self.world, self.count = world, count
        super().__init__(
            f"world {world!r} has {count} staged mutations that a fork would lose: "
            "step the world first, or fork with pending='copy'"
        )


class HookError(ArchetypeError, RuntimeError):
    """A hook registered with ``fail_fast=True`` failed."""

    code = "ARC-T005"

    def __init__(self, hook: str, event: str, reason: str) -> None:
        self.hook, self.event, self.reason = hook, event, reason
        state = {"PreTick": "the tick did not run", "OnDestroy": "the world is not closed"}
        super().__init__(
            f"hook {hook} failed on {event}: {reason}. It has fail_fast=True; fix it, or remove it: "
            f"{state.get(event, 'the tick is committed')}"
        )


class AttemptOver(ArchetypeError, RuntimeError):
    """Code that outlived a failed attempt of a tick tried to stage something."""

    code = "ARC-T006"

    def __init__(self, world: str, tick: int) -> None:
        self.world, self.tick = world, tick
        super().__init__(
            f"the attempt of tick {tick} of world {world!r} that this code belongs to has failed: nothing can be staged in it; "
            "the next step makes a new attempt"
        )


class UnknownRecipient(ArchetypeError, LookupError):
    """A message names a recipient that is not alive, not staged to be spawned and not reserved."""

    code = "ARC-T007"

    def __init__(self, recipient: int, world: str) -> None:
        self.recipient, self.world = recipient, world
        super().__init__(
            f"entity {recipient} does not exist in world {world!r}, so no message can be sent to it: check the id; an "
            "entity can get messages from when it is spawned, or its id reserved, until it is despawned"
        )


# Worlds, runs and reads (ARC-W)


class WorldNotFound(ArchetypeError, LookupError):
    """The store has no world of that name or id."""

    code = "ARC-W001"

    def __init__(self, world: str, known: Iterable[str] = ()) -> None:
        self.world, self.known = world, tuple(known)
        shown = ", ".join(self.known[:8]) + (f" and {len(self.known) - 8} more" if len(self.known) > 8 else "")
        known_text = f"; it has {shown}" if self.known else "; it has no worlds"
        super().__init__(f"no world {world!r} in this store{known_text}")


class TickNotFound(ArchetypeError, LookupError):
    """A tick is outside the history of a world."""

    code = "ARC-W002"

    def __init__(self, world: str, tick: int, first: int | None, last: int | None) -> None:
        self.world, self.tick, self.first, self.last = world, tick, first, last
        span = "it has no ticks yet" if last is None else f"its history has ticks {first} to {last}"
        super().__init__(f"world {world!r} has no tick {tick}: {span}")


class RunConflict(ArchetypeError, ValueError):
    """A run id belongs to an earlier run of the world."""

    code = "ARC-W003"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} has ended: pass a new run_id, or none to continue the active run")


class AmbiguousWorld(ArchetypeError, LookupError):
    """Several worlds of a store have the given name."""

    code = "ARC-W004"

    def __init__(self, name: str, world_ids: Iterable[str]) -> None:
        self.name, self.world_ids = name, tuple(world_ids)
        super().__init__(
            f"{len(self.world_ids)} worlds are named {name!r}: pass one of their ids, {', '.join(self.world_ids)}"
        )


class WorldClosed(ArchetypeError, RuntimeError):
    """A world was used after it was closed."""

    code = "ARC-W005"

    def __init__(self, world: str) -> None:
        self.world = world
        super().__init__(f"world {world!r} is closed: open it again")


class UnknownColumn(ArchetypeError, ValueError):
    """A read names a column that it does not have."""

    code = "ARC-W006"

    def __init__(self, column: str, known: Iterable[str], *, component: str | None = None) -> None:
        self.column, self.known, self.component = column, tuple(known), component
        has = f"it has {', '.join(self.known)}" if self.known else "it has none"
        remedy = (
            nearest(column, self.known) if component is None else f"; add {component}, whose column it is, to the read"
        )
        super().__init__(f"the read has no column {column!r}; {has}{remedy}")


class UnpairedSeeds(ArchetypeError, ValueError):
    """Two rollouts cannot be compared seed by seed."""

    code = "ARC-W007"

    def __init__(self, first: Iterable[int] = (), second: Iterable[int] = ()) -> None:
        self.first, self.second = tuple(first), tuple(second)
        odd = f"only the first has {list(self.first)}, only the second {list(self.second)}"
        what = odd if self.first or self.second else "no seed has a score in both"
        super().__init__(f"the rollouts cannot be paired: {what}. Run both with the same seeds=…, and with a score")


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
            f"world {world_id} expects tick {expected}, got {got}{by}: another writer advanced it; open the world again"
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


# The gate (ARC-G)


class PermissionDenied(ArchetypeError, PermissionError):
    """No role of the actor allows the command."""

    code = "ARC-G001"

    def __init__(self, actor: str, roles: Iterable[str], command: str) -> None:
        self.actor, self.roles, self.command = actor, tuple(sorted(roles)), command
        why = f"its roles ({', '.join(self.roles)}) do not allow it" if self.roles else "it has no role"
        super().__init__(f"{actor} may not {command}: {why}")


class QuotaExceeded(ArchetypeError, RuntimeError):
    """A command would exceed the actor's quota for this tick or this day."""

    code = "ARC-G002"

    def __init__(self, actor: str, quota: str, limit: int, used: int, asked: int) -> None:
        self.actor, self.quota, self.limit, self.used, self.asked = actor, quota, limit, used, asked
        when = {"commands": "after the world's next tick", "credits": "on the next UTC day"}.get(quota, "later")
        super().__init__(
            f"{actor} has used {used} of {limit} {quota} and asked for {asked} more: nothing was done; try again {when}"
        )


class WorldExists(ArchetypeError, ValueError):
    """A world with that name or id already exists."""

    code = "ARC-G003"

    def __init__(self, name: str, world_id: str) -> None:
        self.name, self.world_id = name, world_id
        super().__init__(f"world {name!r} already exists ({world_id}): open it, or choose another name")


class NotDeferrable(ArchetypeError, TypeError):
    """A command cannot be queued, because it cannot be serialized."""

    code = "ARC-G004"

    def __init__(self, command: str) -> None:
        self.command = command
        super().__init__(
            f"{command} cannot be queued: execute it now; only entity commands, messages and custom commands can be queued"
        )


class LedgerError(ArchetypeError, RuntimeError):
    """The gate's ledger could not be opened or written; the command was not applied."""

    code = "ARC-G005"


class GateClosed(ArchetypeError, RuntimeError):
    """A gate was used after it was closed."""

    code = "ARC-G006"

    def __init__(self) -> None:
        super().__init__("the gate is closed: create a new one; histories stay in their stores")


class NoHandler(ArchetypeError, LookupError):
    """The world has no handler for a custom command of that name."""

    code = "ARC-G007"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(
            f"no handler for custom command {name!r}: register one; the world has {', '.join(self.known) or 'none'}"
        )


class RolloutConflict(ArchetypeError, ValueError):
    """A named rollout cannot be resumed, because it runs already or was made with another configuration."""

    code = "ARC-G008"

    def __init__(self, name: str, differences: Iterable[str]) -> None:
        self.name, self.differences = name, tuple(differences)
        what = "; ".join(self.differences)
        super().__init__(f"rollout {name!r} cannot be resumed: {what}. Call it as before, or choose another name")


# The runtime (ARC-R)


class RuntimeClosed(ArchetypeError, RuntimeError):
    """A runtime was used after it was shut down."""

    code = "ARC-R001"

    def __init__(self) -> None:
        super().__init__("the runtime is shut down: create a new one; histories stay in their stores")


class WorldNotActive(ArchetypeError, RuntimeError):
    """A world was declared but not used yet, and the call needs a live one."""

    code = "ARC-R002"

    def __init__(self, world: str, remedy: str) -> None:
        self.world, self.remedy = world, remedy
        super().__init__(f"world {world!r} is not active yet: {remedy}")


class LoopBusy(ArchetypeError, RuntimeError):
    """A sync call from its runtime's own event loop would have to wait for that loop."""

    code = "ARC-R003"

    def __init__(self) -> None:
        super().__init__(
            "this call, made in a hook or an awaiting processor, would wait for the event loop it runs on: "
            "make it after the run, or use the async runtime"
        )


# Plans (ARC-P)


class PlanTooDeep(ArchetypeError, RecursionError):
    """A processor chained more lazy steps than the engine plans."""

    code = "ARC-P001"

    def __init__(self, depth: int, limit: int) -> None:
        self.depth, self.limit = depth, limit
        super().__init__(
            f"a lazy plan of {depth} steps exceeds the limit of {limit}: "
            "call df.collect() in between, or combine the steps"
        )


def _rebuilt(kind: type[ArchetypeError], arguments: tuple[Any, ...]) -> ArchetypeError:
    """An unpickled or copied error; its facts are set afterwards."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error
