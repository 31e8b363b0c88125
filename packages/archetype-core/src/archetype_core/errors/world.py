"""Errors of components, ticks, worlds, reads and plans."""

from __future__ import annotations

from collections.abc import Iterable

from archetype_core.argument import nearest
from archetype_core.errors.root import ArchetypeError

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

    def __init__(self, world: str, known: Iterable[str] | None = ()) -> None:
        self.world, self.known = world, tuple(known or ())
        if known is None:
            # Whoever reads this need not be who asked, and may not know what worlds there are for that one.
            super().__init__(f"there is no world {world!r}: list the worlds for those there are")
            return
        shown = ", ".join(self.known[:8]) + (f" and {len(self.known) - 8} more" if len(self.known) > 8 else "")
        known_text = f"; it has {shown}" if self.known else "; it has no worlds"
        super().__init__(f"no world {world!r} in this store{known_text}")


class TickNotFound(ArchetypeError, LookupError):
    """A tick is outside the history of a world."""

    code = "ARC-W002"

    def __init__(self, world: str, tick: int, first: int | None, last: int | None) -> None:
        self.world, self.tick, self.first, self.last = world, tick, first, last
        span = "it has no ticks yet" if last is None else f"its history has ticks {first} to {last}"
        following = f"; tick {tick} is the next one to run" if last is not None and tick == last + 1 else ""
        super().__init__(f"world {world!r} has no tick {tick}: {span}{following}")


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
        super().__init__(f"world {world!r} is closed: declare or open it again, unless it was destroyed")


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
