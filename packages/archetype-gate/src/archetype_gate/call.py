"""The calls of a gate: what each is about, what became of it, and which have not returned yet."""

from __future__ import annotations

import contextvars
import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from opentelemetry.trace import Span

from archetype_core.command import ActorCtx, Status
from archetype_gate import telemetry
from archetype_gate.ledger import LedgerAnswer
from archetype_gate.live_world import LiveWorld
from archetype_gate.quota import Usage

# The innermost call of those that the current context is inside of, of any gate.
_here: contextvars.ContextVar[Call | None] = contextvars.ContextVar("archetype_gate_call", default=None)


class Call:
    """One call of a gate. In the block it counts as in flight, and is traced and measured.

    The call that is made most often, a mutation of one entity, runs no code of its caller: nothing can be inside of it.
    """

    __slots__ = (
        "_calls",
        "_reset",
        "_traced",
        "actor",
        "answer",
        "at_us",
        "began",
        "dropped",
        "expected_tick",
        "is_mutation",
        "is_resumed",
        "kind",
        "live",
        "outer",
        "runs_code",
        "status",
        "tick",
        "usage",
        "world_id",
    )

    live: LiveWorld | None
    """The world that it is for, if that is live."""
    tick: int | None
    """That world's next tick."""
    at_us: int
    status: Status
    """What became of it so far."""
    usage: Usage | None
    """What it was charged, until that is given to a row."""
    dropped: int
    """How many commands its failed attempts dropped."""
    outer: Call | None
    answer: LedgerAnswer | None
    """What is noted of it for its idempotency key."""
    is_resumed: bool
    """Whether an earlier call with the key was interrupted."""

    def __init__(
        self,
        calls: CallsInFlight,
        actor: ActorCtx,
        kind: str,
        world_id: str | None,
        *,
        is_mutation: bool,
        runs_code: bool,
        expected_tick: int | None = None,
    ) -> None:
        self._calls = calls
        self.actor = actor
        self.kind = kind
        self.world_id = world_id
        self.is_mutation = is_mutation
        self.runs_code = runs_code
        self.expected_tick = expected_tick
        self.status = "rejected"
        self.usage = self.answer = None
        self.is_resumed = False
        self.live = self.outer = None
        self.dropped = 0
        self.began = time.perf_counter()

    def __enter__(self) -> Self:
        self._calls.begin(self)
        if self.runs_code:
            self.outer = _here.get()
            self._reset = _here.set(self)
        self._traced: AbstractContextManager[Span] | None = telemetry.traced(self.kind, self.world_id, self.actor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            telemetry.record_verdict(self.kind, self.status, self.began, is_traced=self._traced is not None)
            if self._traced is not None:
                self._traced.__exit__(kind, failure, trace)
        finally:
            if self.runs_code:
                _here.reset(self._reset)
            self._calls.end(self)


class CallsInFlight:
    """The calls that have not returned. A gate keeps its ledgers open for them."""

    def __init__(self) -> None:
        self._open: set[Call] = set()
        self._is_awaited = False
        self._changed = threading.Condition(threading.Lock())

    @property
    def is_inside(self) -> bool:
        """Whether the caller is inside one of these calls."""
        here = _here.get()
        while here is not None:
            if here in self._open:
                return True
            here = here.outer
        return False

    def begin(self, call: Call) -> None:
        """Count a call."""
        self._open.add(call)

    def end(self, call: Call) -> None:
        """Count a call no more."""
        self._open.discard(call)
        # ``wait`` sets this before it looks, so that one of the two sees the other without a lock here.
        if self._is_awaited:
            with self._changed:
                self._changed.notify_all()

    def wait(self) -> None:
        """Block until every call has returned."""
        with self._changed:
            self._is_awaited = True
            self._changed.wait_for(lambda: not self._open)


def stepping_call() -> Call | None:
    """The call that the current context is a tick of."""
    here = _here.get()
    while here is not None and here.is_mutation:
        here = here.outer
    return here
