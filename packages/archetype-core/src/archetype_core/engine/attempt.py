"""An attempt: one try of a tick, and everything that is staged from inside it (T7).

What processors and pre-tick hooks stage, by whatever handle, waits in the attempt. It moves on with the commit and is dropped
with a failure, so that after any number of failures the world is as if only the last try had been made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from archetype_core import telemetry
from archetype_core.engine.entity_ids import IdBlocks
from archetype_core.engine.mutation_log import MutationLog, StagedLetter
from archetype_core.errors import AttemptOver, UnknownRecipient

if TYPE_CHECKING:
    from archetype_core.engine.selection import Ids, Places
    from archetype_core.engine.state import WorldState
    from archetype_core.schema.archetype import Archetype

_HOOKS = ""
"""Stands for a table where a pre-tick hook, or a task that it started, stages something."""

Mark = tuple[MutationLog, int]
"""What a table's processors had staged at some moment, and how many messages they had sent."""

_here: ContextVar[tuple[Attempt, str] | None] = ContextVar("archetype_attempt", default=None)


class Draft(Protocol):
    """Where a mutation is staged: a log, and what it needs of the world beneath. The caller holds the world's lock."""

    @property
    def log(self) -> MutationLog:
        """The log that takes it."""
        ...

    def place(self, entity_id: int) -> Archetype | None:
        """The archetype that an entity will have once everything before is applied."""
        ...

    def places(self, ids: Ids) -> Places:
        """The archetypes that many entities will have once everything before is applied."""
        ...

    def take(self, count: int) -> range:
        """Fresh entity ids."""
        ...

    def reserve(self, count: int) -> range:
        """Fresh entity ids for entities that come later."""
        ...

    def redeem(self, ids: range) -> None:
        """Consume reserved ids."""
        ...


class _Inside:
    """Sets where code is; written as a class because every table of a tick enters one, and a generator costs much more."""

    __slots__ = ("_place", "_token")

    def __init__(self, place: tuple[Attempt, str]) -> None:
        self._place = place

    def __enter__(self) -> None:
        self._token = _here.set(self._place)

    def __exit__(self, *_: object) -> None:
        _here.reset(self._token)


class AttemptDraft:
    """What one table's processors, or the hooks, stage for one world from inside an attempt."""

    __slots__ = ("_all_below", "_below", "_blocks", "_is_told", "log", "redeemed", "sent", "state", "taken")

    def __init__(
        self,
        state: WorldState,
        *,
        is_after_tick: bool = False,
        blocks: Callable[[int], range | None] = lambda _: None,
        is_told: Callable[[], bool] = lambda: False,
    ) -> None:
        self.log = MutationLog()
        self.sent: list[StagedLetter] = []
        """Messages that are part of this tick; those in the log are staged for the next one, like all that a handle does."""
        self.state = state
        self._below, self._all_below = (
            (state.place_after_tick, state.places_after_tick) if is_after_tick else (state.place, state.places)
        )
        self._blocks = blocks
        self._is_told = is_told
        self.taken: list[range] = []
        self.redeemed: list[range] = []

    def place(self, entity_id: int) -> Archetype | None:
        """The archetype that an entity will have; other tables of the tick, and callers outside it, are not in sight."""
        return self.log.place(entity_id, self._below)

    def places(self, ids: Ids) -> Places:
        """The archetypes that many entities will have, as ``place`` sees them."""
        return self.log.overlaid(self._all_below(ids))

    def take(self, count: int) -> range:
        """Fresh entity ids, given back if the attempt fails."""
        if (run := self._blocks(count)) is not None:
            return run
        if self._is_told():
            self.state.ids.tell(count)
        ids = self.state.ids.take(count)
        self.taken.append(ids)
        return ids

    def reserve(self, count: int) -> range:
        """Reserved entity ids, given back if the attempt fails."""
        ids = self.take(count)
        self.state.ids.set_aside(ids)
        return ids

    def redeem(self, ids: range) -> None:
        """Consume reserved ids, unless the attempt fails."""
        self.state.ids.redeem(ids)
        self.redeemed.append(ids)

    def give_back(self, ids: range) -> None:
        """Return the last of the ids that were taken, unless somebody else took some after them."""
        if ids and ids.stop == self.state.ids.next:
            self.state.ids.undo([ids], ())
            self.taken = [range(one.start, ids.start) if one.stop == ids.stop else one for one in self.taken]

    @staticmethod
    def drop(drafts: Iterable[AttemptDraft]) -> None:
        """Forget everything and give the ids back, those of one world at once: only together they may be the last ones."""
        by_world: dict[int, list[AttemptDraft]] = {}
        for draft in drafts:
            by_world.setdefault(id(draft.state), []).append(draft)
        for alike in by_world.values():
            state = alike[0].state
            with state.lock:
                state.ids.undo(
                    [ids for draft in alike for ids in draft.taken],
                    [ids for draft in alike for ids in draft.redeemed],
                )

    def pass_on(self, here: tuple[Attempt, str] | None) -> None:
        """Stage everything in the attempt that this one was made in, or in the world."""
        with self.state.lock:
            _draft_of(self.state, here).log.extend(self.log)


class Attempt:
    """One try of one tick of a world. Thread-safe."""

    def __init__(self, state: WorldState, attempt_id: str) -> None:
        self.id = attempt_id
        self.world_id = state.segment.world_id
        self.tick = state.tick
        self.status: Literal["open", "committed", "failed"] = "open"
        self._state = state
        self._parent = _here.get()
        self._is_frozen = False
        self._is_prepared = False
        self._before = AttemptDraft(state)
        self._drafts: dict[str, AttemptDraft] = {}
        self._elsewhere: dict[tuple[str, str], AttemptDraft] = {}
        self._blocks: IdBlocks | None = None
        self._prepared: list[Callable[[], object]] = []
        self._held: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._lock = threading.RLock()

    def inside(self, table: str = _HOOKS) -> AbstractContextManager[None]:
        """Code in this context, and whatever copies it, belongs to the attempt and to a table."""
        return _Inside((self, table))

    def draft(self, state: WorldState, table: str) -> Draft:
        """Where code inside the attempt stages mutations of a world; ``AttemptOver`` if the attempt has failed."""
        with self._lock:
            if self.status == "failed":
                raise AttemptOver(self._state.segment.name, self.tick)
            if self.status == "committed":
                return _draft_of(state, self._parent)
            if state is not self._state:
                return self._elsewhere.setdefault(
                    (table, state.segment.world_id), AttemptDraft(state, is_told=lambda: True)
                )
            if table == _HOOKS and not self._is_frozen:
                return self._before
            return self._draft(table)

    def hold(
        self,
        commit: Callable[[], object],
        drop: Callable[[], object],
        *,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Call ``commit`` once the tick is committed, or ``drop`` once the attempt has failed.

        ``prepare`` is called right before the store commits, or now if that moment has passed; if it raises, the attempt fails.
        """
        with self._lock:
            if self.status == "failed":
                raise AttemptOver(self._state.segment.name, self.tick)
            if self.status == "open":
                if prepare is not None:
                    if self._is_prepared:
                        prepare()
                    self._prepared.append(prepare)
                self._held.append((commit, drop))
                return
        commit()

    def prepare(self) -> None:
        """Call what must be prepared before the store commits."""
        with self._lock:
            self._is_prepared = True
            waiting = tuple(self._prepared)
        for prepare in waiting:
            prepare()

    def freeze(self) -> MutationLog:
        """What the pre-tick hooks staged; it belongs to this tick, everything later to the next one."""
        with self._lock:
            self._is_frozen = True
            return self._before.log

    def run_side_by_side(self, tables: Iterable[str]) -> None:
        """The tables whose processors may spawn; they take ids from blocks of their own."""
        self._blocks = IdBlocks(self._draft(_HOOKS).take, tables)

    def take_ids(self, table: str, count: int) -> list[range]:
        """Ids for entities that a table's processors spawn; the same ones whatever the other tables do meanwhile."""
        if self.status != "open" or self._blocks is None or table not in self._blocks:
            return [self.draft(self._state, table).take(count)]
        return self._blocks.take(table, count)

    def mark(self, table: str) -> Mark:
        """What a table's processors have staged and sent so far, for ``rewind``."""
        draft = self._draft(table)
        return draft.log.copy(), len(draft.sent)

    def rewind(self, table: str, mark: Mark) -> None:
        """Drop what a table's processors staged and sent since the mark."""
        log, sent = mark
        with self._state.lock:
            draft = self._draft(table)
            draft.log.reset(log)
            del draft.sent[sent:]

    def send(self, table: str, letter: StagedLetter) -> None:
        """Send a message from a table's processors, as part of this tick.

        A message to an entity that is only staged goes with the next tick, which spawns it: delivered sooner, it would find
        nobody.
        """
        state = self._state
        with state.lock:
            draft = self.draft(state, table)
            check_recipient(state, draft, letter[0])
            if self.status == "open" and state.lives(letter[0]):
                self._draft(table).sent.append(letter)
            else:
                draft.log.send(letter)

    def spawns(self, entity_id: int) -> bool:
        """Whether anything in the attempt stages an entity of that id in its world."""
        with self._lock:
            drafts = (self._before, *self._drafts.values())
            return any(draft.log.place(entity_id, lambda _: None) is not None for draft in drafts)

    def close(self) -> list[StagedLetter]:
        """All messages that processors sent, by table. Unused ids of the tables' blocks can be given out again."""
        with self._state.lock:
            if self._blocks is not None:
                self._draft(_HOOKS).give_back(self._blocks.unused())
                self._blocks = None
            sent = []
            for table in sorted(self._drafts):
                draft = self._drafts[table]
                sent += draft.sent
                draft.sent = []
            return sent

    def staged(self) -> MutationLog | None:
        """What is staged inside for the next tick, in the order in which ``commit`` hands it on; ``None`` if nothing is."""
        with self._state.lock, self._lock:
            if not any(draft.log.count for draft in self._drafts.values()):
                return None
            joined = MutationLog()
            for table in sorted(self._drafts):
                joined.extend(self._drafts[table].log.copy())
            return joined

    def commit(self) -> None:
        """The tick is committed: what was staged inside waits for the next one, after it what others staged meanwhile."""
        with self._state.lock, self._lock:
            self.status = "committed"
            after, self._state.pending = self._state.pending, MutationLog()
            for table in sorted(self._drafts):
                draft = self._drafts[table]
                # A message that a thread sent while the store committed goes with the next tick.
                for letter in draft.sent:
                    draft.log.send(letter)
                self._state.pending.extend(draft.log)
            self._state.pending.extend(after)

    def release(self) -> None:
        """Settle what a committed attempt holds, then stage what it has for other worlds.

        This takes the locks of other worlds. The caller holds none: two worlds may release something to each other.
        """
        self._settle(commit for commit, _ in self._held)
        for key in sorted(self._elsewhere):
            draft = self._elsewhere[key]
            try:
                draft.pass_on(self._parent)
            except AttemptOver:
                AttemptDraft.drop([draft])

    def fail(self) -> None:
        """The attempt failed: everything staged inside is dropped, and the world is as it was before. Idempotent."""
        with self._state.lock, self._lock:
            if self.status != "open":
                return
            self.status = "failed"
            self._state.restore()
            AttemptDraft.drop((*self._drafts.values(), self._before))
        AttemptDraft.drop(self._elsewhere.values())
        if telemetry.is_measured():
            telemetry.counter("archetype.tick.failures").add(1)
        self._settle(drop for _, drop in self._held)

    def _draft(self, table: str) -> AttemptDraft:
        with self._lock:
            found = self._drafts.get(table)
            if found is None:
                # What others stage meanwhile comes after it.
                blocks = partial(self._id_run, table)
                found = self._drafts[table] = AttemptDraft(
                    self._state,
                    is_after_tick=True,
                    blocks=blocks,
                    # The commit may be under way: it does not have what is taken now.
                    is_told=lambda: self._is_prepared,
                )
            return found

    def _id_run(self, table: str, count: int) -> range | None:
        """Ids of a table's own block for a handle, which gets consecutive ones; nothing if the table has no block."""
        return None if self._blocks is None or table not in self._blocks else self._blocks.take_run(table, count)

    def _settle(self, acts: Iterable[Callable[[], object]]) -> None:
        for act in acts:
            try:
                act()
            # The tick is decided, and the other callbacks must still run.
            except Exception:  # noqa: BLE001  # reason: logged with its traceback
                telemetry.log.exception("what was held in an attempt of tick %s could not be settled", self.tick)


def draft_of(state: WorldState) -> Draft:
    """Where code in the current context stages mutations of a world: in its attempt, or in the world itself."""
    return _draft_of(state, _here.get())


def check_recipient(state: WorldState, draft: Draft, recipient: int) -> None:
    """Refuse a message to an entity that does not exist; the caller holds the world's lock."""
    if state.knows(recipient) or draft.place(recipient) is not None:
        return
    here = _here.get()
    while here is not None:
        attempt, _ = here
        if attempt._state is state and attempt.spawns(recipient):  # noqa: SLF001  # reason: of this module
            return
        here = attempt._parent  # noqa: SLF001  # reason: of this module
    raise UnknownRecipient(recipient, state.segment.name)


def current_attempt() -> Attempt | None:
    """The open attempt that the current context is part of; ``AttemptOver`` if it has failed."""
    here = _here.get()
    while here is not None:
        attempt, _ = here
        if attempt.status == "failed":
            raise AttemptOver(attempt._state.segment.name, attempt.tick)  # noqa: SLF001  # reason: of this module
        if attempt.status == "open":
            return attempt
        here = attempt._parent  # noqa: SLF001  # reason: of this module
    return None


@contextmanager
def outside_attempts() -> Iterator[None]:
    """Code in this block is no part of the attempts that its caller is part of."""
    token = _here.set(None)
    try:
        yield
    finally:
        _here.reset(token)


def _draft_of(state: WorldState, here: tuple[Attempt, str] | None) -> Draft:
    return state if here is None else here[0].draft(state, here[1])
