"""A state machine that compares a gate with the model: random actors over several worlds, with ticks, days and reopening."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, precondition, rule

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.attempt import Inside, step_with
from archetype_contracts.gate.edit_draw import LATER, PRIORITIES, SOME_EDITS, SOME_QUEUED, SOME_SENT, SPAWNS
from archetype_contracts.gate.limits import GateLimits
from archetype_contracts.gate.model import (
    Change,
    Edit,
    GateModel,
    ModelWorld,
    SpawnCoin,
    paint,
)
from archetype_contracts.gate.sample import Failing
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    ActorCtx,
    AddHandler,
    AddProcessor,
    CloseWorld,
    Command,
    CreateWorld,
    DestroyWorld,
    ForkWorld,
    GetWorldInfo,
    ListWorlds,
    Query,
    Run,
    Step,
)
from archetype_core.config import RunConfig
from archetype_core.errors import ArchetypeError, PendingMutations, ProcessorError, WorldNotFound
from archetype_core.schema import Message

LIMITS = GateLimits(commands=6, credits=40, costs={"message": 2, "custom": 3, "get_world_info": 0, "step": 2})
ACTORS = {
    actor.id: actor
    for actor in (
        ActorCtx("vera", ("viewer",)),
        ActorCtx("paul", ("player",)),
        ActorCtx("pia", ("player",)),
        ActorCtx("olga", ("operator",)),
        ActorCtx("adam", ("admin",)),
        ActorCtx("wanda", ("wizard",)),
    )
}
# Actors with more permissions are drawn more often, else most commands would be refused.
PLAYERS = st.sampled_from(["paul", "olga", "pia", "adam", "paul", "olga", "vera", "wanda"])
OPERATORS = st.sampled_from(["olga", "adam", "olga", "adam", "olga", "paul", "vera"])
EVERYBODY = st.sampled_from(list(ACTORS))


class GateMachine(RuleBasedStateMachine):
    """Programs over one gate. The model predicts every answer, refusal, entity, message and audit row."""

    worlds: Bundle[ModelWorld] = Bundle("worlds")

    def __init__(self, subject: GateSubject) -> None:
        super().__init__()
        self.subject = subject
        subject.limits = LIMITS
        self.model = GateModel(LIMITS)
        self.all: list[ModelWorld] = []
        self.actors = set(ACTORS)
        subject.__enter__()

    # Worlds

    @initialize(target=worlds, spawns=st.lists(SPAWNS, min_size=2, max_size=4))
    def make_first_world(self, spawns: list[Edit]) -> ModelWorld:
        # Hypothesis switches rules off at random; without these entities most programs would have none.
        world = self._add_world(self.subject.world("w1"), "w1", Failing())
        for spawn in spawns:
            change = spawn.change_for(world)
            first: Any = self.subject.as_admin(change.command, world.world_id)
            change.ids = world.issue(range(first, first + 1))
            world.staged.append(change)
        self._stepped(world, [self.subject.step(world.world_id).tick], None)
        return world

    @precondition(lambda machine: len(machine.all) < 3)
    @rule(target=worlds, name=st.sampled_from(["adam", "adam", "adam", "olga"]))
    def create(self, name: str) -> Any:
        actor, world_name = ACTORS[name], f"w{len(self.all) + 1}"
        command = CreateWorld(world_name, self.subject.storage, seed=1)
        if not self._passes(actor, command, None):
            return self.all[0]
        info = self.subject.execute(actor, command)
        self.model.record(actor, command.kind, "applied")
        return self._add_world(info.world_id, world_name, Failing())

    @precondition(lambda machine: len(machine.all) < 3)
    @rule(target=worlds, name=OPERATORS, world=worlds)
    def fork(self, name: str, world: ModelWorld) -> Any:
        command = ForkWorld(f"w{len(self.all) + 1}")
        is_refused = not all(change.is_inside for change in world.staged)
        actor = self._actor(name, world, is_failing=is_refused)
        if not self._passes(actor, command, world):
            return world
        if is_refused:
            require_refusal(PendingMutations, lambda: self.subject.execute(actor, command, world.world_id))
            self.model.record(actor, command.kind, "failed")
            return world
        info = self.subject.execute(actor, command, world.world_id)
        self.model.record(actor, command.kind, "applied", world.tick)
        require_equal((world.tick, world.world_id), (info.tick, info.parent), f"tick and parent of a fork of {world}")
        made = self._add_world(info.world_id, info.name, world.failing, is_fork=True)
        made.tick, made.contents = world.tick, world.next_state(()).contents
        made.staged = [replace(change, row=None) for change in world.staged]
        made.issued_ids = {*made.contents, *chain.from_iterable(change.ids for change in made.staged)}
        made.messages = list(world.messages)
        return made

    @rule(
        name=OPERATORS,
        world=worlds,
        destroys=st.sampled_from([False, False, True]),
        comes_back=st.sampled_from([True, True, False]),
    )
    def close_or_destroy(self, name: str, world: ModelWorld, destroys: bool, comes_back: bool) -> None:
        command: Command[bool] = DestroyWorld() if destroys else CloseWorld()
        was_live = world.is_live
        actor = self._actor(name, world)
        # Closing a world that is not live is allowed, so policy and quotas alone decide.
        world.is_live = True
        passes = self._passes(actor, command, world)
        world.is_live = was_live
        if not passes:
            return
        require_equal(was_live, self.subject.execute(actor, command, world.world_id), f"{command.kind} of {world}")
        self.model.record(actor, command.kind, "applied", world.tick if was_live else None)
        if destroys and was_live:
            world.is_destroyed = True
            for change in (*world.staged, *world.queue):
                if change.row:
                    change.row.status = "queued|failed|rejected"
            world.staged, world.queue = [], []
        world.is_live = False
        if comes_back and not world.is_destroyed:
            self._open(world)

    @rule()
    def reopen_the_gate(self) -> None:
        before = self._waiting()
        self._reopen()
        require_equal(before, self._waiting(), "queued and pending commands of each world after reopening")

    @rule()
    def start_next_day(self) -> None:
        self.subject.transcript.add("# start the next day")
        self.subject.clock.start_next_day()

    # Mutations

    @rule(name=PLAYERS, world=worlds, edits=SOME_EDITS, durable=st.booleans())
    def execute(self, name: str, world: ModelWorld, edits: list[Edit], durable: bool) -> None:
        for edit in edits:
            self._execute(name, world, edit.change_for(world), durable)

    @rule(name=PLAYERS, world=worlds, edits=SOME_QUEUED, later=LATER, priority=PRIORITIES)
    def submit(self, *, name: str, world: ModelWorld, edits: list[Edit], later: int | None, priority: int) -> None:
        tick = None if later is None else world.tick + later
        for edit in edits:
            change = edit.change_for(world)
            is_refused = not world.queues([change])
            actor = self._actor(name, world, is_failing=is_refused)

            def act(actor: ActorCtx = actor, change: Change = change) -> Any:
                return self.subject.submit(actor, change.command, world.world_id, tick=tick, priority=priority)

            if not self._passes(actor, change.command, world, act):
                continue
            if is_refused:
                require_refusal(ArchetypeError, act)
                self.model.record(actor, change.command.kind, "rejected")
            else:
                self._queued(actor, world, change, act().entity_ids, tick=tick, priority=priority)

    @rule(name=PLAYERS, world=worlds, spawn=SPAWNS, later=LATER, priority=PRIORITIES)
    def submit_spawn(self, name: str, world: ModelWorld, spawn: SpawnCoin, later: int | None, priority: int) -> None:
        change = spawn.change_for(world)
        components: Any = change.command.components  # type: ignore[attr-defined]  # reason: the command is a Spawn
        tick = None if later is None else world.tick + later
        actor = self._actor(name, world)

        def act() -> Any:
            return self.subject.submit_spawn(actor, world.world_id, *components, tick=tick, priority=priority)

        if self._passes(actor, change.command, world, act):
            first = act()
            self._queued(actor, world, change, range(first, first + 1), tick=tick, priority=priority)

    @rule(name=PLAYERS, world=worlds, edits=SOME_QUEUED, later=LATER, priority=PRIORITIES)
    def submit_batch(
        self, *, name: str, world: ModelWorld, edits: list[Edit], later: int | None, priority: int
    ) -> None:
        changes = [edit.change_for(world) for edit in edits]
        commands = [change.command for change in changes]
        tick = None if later is None else world.tick + later
        is_refused = not world.queues(changes)
        actor = self._actor(name, world, is_failing=is_refused)

        def act() -> Any:
            return self.subject.submit_batch(actor, commands, world.world_id, tick=tick, priority=priority)

        refusal = self.model.refusal(actor, commands, world, self._today())
        if refusal is None and is_refused:
            refusal = ArchetypeError
        if refusal is not None:
            # If two errors are possible, other clauses check which comes first.
            require_refusal(refusal if world.is_live else ArchetypeError, act)
            for command in commands:
                self.model.record(actor, command.kind, "rejected")
            return
        for change, ticket in zip(changes, act(), strict=True):
            self._queued(actor, world, change, ticket.entity_ids, tick=tick, priority=priority)

    # Ticks

    @rule(name=OPERATORS, world=worlds)
    def step(self, name: str, world: ModelWorld) -> None:
        self._advance(name, world, None)

    @rule(name=OPERATORS, world=worlds, steps=st.sampled_from([2, 3, 0]))
    def walk(self, name: str, world: ModelWorld, steps: int) -> None:
        self._advance(name, world, steps)

    def _advance(self, name: str, world: ModelWorld, steps: int | None) -> None:
        actor = self._actor(name, world)
        command: Command[Any] = Step() if steps is None else Run(RunConfig(steps=steps))
        if self._passes(actor, command, world):
            result = self.subject.execute(actor, command, world.world_id)
            self.model.record(actor, command.kind, "applied", world.tick)
            ticks = [result.tick] if steps is None else list(range(result.first_tick, result.final_tick + 1))
            require_equal(1 if steps is None else steps, len(ticks), f"number of ticks that {world} made")
            self._stepped(world, ticks, result.applied)

    @rule(world=worlds, reopens=st.booleans())
    def fail_and_step(self, world: ModelWorld, reopens: bool) -> None:
        if not world.is_live or not any("Coin" in kinds for kinds in world.contents.values()):
            return
        actor = self._fresh("operator")
        failing = world.failing
        failing.is_failing = True
        require_refusal(ProcessorError, lambda: self.subject.execute(actor, Step(), world.world_id), tick=world.tick)
        failing.is_failing = False
        self.model.record(actor, "step", "failed")
        if reopens:
            self._reopen()
        self._require_contents(world)
        result = self.subject.execute(actor, Step(), world.world_id)
        self.model.record(actor, "step", "applied", world.tick)
        self._stepped(world, [result.tick], None)

    @rule(world=worlds, other=worlds, failures=st.integers(0, 2), sent=SOME_SENT)
    def step_with_commands(
        self, world: ModelWorld, other: ModelWorld, failures: int, sent: list[tuple[Edit, bool, bool]]
    ) -> None:
        if not (world.is_live and other.is_live) or not any("Coin" in kinds for kinds in world.contents.values()):
            return
        # Its quota pays for one attempt, and only if what failed ones sent is given back.
        actor = self._fresh("player")
        changes = []
        for edit, is_far, is_queued in sent:
            there = other if is_far else world
            change = edit.change_for(there)
            if change.recipient is None or change.recipient in there.contents:
                changes.append((change, there, is_queued))
        inside = [Inside(change.command, there.world_id, is_queued) for change, there, is_queued in changes]
        for _ in range(failures):
            step_with(self.subject, world.world_id, world.failing, actor, inside, fails=True)
            self._require_contents(world)
        answers = step_with(self.subject, world.world_id, world.failing, actor, inside)
        self._stepped(world, [world.tick], None)
        for (change, there, is_queued), answer in zip(changes, answers, strict=True):
            if is_queued:
                self._queued(actor, there, change, answer.entity_ids, tick=None, priority=0)
            else:
                change.is_inside = there is world
                self._staged(actor, there, change, answer)

    # Reads

    @rule(name=EVERYBODY, world=worlds, times=st.sampled_from([1, 1, 7]))
    def look(self, name: str, world: ModelWorld, times: int) -> None:
        actor = self._actor(name, world)
        for _ in range(times):
            if not self._passes(actor, GetWorldInfo(), world):
                return
            info = self.subject.execute(actor, GetWorldInfo(), world.world_id)
            self.model.record(actor, "get_world_info", "applied", world.tick)
            expected = (world.tick, len(world.contents), len(world.queue), world.name)
            require_equal(
                expected,
                (info.tick, info.entities, info.queued, info.name),
                f"tick, entities, queued commands and name of {world}",
            )

    @rule(name=EVERYBODY)
    def list_worlds(self, name: str) -> None:
        actor = ACTORS[name]
        if self._passes(actor, ListWorlds(), None):
            found = {one.world_id for one in self.subject.execute(actor, ListWorlds())}
            self.model.record(actor, "list_worlds", "applied")
            require_equal({one.world_id for one in self.all if one.is_live}, found, "live worlds")

    def teardown(self) -> None:
        """Compare everything, unless the program failed already, and close."""
        error = sys.exception()
        try:
            if error is None:
                self._require_everything()
        except BaseException as exc:
            error = exc
            raise
        finally:
            self.subject.__exit__(type(error) if error else None, error, None)

    # Helpers of the rules

    def _execute(self, name: str, world: ModelWorld, change: Change, durable: bool) -> None:
        is_applicable = world.accepts(change)
        actor = self._actor(name, world, is_failing=not is_applicable)
        if not self._passes(actor, change.command, world):
            return

        def act() -> Any:
            return self.subject.execute(actor, change.command, world.world_id, durable=durable)

        if not is_applicable:
            require_refusal(ArchetypeError, act)
            self.model.record(actor, change.command.kind, "failed")
            return
        if world.changes(change):
            self._staged(actor, world, change, act())
        else:
            act()
            self.model.record(actor, change.command.kind, "applied", world.tick)

    def _add_world(self, world_id: str, name: str, failing: Failing, *, is_fork: bool = False) -> ModelWorld:
        world = ModelWorld(world_id, name, failing)
        self.all.append(world)
        if not is_fork:
            self._equip(world)
        return world

    def _equip(self, world: ModelWorld) -> None:
        world.failing.is_failing = False
        self.subject.as_admin(AddProcessor(world.failing), world.world_id)
        self.subject.as_admin(AddHandler("paint", paint), world.world_id)

    def _open(self, world: ModelWorld) -> None:
        self.subject.open_world(world.world_id)
        world.is_live = True
        # A fork shares its source's processor; a reopened world gets a new one.
        world.failing = Failing()
        self._equip(world)

    def _reopen(self) -> None:
        self.subject.reopen()
        for world in self.all:
            if world.is_live:
                self._open(world)

    def _waiting(self) -> dict[str, tuple[int, int]]:
        infos = {world.name: self.subject.info(world.world_id) for world in self.all if world.is_live}
        return {name: (info.queued, info.pending) for name, info in infos.items()}

    def _fresh(self, *roles: str) -> ActorCtx:
        actor = self.subject.new_actor(*roles)
        self.actors.add(actor.id)
        return actor

    def _actor(self, name: str, world: ModelWorld, *, is_failing: bool = False) -> ActorCtx:
        """The actor of a command. The cost of a failing command is not promised, so a new actor pays it."""
        actor = ACTORS[name]
        return self._fresh(*actor.roles) if is_failing or not world.is_live else actor

    def _passes(
        self, actor: ActorCtx, command: Command[Any], world: ModelWorld | None, act: Callable[[], Any] | None = None
    ) -> bool:
        """Whether the model accepts a command; if not, require that the gate refuses it, and record that."""
        refusal = self.model.refusal(actor, [command], world, self._today())
        if refusal is None:
            return True
        place = None if world is None else world.world_id
        require_refusal(refusal, act or (lambda: self.subject.execute(actor, command, place)))
        status = "rejected|failed" if refusal is WorldNotFound and act is None else "rejected"
        self.model.record(actor, command.kind, status)
        return False

    def _today(self) -> Any:
        return self.subject.clock.now().date()

    def _queued(
        self, actor: ActorCtx, world: ModelWorld, change: Change, ids: range, *, tick: int | None, priority: int
    ) -> None:
        change.ids = world.issue(ids)
        change.row = self.model.record(actor, change.command.kind, "queued")
        self.model.queue(world, change, tick, priority)

    def _staged(self, actor: ActorCtx, world: ModelWorld, change: Change, answer: Any) -> None:
        if isinstance(answer, int | range):
            change.ids = world.issue(answer if isinstance(answer, range) else range(answer, answer + 1))
        change.row = self.model.record(actor, change.command.kind, "queued")
        world.staged.append(change)

    def _stepped(self, world: ModelWorld, ticks: list[int], applied: int | None) -> None:
        require_equal(list(range(world.tick, world.tick + len(ticks))), ticks, f"ticks of {world}")
        expected = sum(world.step() for _ in ticks)
        if applied is not None:
            require_equal(expected, applied, f"commands that ticks {ticks} of {world} applied")
        self._require_contents(world)

    def _require_contents(self, world: ModelWorld) -> None:
        require_equal(world.contents, self.subject.contents(world.world_id), f"contents of {world}")

    def _require_everything(self) -> None:
        for world in self.all:
            if world.is_live:
                self._require_contents(world)
                self._require_messages(world)
        self._require_rows()
        require_equal([], self.subject.verify(), "defects in the audit chain")

    def _require_messages(self, world: ModelWorld) -> None:
        frame: Any = self.subject.execute(
            self.subject.observer(), Query((Message,), include_inactive=True), world.world_id
        )
        columns = frame.select("tick", "entity_id", "message__body").to_pydict()
        found = sorted(zip(columns["tick"], columns["entity_id"], map(int, columns["message__body"]), strict=True))
        require_equal(sorted(world.messages), found, f"messages of {world}")

    def _require_rows(self) -> None:
        found = [row for row in self.subject.history() if row.actor in self.actors]
        require_equal(
            [(row.actor, row.type) for row in self.model.rows], [(row.actor, row.type) for row in found], "audit rows"
        )
        for expected, row in zip(self.model.rows, found, strict=True):
            is_right = expected.fits(row.actor, row.type, row.status, row.tick)
            require(is_right, f"audit row {row.seq}\n  expected: {expected}\n  actual:   {row}")
            is_settled = row.settled_at is not None
            require_equal(row.status != "queued", is_settled, f"whether audit row {row.seq} ({row.status}) is settled")
