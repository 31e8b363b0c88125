"""Commands with an idempotency key: each is done once, and sent again it has the result of the first time."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from archetype_core.clock import IdSource
from archetype_core.command import (
    ActorCtx,
    Command,
    CreateWorld,
    DestroyWorld,
    EntityCommand,
    ForkWorld,
    IdempotencyKey,
    RunRollout,
)
from archetype_core.engine import current_attempt, in_thread
from archetype_core.errors import ArchetypeError, CommitError, KeyConflict, QuotaExceeded, WorldNotFound
from archetype_gate import result_codec
from archetype_gate.admission import TICKING, Admission
from archetype_gate.audit_log import AuditLog
from archetype_gate.call import Call
from archetype_gate.ledger import KEPT_US, Ledger, LedgerAnswer
from archetype_gate.live_world import TICKS
from archetype_gate.sight import Sight
from archetype_gate.storage import StorageService
from archetype_gate.terms import Once, Terms

R = TypeVar("R")
_REPEATABLE = (EntityCommand, *TICKING, RunRollout, ForkWorld, CreateWorld, DestroyWorld)


class Deduplicator:
    """Looks a key up before its command is executed, and notes the command under it. Thread-safe.

    The ledger has a note of each: that of a mutation is written together with it, that of anything else before it begins, and
    again with its result. So a note without a result says that something may have been done, and under which id to look for it.
    """

    def __init__(
        self,
        storage: StorageService,
        sight: Sight,
        admission: Admission,
        audit: AuditLog,
        *,
        ids: IdSource,
        keys_per_actor: int,
    ) -> None:
        self._storage = storage
        self._sight = sight
        self._admission = admission
        self._audit = audit
        self._ids = ids
        self._keys_per_actor = keys_per_actor
        self._lock = threading.Lock()
        self._running: set[str] = set()

    async def once(
        self, call: Call, commands: Sequence[Command[Any]], key: IdempotencyKey, do: Callable[[], Awaitable[R]]
    ) -> R:
        """Return the stored result of a key, or execute its command with ``do``.

        ``KeyConflict`` if the key was used for another request, or is under way; ``QuotaExceeded`` if its actor has too many.
        """
        self._admission.authorize(call, commands)
        try:
            _check(commands[0], key)
            name = _name(call.actor, key)
            with self._alone(name, key):
                ledger = await self._ledger(call, commands[0])
                stored = None if ledger is None else await in_thread(lambda: self._find(ledger, call, name, key))
                if stored is not None and stored.result is not None:
                    # Its name may be gone, so by the id that it had.
                    self._sight.check_world(call.actor, stored.world_id)
                    call.status = "applied"
                    return result_codec.decode(stored.result)  # type: ignore[no-any-return]  # reason: as it was encoded
                call.answer, call.is_resumed = stored or self._new(call, commands[0], name, key), stored is not None
                return await do()
        except (KeyConflict, TypeError, ValueError, QuotaExceeded, WorldNotFound) as refusal:
            if call.answer is None:
                self._admission.record_refusal(call, commands, refusal)
            raise

    @contextmanager
    def _alone(self, name: str, key: IdempotencyKey) -> Iterator[None]:
        with self._lock:
            if name in self._running:
                raise KeyConflict(key.value, is_running=True)
            self._running.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(name)

    async def _ledger(self, call: Call, command: Command[Any]) -> Ledger | None:
        if isinstance(command, CreateWorld):
            return (await self._storage.backend(command.storage, command.cache)).ledger
        return self._audit.ledger(call.world_id)

    def _find(self, ledger: Ledger, call: Call, name: str, key: IdempotencyKey) -> LedgerAnswer | None:
        since = call.at_us - KEPT_US
        found = ledger.find_answer(name)
        if found is not None and found.at_us >= since:
            if found.request != key.request:
                raise KeyConflict(key.value, is_running=False)
            return found
        used = ledger.count_answers(call.actor.id, since)
        if used >= self._keys_per_actor:
            raise QuotaExceeded(call.actor.id, "keys", self._keys_per_actor, used, 1)
        return None

    def _new(self, call: Call, command: Command[Any], name: str, key: IdempotencyKey) -> LedgerAnswer:
        command_id = self._ids.new()
        world_id = call.world_id or ""
        if isinstance(command, TICKING):
            command_id = TICKS + command_id
        if isinstance(command, CreateWorld):
            world_id = command.world_id or command_id
        return LedgerAnswer(name, call.actor.id, key.request, command_id, world_id, call.tick or 0, call.at_us)

    async def begin(self, call: Call, command: Command[Any]) -> tuple[Command[Any], Terms]:
        """Note durably that a command begins; returns the command to execute, and its terms."""
        answer, maker = call.answer, "" if call.actor.worlds is None else call.actor.id
        if answer is None:
            return command, Terms(call.expected_tick, maker=maker)
        ledger = await self._ledger(call, command)
        if not call.is_resumed and ledger is not None:
            await in_thread(lambda: ledger.begin_answer(answer))
        if isinstance(command, CreateWorld):
            command = replace(command, world_id=answer.world_id)
        return command, Terms(call.expected_tick, Once(answer.command_id, answer.tick, call.is_resumed), maker)

    async def failed(self, call: Call, command: Command[Any], failure: BaseException) -> None:
        """Forget a command of which certainly nothing was done, so that its key can be used for another try."""
        answer, live = call.answer, call.live
        is_known = isinstance(failure, ArchetypeError) and not isinstance(failure, CommitError)
        if answer is None or call.is_resumed or not is_known:
            return
        if isinstance(command, TICKING) and (live is None or live.world.tick != answer.tick):
            # Some of these ticks may be its own.
            return
        if (ledger := await self._ledger(call, command)) is not None:
            await in_thread(lambda: ledger.drop_answer(answer.key))


def answered(answer: LedgerAnswer, result: Any) -> LedgerAnswer:
    """Return what is noted of a command that has its result."""
    return replace(answer, result=result_codec.encode(result))


def _check(command: Command[Any], key: object) -> None:
    if not isinstance(key, IdempotencyKey):
        raise TypeError(f"key is an IdempotencyKey, not {key!r}")
    if not isinstance(command, _REPEATABLE):
        raise TypeError(
            f"{command.kind} takes no key: what only reads, or changes this process alone, can be sent again"
        )
    if current_attempt() is not None:
        raise ValueError("inside a tick there is no key: what is sent there counts once, with the tick's commit")


def _name(actor: ActorCtx, key: IdempotencyKey) -> str:
    # Of their lengths too, so that no two actors and keys have one name.
    return hashlib.sha256(f"{len(actor.id)}:{actor.id}:{key.value}".encode("utf-8", "surrogatepass")).hexdigest()
