"""Clauses on the policy (G2): who may use which commands, and that a denied command leaves only an audit row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from archetype_contracts.assertion import ClauseFailed, require, require_equal, require_refusal
from archetype_contracts.gate.policy import ADMIN, KINDS_BY_ROLE, allows
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.sample_command import DEFERRABLE, SAMPLE_COMMANDS, Made, SampleWorld
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import (
    ActorCtx,
    AddComponents,
    Command,
    Custom,
    DestroyWorld,
    EntityCommand,
    GetWorldInfo,
    Spawn,
    Step,
    Update,
)
from archetype_core.errors import PermissionDenied


@dataclass(frozen=True, slots=True)
class _Unknown(Command[None]):
    kind: ClassVar[str] = "unknown"


@dataclass(frozen=True, slots=True)
class _UnknownEntity(EntityCommand[None]):
    kind: ClassVar[str] = "unknown_entity"


@dataclass(frozen=True, slots=True)
class _Nameless(Command[None]):
    pass


def require_denied(subject: GateSubject, actor: ActorCtx, made: Made) -> None:
    """Require that a command is denied, and that the error names the actor and the command."""
    command, world = made
    # A command without a kind may have any name in the error.
    named = {"command": command.kind} if command.kind else {}
    require_refusal(PermissionDenied, lambda: subject.execute(actor, command, world), actor=actor.id, **named)


def require_allowed(subject: GateSubject, actor: ActorCtx, made: Made) -> None:
    """Require that a command is executed."""
    command, world = made
    try:
        subject.execute(actor, command, world)
    except PermissionDenied as failure:
        raise ClauseFailed(
            f"expected {', '.join(actor.roles)} to be allowed {command.kind}, but {type(command).__name__} was denied"
        ) from failure


@clause("G-001", "Every role may use exactly the commands that the policy gives it.")
def every_cell(subject: GateSubject) -> None:
    require_equal(set(ADMIN), {one.kind for one in SAMPLE_COMMANDS}, "kinds of commands that are tried")
    sample = SampleWorld(subject)
    for role in KINDS_BY_ROLE:
        for sample_command in SAMPLE_COMMANDS:
            made, actor = sample_command.make(sample), subject.new_actor(role)
            (require_allowed if allows((role,), sample_command.kind) else require_denied)(subject, actor, made)


@clause("G-002", "An actor with several roles may do what any of them may; an unknown role changes nothing.")
def several_roles(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    for roles in (("viewer", "operator"), ("player", "viewer"), ("viewer", "wizard"), ("admin", "wizard")):
        for made in ((Step(), sample.world), (Spawn((Coin(),)), sample.world), (GetWorldInfo(), sample.world)):
            actor = subject.new_actor(*roles)
            (require_allowed if allows(roles, made[0].kind) else require_denied)(subject, actor, made)


@clause("G-003", "An actor without a known role is denied every command.")
def no_known_role(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    for roles in ((), ("wizard",), ("ADMIN", "Viewer"), ("",)):
        for sample_command in SAMPLE_COMMANDS:
            command, world = (
                sample_command.make(sample) if not sample_command.of.__name__.endswith("World") else (None, None)
            )
            if command is not None:
                require_denied(subject, subject.new_actor(*roles), (command, world))
        require_denied(subject, subject.new_actor(*roles), (DestroyWorld(), sample.world))


@clause("G-004", "A command of an unknown kind is denied to every role.")
def unknown_command(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    unknown: tuple[Command[Any], ...] = (_Unknown(), _UnknownEntity(), _Nameless())
    for role in KINDS_BY_ROLE:
        for command in unknown:
            require_denied(subject, subject.new_actor(role), (command, sample.world))
            require_denied(subject, subject.new_actor(role), (command, None))
        actor = subject.new_actor(role)
        require_refusal(PermissionDenied, lambda actor=actor: subject.submit(actor, _UnknownEntity(), sample.world))


@clause("G-005", "A queued command is authorized when it is submitted, by the same policy.")
def queued_cells(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    for role in (*KINDS_BY_ROLE, "wizard"):
        for sample_command in DEFERRABLE:
            command: Any = sample_command.make(sample)[0]
            for batch in (False, True):
                actor = subject.new_actor(role)
                if allows((role,), sample_command.kind):
                    _submit(subject, actor, command, sample.world, batch)
                else:
                    require_refusal(
                        PermissionDenied,
                        _submit,
                        subject,
                        actor,
                        command,
                        sample.world,
                        batch,
                        actor=actor.id,
                        command=sample_command.kind,
                    )
        actor = subject.new_actor(role)
        if allows((role,), "spawn"):
            subject.submit_spawn(actor, sample.world, Coin())
        else:
            require_refusal(PermissionDenied, lambda actor=actor: subject.submit_spawn(actor, sample.world, Coin()))


@clause("G-006", "A denied command leaves one audit row with the reason.")
def denial_on_record(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    actor = subject.new_actor("viewer", "wizard")
    require_denied(subject, actor, (Step(), sample.world))
    require_refusal(PermissionDenied, lambda: subject.submit(actor, Custom("note"), sample.world))
    require_refusal(PermissionDenied, lambda: subject.submit_batch(actor, [Update(1, ()), Spawn(())], sample.world))
    require_refusal(PermissionDenied, lambda: subject.submit_spawn(actor, sample.world, Coin()))
    rows = [row for row in subject.history(sample.world) if row.actor == actor.id]
    require_equal(["step", "custom", "update", "spawn", "spawn"], [row.type for row in rows], "rows of what was denied")
    for row in rows:
        require_equal(("rejected", sample.world), (row.status, row.world_id), f"status and world of {row.type}")
        require(bool(row.reason), f"expected a reason in the row of a denied {row.type}, but it is empty")
        require(
            row.settled_at is not None, f"expected the row of a denied {row.type} to be settled, but settled_at is None"
        )
        require_equal(actor.roles, frozenset(row.roles), "roles of a denied actor")


@clause("G-007", "A denied command changes nothing, neither now nor at the next tick.")
def denial_changes_nothing(subject: GateSubject) -> None:
    sample = SampleWorld(subject)
    made = [one.make(sample) for one in SAMPLE_COMMANDS if not one.of.__name__.endswith("World")]
    made += [(command, sample.world) for command in (DestroyWorld(),)]
    sample.settle()

    def state() -> object:
        world = sample.world
        info = subject.info(world)
        kept = (info.tick, info.run_id, info.entities, info.pending, info.queued)
        return kept, sorted(subject.worlds()), subject.contents(world), sample.handler.received[:]

    before = state()
    for one in made:
        require_denied(subject, subject.new_actor("wizard"), one)
        command: Any = one[0]
        if isinstance(command, EntityCommand):
            actor = subject.new_actor()
            require_refusal(PermissionDenied, lambda c=command, a=actor: subject.submit(a, c, sample.world))
    require_equal(before, state(), "the world after commands that were denied")
    contents = subject.contents(sample.world)
    subject.step(sample.world)
    require_equal(contents, subject.contents(sample.world), "contents a tick after commands that were denied")


@clause("G-008", "A denied command uses no quota.")
def denial_costs_nothing(subject: GateSubject) -> None:
    subject.limit(commands=3, credits=30, step=10)
    world = subject.world()
    actor = subject.new_actor("player")
    for _ in range(5):
        require_denied(subject, actor, (Step(), world))
        require_refusal(PermissionDenied, lambda: subject.submit_batch(actor, [AddComponents(1, ())] * 2, world))
    for _ in range(3):
        subject.execute(actor, Spawn((Coin(),)), world)


@clause("G-009", "A command that no role of the actor allows is denied also if the world does not exist.")
def denied_before_the_world_is_found(subject: GateSubject) -> None:
    subject.world()
    require_denied(subject, subject.new_actor("viewer"), (Step(), "no such world"))
    actor = subject.new_actor("viewer")
    require_refusal(PermissionDenied, lambda: subject.submit_spawn(actor, "no such world", Coin()))


@clause("G-010", "A batch is authorized as a whole before its world is looked up and before any of it is counted.")
def batch_authorized_first(subject: GateSubject) -> None:
    subject.limit(commands=2)
    world, actor = subject.world(), subject.new_actor("player")
    batch: list[EntityCommand[Any]] = [Spawn((Coin(),)), Spawn((Coin(),)), AddComponents(1, ())]
    for place in ("no such world", world):
        require_refusal(
            PermissionDenied,
            lambda place=place: subject.submit_batch(actor, batch, place),
            actor=actor.id,
            command="add_component",
        )
    subject.submit_batch(actor, batch[:2], world)


def _submit(subject: GateSubject, actor: ActorCtx, command: Any, world: str, batch: bool) -> None:
    if batch:
        subject.submit_batch(actor, [command], world)
    else:
        subject.submit(actor, command, world)
