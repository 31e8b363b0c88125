"""Errors of the gate and the runtime."""

from __future__ import annotations

from collections.abc import Iterable

from archetype_core.errors.root import ArchetypeError

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


class StaleTick(ArchetypeError, RuntimeError):
    """A command was sent for a tick that is not the world's next one."""

    code = "ARC-G009"

    def __init__(self, world: str, expected: int, tick: int) -> None:
        self.world, self.expected, self.tick = world, expected, tick
        super().__init__(
            f"the next tick of world {world!r} is {tick}, not {expected}: nothing was done; read the world again"
        )


class KeyConflict(ArchetypeError, ValueError):
    """An idempotency key names another request of its actor, or one that is under way."""

    code = "ARC-G010"

    def __init__(self, key: str, *, is_running: bool) -> None:
        self.key, self.is_running = key, is_running
        why = (
            "a request with it is under way: wait for that one"
            if is_running
            else "another request was sent with it: choose a new key for each request"
        )
        super().__init__(f"the key {key!r} cannot be used: {why}")


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
