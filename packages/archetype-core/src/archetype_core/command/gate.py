"""The port of the command gate: all that runtime and server hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from archetype_core.command.actor import ActorCtx
from archetype_core.command.command import Command
from archetype_core.command.entity import EntityCommand
from archetype_core.command.info import WorldInfo
from archetype_core.command.key import IdempotencyKey
from archetype_core.schema.component import Component

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Ticket:
    """A queued command: accepted, durable, and waiting for its tick."""

    command_id: str
    entity_ids: range
    """The ids of the entities it will spawn; empty for other commands."""


@runtime_checkable
class CommandGate(Protocol):
    """Authorizes every command, charges its actor's quota, executes or queues it, and writes an audit row.

    A refused or failed command raises, and its audit row says why: ``PermissionDenied``, ``QuotaExceeded``,
    ``WorldNotFound``, or the error of its execution.

    Mutations that are sent from inside a tick, executed or queued, count once that tick is committed. If its attempt fails, they
    leave no effect, no audit row and no cost.

    For an actor with ``worlds`` there are only these and those that it makes: any other one is ``WorldNotFound``.

    ``expected_tick`` is what the caller takes for the world's next tick. If that is another one, the command is refused with
    ``StaleTick``: a mutation is staged for that tick, a step makes it and a fork begins with it, or nothing is done.

    With a ``key`` a command that changes something is done once, also over a crash: sent again with the key, it has the result
    of the first time, and goes on with what a failure or a kill interrupted. It is on disk when the call returns.
    """

    async def execute(
        self,
        actor: ActorCtx,
        command: Command[R],
        world_id: str | None = None,
        *,
        durable: bool = False,
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> R:
        """Execute a command now; mutations are staged for the world's next tick.

        Its audit row is on disk with the tick that applies it or within 100 ms; with ``durable`` before this returns.
        """
        ...

    async def submit(
        self,
        actor: ActorCtx,
        command: EntityCommand[Any],
        world_id: str,
        *,
        tick: int | None = None,
        priority: int = 0,
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> Ticket:
        """Queue a command for the first tick that is not before ``tick``, by default the next.

        It is on disk when this returns, and is applied exactly once. Commands of one tick apply by ascending priority, then
        in submission order.
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
        expected_tick: int | None = None,
        key: IdempotencyKey | None = None,
    ) -> tuple[Ticket, ...]:
        """Queue several commands, all or none."""
        ...

    async def submit_spawn(
        self, actor: ActorCtx, world_id: str, *components: Component, tick: int | None = None, priority: int = 0
    ) -> int:
        """Queue a spawn. The id is reserved now and is the entity's id."""
        ...

    def peek(self, actor: ActorCtx, world_id: str) -> WorldInfo | None:
        """The current state of a live world, for display: no I/O, no audit row. ``None`` if it is not live or not permitted."""
        ...

    async def flush(self) -> None:
        """Wait until every accepted command and audit row is on disk."""
        ...

    async def close(self) -> None:
        """Close every live world, newest first, then ledgers and stores; idempotent. Queues and histories stay."""
        ...
