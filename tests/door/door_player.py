"""Plays a program on a runtime and on the model of the tick, and compares answers, worlds and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from door_program import (
    Ask,
    Call,
    Compare,
    Declare,
    Fork,
    Line,
    Look,
    Reopen,
    Roll,
    Run,
    Seal,
    Submit,
    Tick,
    WriteWhere,
    concrete,
    meant,
    mutations,
)
from door_read import compare_difference, compare_history, look
from door_scene import Memory, Postman, Script, call, command_of, processors, rules_of
from tick_model import ModelWorld, Mutation, Op, Refused, Send, Spawn, Table, Where, placed, process
from tick_scene import table_name

from archetype import (
    ActorCtx,
    ArchetypeError,
    ArchetypeRuntime,
    EpisodeConfig,
    EpisodeResult,
    PendingMutations,
    ProcessorError,
    RolloutConfig,
    RolloutConflict,
    Ticket,
    UnknownRecipient,
)

ACTOR = ActorCtx("door", {"admin"})
SET_UP = {"create_world", "open_world", "close_world", "declare_world", "add_processor", "get_audit_history"}
"""What is not compared: declaring worlds takes several commands, and reading the audit is none of the program's."""


_UNKNOWN = 10**9


@dataclass
class Row:
    """An expected audit row; a tick of ``None`` is not compared."""

    kind: str
    status: str
    tick: int | None = None


@dataclass
class Entry:
    """A command that is staged or queued; a copy in a fork has no row."""

    ops: tuple[Op, ...]
    row: Row | None
    ids: tuple[int, ...] = ()
    order: tuple[int, int, int] = (0, 0, 0)
    """Its tick, priority and place in the queue."""
    is_direct: bool = True
    made: list[Mutation] = field(default_factory=list)


@dataclass
class Branch:
    """A world's handle and its model."""

    name: str
    real: Any
    model: ModelWorld
    rules: str
    seed: int = 0
    staged: list[Entry] = field(default_factory=list)
    queue: list[Entry] = field(default_factory=list)
    rollouts: dict[str, tuple[int, tuple[EpisodeResult, ...]]] = field(default_factory=dict)
    """The ticks from which rollouts were run, and their episodes, by name."""

    def stage(self, *entries: Entry) -> None:
        self.staged += entries
        self.model.staged = [one for entry in self.staged for one in entry.made]

    def knows(self, entity: int, expected: Where) -> bool:
        """Whether an entity may be written to: it lives, is staged, or its id waits in the queue."""
        return entity in self.model.where or entity in expected or any(entity in one.ids for one in self.queue)

    def judged(self, ops: tuple[Op, ...], expected: Where, ids: tuple[int, ...] = ()) -> list[Mutation]:
        made = mutations(ops, expected, ids)
        if any(kind == "send" and not self.knows(to, expected) for kind, to, _ in made):
            raise Refused("UnknownRecipient")
        return made


class Player:
    """Plays lines one by one; every difference is an ``AssertionError``."""

    most_branches = 3

    def __init__(self, make: Callable[[], Memory] = Memory) -> None:
        self.place = make()
        self.script = Script()
        self.runner = asyncio.Runner()
        self.rows: list[Row] = []
        self.branches: list[Branch] = []
        self.digests: dict[tuple[str, int], str] = {}
        self.submitted = 0
        self.runtime = self._runtime()
        real = self.runtime.world("w0", processors=processors(self.script, "all"), seed=7)
        self.branches.append(Branch("w0", real, ModelWorld(self.run(real.activate())), "all", 7))

    def _runtime(self) -> ArchetypeRuntime:
        return ArchetypeRuntime(self.place.storage, self.place.cache, actor=ACTOR, progress=False)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def close(self) -> None:
        try:
            self.run(self.runtime.shutdown())
        finally:
            self.runner.close()
            self.place.remove()

    def expect(self, kind: str, status: str) -> Row:
        """Expect an audit row, after those that are expected so far."""
        self.rows.append(Row(kind, status))
        return self.rows[-1]

    def done(self, kind: str, work: Coroutine[Any, Any, Any], tick: int | None = None) -> Any:
        """Do what must succeed, and expect its audit row."""
        self.rows.append(Row(kind, "applied", tick))
        return self.run(work)

    def play(self, line: Line) -> None:  # noqa: PLR0912  # reason: a case per line
        """Do one line, and compare what it answers."""
        branch = self.branches[line.branch % len(self.branches)]
        match line:
            case Call(_, ask):
                self._call(branch, ask)
            case Submit(_, asks):
                self._submit(branch, asks, line)
            case Tick(_, failures, reopens, between):
                for _ in range(failures):
                    self._tick(branch, is_failing=True)
                    for ask in between:
                        self._call(branch, ask)
                    if reopens:
                        self._reopen()
                self._tick(branch)
            case Run(_, steps):
                self._run(branch, steps)
            case Fork():
                self._fork(branch, line)
            case Declare(_, rules, is_shut_down):
                self._declare(branch, rules, is_shut_down=is_shut_down)
            case Roll(_, name):
                self._roll(branch, name)
            case Look():
                look(self, branch, line)
            case Compare(_, other):
                compare_difference(self, branch, self.branches[other % len(self.branches)], line)
            case Seal():
                self.done("seal_storage", self.runtime.seal())
            case Reopen():
                self._reopen()

    # Mutations

    def _call(self, branch: Branch, ask: Ask) -> None:
        model, expected = branch.model, branch.model.expected
        ops = concrete(ask, model, expected)
        row = self.expect(command_of(ask).kind, "queued")
        answer = self._answer(call(branch.real, ask))
        ids = self._ids(branch, ask, answer)
        try:
            made = branch.judged(ops, expected, ids)
        except Refused as refused:
            row.status = "failed|rejected"
            _require_refusal(ask, refused, answer)
            return
        assert not isinstance(answer, Exception), f"{ask} was refused: {answer!r}"
        if isinstance(ask, WriteWhere):
            assert answer == len(meant(model, ask.where, expected, [ask.part]))
        if made:
            branch.stage(Entry(ops, row, ids, made=made))
        else:
            row.status, row.tick = "applied", model.tick

    def _submit(self, branch: Branch, asks: tuple[Ask, ...], line: Submit) -> None:
        model = branch.model
        tick = None if line.later is None else model.tick + line.later
        commands = [command_of(ask) for ask in asks]
        rows = [self.expect(one.kind, "queued") for one in commands]
        if len(commands) == 1:
            work: Any = branch.real.submit(commands[0], tick=tick, priority=line.priority)
        else:
            work = branch.real.submit_batch(commands, tick=tick, priority=line.priority)
        answer = self._answer(work)
        try:
            try:
                each = self._queueable(branch, asks, [], answer)
            except Refused as refused:
                if refused.kind == "ValueRejected":
                    raise
                each = self._queueable(branch, asks, sorted(branch.queue, key=lambda one: one.order[2]), answer)
        except Refused as refused:
            for row in rows:
                row.status = "rejected"
            _require_refusal(asks[0] if len(asks) == 1 else None, refused, answer)
            return
        assert not isinstance(answer, Exception), f"{asks} were not queued: {answer!r}"
        tickets = answer if isinstance(answer, tuple) else (answer,)
        for ask, ops, row, ticket in zip(asks, each, rows, tickets, strict=True):
            ids = self._ids(branch, ask, ticket.entity_ids)
            self.submitted += 1
            order = (model.tick if tick is None else tick, line.priority, self.submitted)
            branch.queue.append(Entry(ops, row, ids, order, is_direct=False))

    def _queueable(
        self, branch: Branch, asks: tuple[Ask, ...], before: list[Entry], answer: Any
    ) -> list[tuple[Op, ...]]:
        """The operations of commands, each checked as if it were done now after those before it; ``answer`` has new ids."""
        model, made = branch.model, list(branch.model.staged)
        for entry in before:
            try:
                made += branch.judged(entry.ops, placed(model.where, made), entry.ids)
            except Refused:
                continue
        given = (answer,) if isinstance(answer, Ticket) else answer if isinstance(answer, tuple) else None
        found = []
        for number, ask in enumerate(asks):
            expected = placed(model.where, made)
            ops = concrete(ask, model, expected)
            ids = tuple(given[number].entity_ids) if given else ()
            if isinstance(ask, Spawn) and not given:
                # If they were refused, nobody knows which ids they would have got.
                ids = tuple(range(_UNKNOWN * (number + 1), _UNKNOWN * (number + 1) + len(ask.bundles)))
            made += branch.judged(ops, expected, ids)
            found.append(ops)
        return found

    def _answer(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self.run(work)
        except ArchetypeError as failure:
            return failure

    def _ids(self, branch: Branch, ask: Ask, answer: Any) -> tuple[int, ...]:
        if not isinstance(ask, Spawn) or isinstance(answer, Exception):
            return ()
        ids = (answer,) if isinstance(answer, int) else tuple(answer)
        assert len(ids) == len(ask.bundles)
        branch.model.take(ids, in_order=False)
        return ids

    # Ticks

    def _stage_due(self, branch: Branch) -> None:
        model = branch.model
        for entry in sorted((one for one in branch.queue if one.order[0] <= model.tick), key=lambda one: one.order):
            branch.queue.remove(entry)
            try:
                entry.made = branch.judged(entry.ops, model.expected, entry.ids)
            except Refused:
                assert entry.row is not None
                entry.row.status = "failed"
            else:
                branch.stage(entry)

    def _tick(self, branch: Branch, *, is_failing: bool = False) -> None:
        model, script = branch.model, self.script
        fails = is_failing and any("Body" in table for table in model.live)
        self.expect("step", "failed" if fails else "applied")
        script.letters, script.is_failing = [], is_failing
        answer = self._answer(branch.real.step())
        script.is_failing = False
        self._stage_due(branch)
        if fails:
            assert isinstance(answer, ProcessorError), f"the tick fails, and the step gave {answer!r}"
            assert (answer.processor, answer.tick) == (Postman.__name__, model.tick)
            return
        assert not isinstance(answer, Exception), f"the step failed: {answer!r}"
        applied = sum(one.row is not None for one in branch.staged)
        assert (answer.tick, answer.applied) == (model.tick, applied)
        self._commit(branch)
        self._compare(branch)

    def _run(self, branch: Branch, steps: int) -> None:
        self.script.letters = []
        result = self.done("run", branch.real.run(steps))
        assert (result.first_tick, result.final_tick) == (branch.model.tick, branch.model.tick + steps - 1)
        for _ in range(steps):
            self._stage_due(branch)
            self._commit(branch)
        self._compare(branch)

    def _commit(self, branch: Branch) -> None:
        """Let the model's tick happen, and check that its letters were delivered, each once (G7)."""
        model = branch.model
        here = sorted((to, body) for to, body in model.mail if "Body" in model.where.get(to, ()))
        told = sorted((to, body) for tick, to, body in self.script.letters if tick == model.tick)
        assert told == here, f"in tick {model.tick} {told} were delivered, and not {here}"
        for entry in branch.staged:
            if entry.row is not None:
                entry.row.status, entry.row.tick = "applied", model.tick
        self._advance(model, branch.rules, branch.seed)
        branch.staged = []

    def _advance(self, model: ModelWorld, rules: str, seed: int) -> None:
        """Make the model's tick, with the random numbers that the processors drew."""

        def draw(_: str, table: Table) -> int:
            return self.script.draws[seed, model.tick, table_name(table)]

        made = process(model, rules_of(rules), draw, lambda _name, _table: False).made
        changes, model.staged = list(model.staged), []
        model.commit(made, changes, [(to, body) for kind, to, body in changes if kind == "send"], [])

    # Worlds

    def _fork(self, branch: Branch, line: Fork) -> None:
        model = branch.model
        if len(self.branches) >= self.most_branches:
            return
        at = None if line.at is None or not model.tick else line.at % model.tick
        is_past = at is not None and at != model.tick - 1
        name = f"w{len(self.branches)}"
        row = self.expect("fork_world", "applied")
        work = branch.real.fork(name, at_tick=at, pending=line.pending)
        refusal: type[Exception] | None = None
        if is_past and line.pending == "copy":
            refusal = ValueError
        elif not is_past and line.pending == "refuse" and branch.staged:
            refusal = PendingMutations
        if refusal is not None:
            row.status = "failed|rejected"
            with pytest.raises(refusal):
                self.run(work)
            return
        real = self.run(work)
        fork = Branch(name, real, model.forked(self.run(real.activate()), at if is_past else None), branch.rules)
        fork.seed = self.done("get_world_info", real.info()).seed
        assert fork.seed == branch.seed, "a fork draws the random numbers of its source"
        if is_past:
            fork.stage()
        else:
            fork.stage(*(Entry(one.ops, None, one.ids, made=one.made) for one in branch.staged))
        self.branches.append(fork)
        self._compare(fork)

    def _declare(self, branch: Branch, rules: str, *, is_shut_down: bool) -> None:
        if is_shut_down:
            self.run(branch.real.shutdown())
            self._back(branch)
        branch.rules = rules
        self._declared(branch)

    def _declared(self, branch: Branch) -> None:
        branch.real = self.runtime.world(branch.name, processors=processors(self.script, branch.rules))
        assert self.run(branch.real.activate()) == branch.model.world_id
        self._compare(branch)

    def _back(self, branch: Branch) -> None:
        """What a failed tick had staged from the queue waits there again, unless a direct command may build on it."""
        kept = max((number for number, one in enumerate(branch.staged, 1) if one.is_direct), default=0)
        branch.queue += branch.staged[kept:]
        del branch.staged[kept:]
        branch.stage()

    def _reopen(self) -> None:
        if not self.place.is_durable:
            return
        self.run(self.runtime.shutdown())
        self.runtime = self._runtime()
        for branch in self.branches:
            self._back(branch)
            self._declared(branch)

    def _roll(self, branch: Branch, name: str) -> None:
        """A rollout, twice: the second call finds every episode finished, in another process too (R2)."""
        model, known = branch.model, branch.rollouts.get(name)
        config = RolloutConfig(2, EpisodeConfig(2, score=_score), name=name)
        refusal: type[Exception] | None = None
        if branch.staged:
            refusal = PendingMutations
        elif known is not None and known[0] != model.tick:
            refusal = RolloutConflict
        self.script.ticks = []
        if refusal is not None:
            self.expect("run_rollout", "failed")
            with pytest.raises(refusal):
                self.run(branch.real.run_rollout(config))
            return
        first = self.done("run_rollout", branch.real.run_rollout(config))
        first.raise_if_failed()
        if known is None:
            for episode in first.episodes:
                self._require_episode(branch, episode)
            branch.rollouts[name] = known = model.tick, first.episodes
            self.script.ticks = []
        assert first.episodes == known[1]
        assert self.done("run_rollout", branch.real.run_rollout(config)).episodes == known[1]
        assert not self.script.ticks, "finished episodes were run again"
        self._compare(branch)

    def _require_episode(self, branch: Branch, episode: EpisodeResult) -> None:
        tick, fork = branch.model.tick, branch.model.forked(episode.world_id, None)
        for _ in range(2):
            self._advance(fork, branch.rules, episode.seed)
        bodies = [held["Body"] for rows in fork.live.values() for held in rows.values() if "Body" in held]
        assert episode.score == sum(one["x"] + one["y"] for one in bodies)
        assert (episode.first_tick, episode.final_tick) == (tick, tick + 1)

    # Comparison

    def _compare(self, branch: Branch) -> None:
        """The world as it stands, and the digest of its last tick, which never changes."""
        model = branch.model
        info = self.done("get_world_info", branch.real.info(), model.tick)
        found = (info.tick, info.entities, info.queued > 0)
        assert found == (model.tick, len(model.where), bool(branch.queue)), f"{branch.name} is {info}"
        if not model.tick:
            return
        frames = self.done("query_world", branch.real.snapshot())
        assert sorted(frames.to_pydict()["entity_id"]) == sorted(model.where)
        self._require_digest(branch, model.tick - 1)

    def _require_digest(self, branch: Branch, tick: int) -> None:
        digest = self.done("query_world", branch.real.digest(tick))
        known = self.digests.setdefault((branch.name, tick), digest)
        assert digest == known, f"tick {tick} of {branch.name} has changed"

    def finish(self) -> None:
        """Compare whole histories and the audit; then the store and the ledger have no defects."""
        for branch in self.branches:
            compare_history(self, branch)
            for name, tick in [key for key in self.digests if key[0] == branch.name]:
                assert name == branch.name
                self._require_digest(branch, tick)
        self._compare_audit()
        self.run(self.runtime.shutdown())
        assert self.place.defects() == []

    def _compare_audit(self) -> None:
        frame = self.run(self.runtime.history(10**6, actor=ACTOR.id, oldest_first=True)).to_pydict()
        found = [one for one in zip(frame["type"], frame["status"], frame["tick"], strict=True) if one[0] not in SET_UP]
        assert [one[0] for one in found] == [row.kind for row in self.rows]
        for number, ((kind, status, tick), row) in enumerate(zip(found, self.rows, strict=True)):
            assert status in row.status.split("|"), f"row {number}, {kind}, is {status}, and not {row}"
            assert row.tick in (None, tick), f"row {number}, {kind}, is of tick {tick}, and not {row}"


def _require_refusal(ask: Ask | None, refused: Refused, answer: Any) -> None:
    assert isinstance(answer, Exception), f"{ask} is an error ({refused.kind}), and was taken"
    if isinstance(ask, Send):
        assert isinstance(answer, UnknownRecipient)


def _score(view: Any) -> float:
    from tick_scene import Body

    found = view.snapshot(Body).to_pydict() if view.tick else {"body__x": [], "body__y": []}
    return float(sum(found["body__x"]) + sum(found["body__y"]))
