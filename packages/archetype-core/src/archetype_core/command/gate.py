"""The one door: the port that runtime and server hold, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from archetype_core.command.actor import ActorCtx
from archetype_core.command.command import Command
from archetype_core.command.entity import EntityCommand
from archetype_core.command.info import WorldInfo
from archetype_core.schema.component import Component

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A queued command: accepted, durable, and waiting for its tick."""

    command_id: str
    entity_ids: range
    """The ids that it will spawn; empty for other commands."""


@runtime_checkable
class CommandGate(Protocol):
    """Authorizes every command, holds it to its actor's quota, carries it out or queues it, and leaves an audit row.

    A command that is refused or fails raises, and is on record: ``PermissionDenied``, ``QuotaExceeded``, ``WorldNotFound``,
    or whatever carrying it out raised. World ids are text.
    """

    async def execute(
        self, actor: ActorCtx, command: Command[R], world_id: str | None = None, *, durable: bool = False
    ) -> R:
        """Carry a command out now; mutations are staged for the world's next tick.

        What it did is on disk with the tick that applies it or within 100 ms, with ``durable`` before it returns.
        """
        ...

    async def submit(
        self, actor: ActorCtx, command: EntityCommand[Any], world_id: str, *, tick: int | None = None, priority: int = 0
    ) -> Ticket:
        """Queue a command for the first tick that is not before ``tick``, by default the next.

        It is on disk when this returns, and is applied exactly once. Commands of one tick apply by ascending priority,
        among equals as they were submitted.
        """
        ...

    async def submit_batch(
        self,
        actor: ActorCtx,
        commands: Sequence[EntityCommand[Any]],
        world_id: str,
        *,
        tick: int | None = None,
        priority: int = 0,
    ) -> tuple[Ticket, ...]:
        """Queue several commands, all or none."""
        ...

    async def submit_spawn(
        self, actor: ActorCtx, world_id: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
        """Queue an entity; the id is reserved now, and is the one that materializes."""
        ...

    def peek(self, actor: ActorCtx, world_id: str) -> WorldInfo | None:
        """A live world as it stands, for display: no I/O and no audit row; ``None`` if there is none to see."""
        ...

    async def flush(self) -> None:
        """Wait until everything that was accepted and answered is on disk."""
        ...

    async def close(self) -> None:
        """Close every live world, last one first, then ledgers and stores; idempotent. Queues and histories stay."""
        ...
