"""Plays a program of mutations, ticks, failures, forks and restarts on real worlds and on the model, and compares them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
from tick_model import (
    Assign,
    ModelWorld,
    Mutation,
    Op,
    Processing,
    Refused,
    Send,
    Spawn,
    Table,
    checked,
    placed,
    process,
)
from tick_program import Attempt, Fork, Line, Reopen, Stage, Step
from tick_scene import (
    PARTS,
    RULES,
    Backwards,
    FaultyStore,
    Place,
    Plan,
    Result,
    Script,
    exact,
    opened,
    perform,
    table_name,
    values_in,
    values_of,
    whole,
)

from archetype_core.engine import World
from archetype_core.engine.hook import PreTick
from archetype_core.errors import (
    AttemptOver,
    CommitError,
    CommitUncertain,
    EntityNotFound,
    PendingMutations,
    ProcessorError,
    TickConflict,
    UnknownRecipient,
)


@dataclass
class Outcome:
    """What an attempt makes of a world if it is committed."""

    processing: Processing
    mutations: list[Mutation]
    staged: list[Mutation]
    letters: list[tuple[int, Any]]
    before: int
    taken: set[int]
    is_exact: bool
    foreign: list[Mutation]
    other: int | None


@dataclass
class Branch:
    """A real world and its model.

    ``doubt`` is a tick whose commit failed and that may be stored, until the next step finds out; ``is_stored`` if it is.
    """

    real: World
    model: ModelWorld
    doubt: Outcome | None = None
    is_stored: bool = False


class Player:
    """Plays lines one by one; every difference is an ``AssertionError``."""

    most_branches = 3

    def __init__(self, make: Callable[[], Place] = Place, *, backwards: bool = False) -> None:
        self.runner = asyncio.Runner()
        self.place = make()
        self.store = FaultyStore(self.place.open())
        self.executor = Backwards() if backwards else None
        self.script = Script()
        world = World(
            self.store,
            seed=7,
            processors=self.script.processors(),
            hooks=[(PreTick, self.script.pre_tick)],
            executor=self.executor,
        )
        self.branches = [Branch(world, ModelWorld(world.world_id))]
        self.digests: dict[tuple[int, int], str] = {}
        self.recipients: list[int] = []
        """Whom the messages of the attempt are to."""
        self.is_repeatable = True
        """Whether the program without its failed attempts must give the same digests."""
        self.clean: list[Line] = []

    def close(self) -> None:
        self.runner.close()
        self.store.close()
        self.place.remove()

    def play(self, line: Line) -> None:
        """Do one line and compare everything that can be read at once."""
        branch = self.branches[line.branch % len(self.branches)]
        self.script.world = branch.real
        match line:
            case Stage(_, op):
                if branch.doubt:
                    self.is_repeatable = False
                    branch.model.is_exact &= not isinstance(op, Spawn)
                self._stage(branch, op)
                self.clean.append(line)
            case Step(_, attempt):
                if attempt.solo and any(one.doubt for one in self.branches):
                    self.is_repeatable = False
                self._step(branch, line, attempt)
            case Fork(_, at, pending):
                self.is_repeatable &= branch.doubt is None
                self._fork(branch, at, pending)
                self.clean.append(line)
            case Reopen():
                self._reopen(branch)
                self.clean.append(line)
        for one in self.branches:
            self._compare(one)
        if not isinstance(line, Stage) and branch.model.tick:
            self._compare_digest(branch, branch.model.tick - 1)

    def _stage(self, branch: Branch, op: Op) -> None:
        result = perform(branch.real, op, branch.real.get)
        model, doubt = branch.model, branch.doubt
        # Until a commit that failed is looked up, what its hooks staged counts, and its entities may be alive.
        there = placed(model.where, doubt.mutations) if doubt else {}
        expected = placed(model.where, [*doubt.mutations, *model.staged[doubt.before :]]) if doubt else model.expected
        model.staged += self._judged(model, op, expected, result, in_order=True, there=there)

    def _judged(
        self,
        model: ModelWorld,
        op: Op,
        where: Any,
        result: Result,
        *,
        in_order: bool = False,
        sees_others: bool = False,
        there: Collection[int] = (),
    ) -> list[Mutation]:
        """The mutations of an operation, after the engine gave the ids or the error that the model expects."""
        ids = result if isinstance(result, tuple) else ()
        if isinstance(op, Send):
            return self._judged_send(model, op, {*where, *there}, result, sees_others=sees_others)
        if isinstance(op, Spawn):
            assert len(ids) == len(op.bundles), f"{op} gave {result!r}"
            model.take(ids, in_order=in_order)
        made: list[Mutation] | Refused
        try:
            if isinstance(op, Assign):
                live = model.where.get(op.entity)
                if live is None or op.part not in live:
                    raise Refused("EntityNotFound" if live is None else "KeyError")
            made = checked(op, where, ids, whole)
        except Refused as refused:
            made = refused
        if isinstance(made, Refused):
            assert not isinstance(result, tuple), f"{op} is an error ({made.kind}), and was taken"
            kinds = {"", *(one.__name__ for one in type(result).__mro__)}
            assert made.kind in kinds, f"{op} is {made.kind}, and not {result!r}"
            return []
        assert isinstance(result, tuple), f"{op} was refused: {result!r}"
        return made

    def _judged_send(
        self, model: ModelWorld, op: Send, where: Any, result: Result, *, sees_others: bool
    ) -> list[Mutation]:
        """A message, whose recipient must be alive or staged; ``sees_others`` if tables beside this one may stage it (G7)."""
        if op.to in where or op.to in model.where or (sees_others and isinstance(result, tuple)):
            assert isinstance(result, tuple), f"{op} was refused: {result!r}"
            self.recipients.append(op.to)
            return [("send", op.to, op.body)]
        assert isinstance(result, UnknownRecipient), f"{op} is to nobody, and gave {result!r}"
        return []

    def _plan(self, branch: Branch, attempt: Attempt) -> Plan:
        """The attempt with its picks resolved, on the tables that are live now."""
        model = branch.model
        slots = sorted(
            ((rule.name, table) for table in model.live for rule in RULES if rule.acts and rule.needs <= table),
            key=lambda slot: (slot[0], sorted(slot[1])),
        )
        failing = [slot for slot in slots if slot[0] != "Fickle"]
        bodies = [table for name, table in slots if name == "Fickle"]
        others = [one for one in self.branches if one is not branch and not one.doubt]
        tables = {table_name(table): table for table in model.live}
        plan = Plan(tables, hook=attempt.hook, late=attempt.late, watches=attempt.watches)
        plan.other = others[0].real if others else None
        if attempt.fault not in (None, "conflict"):
            # Whether the attempt is over is found out later.
            plan.late = ()
        if not slots:
            return plan
        for pick, acts in attempt.acts:
            slot = slots[pick % len(slots)]
            plan.acts[slot] = plan.acts.get(slot, ()) + acts
        if failing and attempt.fails:
            plan.fails = (*failing[attempt.fails[0] % len(failing)], attempt.fails[1])
        plan.skips = frozenset(bodies[pick % len(bodies)] for pick in attempt.skips if bodies)
        if attempt.solo and failing:
            slot = failing[attempt.solo[0] % len(failing)]
            acts = tuple(
                ("handle" if not others and route == "foreign" else route, op) for route, op in attempt.solo[1]
            )
            # A handle in a thread of its own takes ids from the world, so which ones depends on what tables take meanwhile.
            acts = tuple((route, op) for route, op in acts if route != "outside" or not isinstance(op, Spawn))
            if plan.fails and plan.fails != (*slot, "after"):
                # A thread that goes on while the attempt has failed elsewhere may or may not be seen.
                acts = tuple((route, op) for route, op in acts if route != "outside")
            plan.acts[slot] = plan.acts.get(slot, ()) + acts
        return plan

    def _step(self, branch: Branch, line: Step, attempt: Attempt) -> None:
        model, doubt = branch.model, branch.doubt if branch.is_stored else None
        tick, before = model.tick, branch.real.pending
        if branch.doubt and not branch.is_stored:
            before -= len(branch.doubt.mutations) - branch.doubt.before
        branch.doubt, branch.is_stored = None, False
        plan = self.script.plan = Plan() if doubt else self._plan(branch, attempt)
        self.store.fault = None if doubt else attempt.fault
        result = self.runner.run(self._stepped(branch.real, plan))
        self.store.fault = None
        if doubt is not None:
            assert not isinstance(result, Exception), f"a stored tick was not adopted: {result!r}"
            self._commit(branch, doubt)
            return
        other = next((one for one in self.branches if one.real is plan.other), None)
        others_ids = set(other.model.taken) if other else set()
        outcome = self._expected(branch, plan, other)
        if other is not None and attempt.fault in ("conflict", "refused"):
            # What the attempt took in another world may be given out again, as after a failing processor.
            other.model.taken = others_ids
        if plan.fails:
            assert isinstance(result, ProcessorError), f"{plan.fails} fails, and the step gave {result!r}"
            assert (result.processor, result.table, result.tick) == (plan.fails[0], table_name(plan.fails[1]), tick)
        elif attempt.fault == "conflict":
            assert isinstance(result, TickConflict), f"the commit is refused, and the step gave {result!r}"
        elif attempt.fault == "refused":
            assert isinstance(result, CommitError), f"the commit failed, and the step gave {result!r}"
        elif attempt.fault:
            assert isinstance(result, CommitUncertain), f"the commit is uncertain, and the step gave {result!r}"
        else:
            assert not isinstance(result, BaseException), f"the step failed: {result!r}"
        if isinstance(result, BaseException):
            if outcome is not None and attempt.fault != "conflict":
                branch.doubt, branch.is_stored = outcome, attempt.fault == "stored"
                if branch.is_stored:
                    model.taken |= outcome.taken
            if branch.is_stored:
                self.clean.append(replace(line, attempt=replace(attempt, late=plan.late, fault=None)))
            assert branch.real.pending >= before, "staged mutations are lost"
            self._late(branch, plan, is_over=True)
            return
        assert outcome is not None
        self.clean.append(line)
        self._commit(branch, outcome)
        self._late(branch, plan, is_over=False)

    async def _stepped(self, world: World, plan: Plan) -> Any:
        plan.over = asyncio.Event()
        try:
            return await world.step()
        except Exception as failure:  # noqa: BLE001  # reason: the caller asserts which error it is
            return failure
        finally:
            plan.over.set()
            await asyncio.gather(*plan.tasks)

    def _late(self, branch: Branch, plan: Plan, *, is_over: bool) -> None:
        """A task that outlives its attempt is refused if that failed, and is a caller like any other if not (T7)."""
        for index, op in enumerate(plan.late):
            result = plan.results["late", frozenset(), index]
            if is_over:
                assert not isinstance(result, tuple), f"{op} was taken, and its attempt has failed"
            else:
                branch.model.staged += self._judged(branch.model, op, branch.model.expected, result, in_order=True)

    def _expected(self, branch: Branch, plan: Plan, other: Branch | None) -> Outcome | None:
        """What the attempt makes of the world, or nothing if a processor failed; judges all that was staged in it."""
        model, has_failed = branch.model, plan.fails is not None
        kept = set(model.taken), model.is_exact
        other_kept = (set(other.model.taken), other.model.is_exact) if other else None
        mutations = list(model.staged)
        for index, op in enumerate(plan.hook):
            result = plan.results["hook", frozenset(), index]
            mutations += self._judged(model, op, placed(model.where, mutations), result, in_order=True)
        where = placed(model.where, mutations)
        self.recipients = []
        drafts, outside, foreign = self._drafted(branch, plan, other, where)
        unknown = set(self.recipients) - model.taken - (other.model.taken if other else set())
        assert not unknown, f"messages to {unknown} were taken, and there never was such an entity"
        outside_ids = {entity for kind, entity, _ in outside if kind == "spawn"}
        letters = [(to, body) for kind, to, body in mutations if kind == "send"]
        letters += [(to, body) for kind, to, body in drafts if kind == "sent"]
        staged = [one for one in drafts if one[0] != "sent"]
        before = len(model.staged)
        model.staged = [*model.staged, *outside]
        taken, is_exact = model.taken, model.is_exact
        model.taken, model.is_exact = kept[0] | outside_ids, kept[1] and not outside_ids
        if other is not None and other_kept is not None and not any(kind == "spawn" for kind, *_ in foreign):
            other.model.taken, other.model.is_exact = other_kept
        if has_failed:
            if other is not None and other_kept is not None:
                other.model.taken = other_kept[0]
            return None
        processing = process(model, RULES, self._draw(branch), lambda name, table: table in plan.skips)
        self._compare_frames(plan, processing, model)
        return Outcome(
            processing,
            mutations,
            staged,
            letters,
            before,
            taken,
            is_exact,
            foreign,
            self.branches.index(other) if other else None,
        )

    def _drafted(
        self, branch: Branch, plan: Plan, other: Branch | None, where: Mapping[int, Table]
    ) -> tuple[list[Mutation], list[Mutation], list[Mutation]]:
        """What processors staged by table, priority and call; what came from outside; and what is for another world (T9)."""
        drafts: list[Mutation] = []
        outside: list[Mutation] = []
        foreign: list[Mutation] = []
        for table in sorted(branch.model.live, key=table_name):
            draft: list[Mutation] = []
            for rule in sorted(RULES, key=lambda one: one.priority):
                written = list(draft)
                for index, (route, op) in enumerate(plan.acts.get((rule.name, table), ())):
                    result = plan.results.get((rule.name, table, index))
                    if plan.fails and (result is None or isinstance(result, AttemptOver)):
                        continue
                    assert result is not None, f"{rule.name} did not run on {set(table)}"
                    branch.model.is_exact &= result == () or not isinstance(result, tuple)
                    if route == "outside":
                        self.is_repeatable = False
                        outside += self._judged(branch.model, op, placed(where, outside), result)
                    elif route == "foreign":
                        assert other is not None
                        self.is_repeatable &= not isinstance(op, Spawn)
                        other.model.is_exact &= not isinstance(op, Spawn)
                        foreign += self._judged(other.model, op, placed(other.model.expected, foreign), result)
                    else:
                        made = self._judged(branch.model, op, placed(where, draft), result, sees_others=True)
                        if route in ("commands", "thread", "messages"):
                            # Sent in this tick, if the recipient is there by its end; what a handle sends is staged for the next.
                            there = {*branch.model.where, *where}
                            made = [
                                ("sent" if kind == "send" and to in there else kind, to, what)
                                for kind, to, what in made
                            ]
                        draft += made
                if rule.skips and table in plan.skips:
                    draft = written
            drafts += draft
        return drafts, outside, foreign

    def _draw(self, branch: Branch) -> Callable[[str, Table], int]:
        seed, tick = branch.real.seed, branch.model.tick
        return lambda _name, table: self.script.draws[seed, tick, table_name(table)]

    def _commit(self, branch: Branch, outcome: Outcome) -> None:
        """Let the model's tick happen; what others staged meanwhile comes after what the tick staged itself."""
        model = branch.model
        later, taken = model.staged[outcome.before :], model.taken
        model.taken = outcome.taken
        model.is_exact &= outcome.is_exact
        model.staged = [*outcome.staged, *later]
        model.commit(outcome.processing.made, outcome.mutations, outcome.letters, outcome.staged)
        model.taken = model.taken | taken
        if outcome.other is not None:
            self.branches[outcome.other].model.staged += outcome.foreign

    def _fork(self, branch: Branch, at: int | None, pending: Literal["refuse", "copy"]) -> None:
        model, real = branch.model, branch.real
        if branch.doubt or len(self.branches) >= self.most_branches:
            return
        at = None if at is None or not model.tick else at % model.tick
        is_past = at is not None and at != model.tick - 1
        refusal: type[Exception] | None = None
        if is_past and pending == "copy":
            refusal = ValueError
        elif not is_past and pending == "refuse" and len(model.staged) > model.left:
            refusal = PendingMutations
        if refusal is not None:
            with pytest.raises(refusal):
                self.runner.run(real.fork(at_tick=at, pending=pending))
            return
        fork = self.runner.run(real.fork(at_tick=at, pending=pending))
        self.branches.append(Branch(fork, model.forked(fork.world_id, at if is_past else None)))

    def _reopen(self, branch: Branch) -> None:
        """Open a world again, as after a restart: what others staged is lost, an uncertain tick is found (R5)."""
        if branch.doubt is not None and branch.is_stored:
            self._commit(branch, branch.doubt)
        branch.doubt, branch.is_stored = None, False
        self.store.reopen(self.place)
        if not branch.model.tick:
            return
        owner = branch.model.writers[-1]
        # A fork that ran no tick is not in the store: whoever has its segment opens it.
        segment = None if owner == branch.model.world_id else branch.real.segment
        branch.real = self.runner.run(opened(self.store, owner, self.script, self.executor, segment))
        branch.model.back_to(branch.model.tick - 1)

    def _compare(self, branch: Branch) -> None:
        """The live state of a world, read in every way."""
        model, real = branch.model, branch.real
        assert real.tick == model.tick, f"the world is at tick {real.tick}, and not {model.tick}"
        # Until a commit that failed is looked up, what its hooks staged counts.
        is_empty = not model.staged and not (branch.doubt and branch.doubt.mutations)
        assert (real.pending == 0) == is_empty, f"{real.pending} mutations are pending, and not {model.staged}"
        found = {
            frozenset(one.name for one in archetype.components): [
                (row["entity_id"], values_in(row, [one.name for one in archetype.components]))
                for row in rows.to_arrow().to_pylist()
            ]
            for archetype, rows in real.tables().items()
            if rows.num_rows
        }
        expected = {
            table: [(entity, exact(held)) for entity, held in rows.items()]
            for table, rows in model.live.items()
            if rows
        }
        assert found == expected
        for entity in model.taken:
            held = model.where.get(entity)
            try:
                got = real.get(entity)
            except EntityNotFound:
                assert held is None, f"entity {entity} is not found"
                continue
            assert held is not None, f"entity {entity} is found"
            values = {part.__name__: values_of(component) for part, component in got.items()}
            assert exact(values) == exact(model.live[held][entity])

    def _compare_digest(self, branch: Branch, tick: int) -> None:
        """A tick that is committed never changes (T3)."""
        key = self.branches.index(branch), tick
        digest = branch.real.digest(tick)
        assert self.digests.setdefault(key, digest) == digest, f"tick {tick} has changed"

    def _compare_frames(self, plan: Plan, processing: Processing, model: ModelWorld) -> None:
        """What the acting processors saw: the frames of the tick before, after the processors before them (T2, T9)."""
        for slot, rows in plan.frames.items():
            seen = {row["entity_id"]: values_in(row, slot[1]) for row in rows}
            assert seen == {entity: exact(held) for entity, held in processing.seen[slot].items()}, slot
        for slot, letters in plan.mail.items():
            own = [letter for letter in model.mail if model.where.get(letter[0]) == slot[1]]
            assert letters == own, f"{slot} was told {letters}, and not {own}"

    def finish(self, *, is_replay: bool = False) -> dict[tuple[int, int], str]:
        """Compare whole histories, unless digests say enough; returns the digest of every tick of every branch."""
        for index, branch in enumerate(self.branches):
            for tick in range(branch.model.tick):
                self._compare_digest(branch, tick)
            if branch.model.tick and not is_replay:
                self._compare_history(index, branch)
        return self.digests

    def _compare_history(self, index: int, branch: Branch) -> None:
        for name, part in PARTS.items():
            frame = branch.real.query(part, include_inactive=True).to_arrow()
            found = sorted(
                (row["world_id"], row["tick"], row["entity_id"], row["is_active"], repr(values_in(row, [name])))
                for row in frame.to_pylist()
            )
            expected = sorted(
                (world, tick, entity, is_active, repr(exact({name: held[name]})))
                for tick, rows in enumerate(branch.model.rows)
                for world, table, entity, is_active, held in rows
                if name in table
            )
            assert found == expected, f"history of {name} in branch {index}"
