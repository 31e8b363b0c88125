"""Clauses on policy (G2): who may do what, and that a command which is denied leaves nothing but a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.policy import ADMIN, MATRIX, allows
from archetype_contracts.gate.sample import Coin
from archetype_contracts.gate.scene import DEFERRABLE, SPECIMENS, Made, Scene
from archetype_contracts.gate.subject import GateSubject
from archetype_contracts.verdict import Broken, require, require_equal, require_refusal
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
class _Unheard(Command[None]):
    kind: ClassVar[str] = "unheard_of"


@dataclass(frozen=True, slots=True)
class _UnheardEntity(EntityCommand[None]):
    kind: ClassVar[str] = "unheard_of_entity"


@dataclass(frozen=True, slots=True)
class _Nameless(Command[None]):
    pass


def denied(subject: GateSubject, actor: ActorCtx, made: Made) -> None:
    """Require that a command is denied, and that the error says to whom and what."""
    command, world = made
    # What a command without a kind is called in an error is free.
    named = {"command": command.kind} if command.kind else {}
    require_refusal(PermissionDenied, lambda: subject.execute(actor, command, world), actor=actor.id, **named)


def allowed(subject: GateSubject, actor: ActorCtx, made: Made) -> None:
    """Require that a command is carried out."""
    command, world = made
    try:
        subject.execute(actor, command, world)
    except PermissionDenied as failure:
        raise Broken(
            f"{', '.join(actor.roles)} may {command.kind}, but was denied {type(command).__name__}"
        ) from failure


@clause("G-001", "Every role may use exactly the commands that the matrix gives it, class by class.")
def every_cell(subject: GateSubject) -> None:
    require_equal(set(ADMIN), {one.kind for one in SPECIMENS}, "kinds of commands that are tried")
    scene = Scene(subject)
    for role in MATRIX:
        for specimen in SPECIMENS:
            made, actor = specimen.make(scene), subject.someone(role)
            (allowed if allows((role,), specimen.kind) else denied)(subject, actor, made)


@clause("G-002", "An actor with several roles may do what any of them may, and an unknown role adds and takes nothing.")
def several_roles(subject: GateSubject) -> None:
    scene = Scene(subject)
    for roles in (("viewer", "operator"), ("player", "viewer"), ("viewer", "wizard"), ("admin", "wizard")):
        for made in ((Step(), scene.world), (Spawn((Coin(),)), scene.world), (GetWorldInfo(), scene.world)):
            actor = subject.someone(*roles)
            (allowed if allows(roles, made[0].kind) else denied)(subject, actor, made)


@clause("G-003", "Without a role that is known, every command is denied.")
def no_known_role(subject: GateSubject) -> None:
    scene = Scene(subject)
    for roles in ((), ("wizard",), ("ADMIN", "Viewer"), ("",)):
        for specimen in SPECIMENS:
            command, world = specimen.make(scene) if not specimen.of.__name__.endswith("World") else (None, None)
            if command is not None:
                denied(subject, subject.someone(*roles), (command, world))
        denied(subject, subject.someone(*roles), (DestroyWorld(), scene.world))


@clause("G-004", "A command of a kind that nobody knows is denied to everybody.")
def unknown_command(subject: GateSubject) -> None:
    scene = Scene(subject)
    unknown: tuple[Command[Any], ...] = (_Unheard(), _UnheardEntity(), _Nameless())
    for role in MATRIX:
        for command in unknown:
            denied(subject, subject.someone(role), (command, scene.world))
            denied(subject, subject.someone(role), (command, None))
        actor = subject.someone(role)
        require_refusal(PermissionDenied, lambda actor=actor: subject.submit(actor, _UnheardEntity(), scene.world))


@clause("G-005", "What waits in a queue is authorized when it is submitted, by the same matrix.")
def queued_cells(subject: GateSubject) -> None:
    scene = Scene(subject)
    for role in (*MATRIX, "wizard"):
        for specimen in DEFERRABLE:
            command: Any = specimen.make(scene)[0]
            for batch in (False, True):
                actor = subject.someone(role)
                if allows((role,), specimen.kind):
                    _submit(subject, actor, command, scene.world, batch)
                else:
                    require_refusal(
                        PermissionDenied,
                        _submit,
                        subject,
                        actor,
                        command,
                        scene.world,
                        batch,
                        actor=actor.id,
                        command=specimen.kind,
                    )
        actor = subject.someone(role)
        if allows((role,), "spawn"):
            subject.submit_spawn(actor, scene.world, Coin())
        else:
            require_refusal(PermissionDenied, lambda actor=actor: subject.submit_spawn(actor, scene.world, Coin()))


@clause("G-006", "A command that is denied leaves one row that says so, and why.")
def denial_on_record(subject: GateSubject) -> None:
    scene = Scene(subject)
    actor = subject.someone("viewer", "wizard")
    denied(subject, actor, (Step(), scene.world))
    require_refusal(PermissionDenied, lambda: subject.submit(actor, Custom("note"), scene.world))
    require_refusal(PermissionDenied, lambda: subject.submit_batch(actor, [Update(1, ()), Spawn(())], scene.world))
    require_refusal(PermissionDenied, lambda: subject.submit_spawn(actor, scene.world, Coin()))
    rows = [row for row in subject.history(scene.world) if row.actor == actor.id]
    require_equal(["step", "custom", "update", "spawn", "spawn"], [row.type for row in rows], "rows of what was denied")
    for row in rows:
        require_equal(("rejected", scene.world), (row.status, row.world_id), f"status and world of {row.type}")
        require(bool(row.reason), f"the row of a denied {row.type} gives no reason")
        require(row.settled_at is not None, f"the row of a denied {row.type} is not settled")
        require_equal(actor.roles, frozenset(row.roles), "roles of a denied actor")


@clause("G-007", "A command that is denied changes nothing, now or at the next tick.")
def denial_changes_nothing(subject: GateSubject) -> None:
    scene = Scene(subject)
    made = [one.make(scene) for one in SPECIMENS if not one.of.__name__.endswith("World")]
    made += [(command, scene.world) for command in (DestroyWorld(),)]
    scene.settle()

    def state() -> object:
        world = scene.world
        info = subject.info(world)
        kept = (info.tick, info.run_id, info.entities, info.pending, info.queued)
        return kept, sorted(subject.worlds()), subject.contents(world), scene.notebook.pages[:]

    before = state()
    for one in made:
        denied(subject, subject.someone("wizard"), one)
        command: Any = one[0]
        if isinstance(command, EntityCommand):
            actor = subject.someone()
            require_refusal(PermissionDenied, lambda c=command, a=actor: subject.submit(a, c, scene.world))
    require_equal(before, state(), "the world after commands that were denied")
    contents = subject.contents(scene.world)
    subject.step(scene.world)
    require_equal(contents, subject.contents(scene.world), "contents a tick after commands that were denied")


@clause("G-008", "A command that is denied uses up no quota.")
def denial_costs_nothing(subject: GateSubject) -> None:
    subject.limit(commands=3, tokens=30, step=10)
    scene_world = subject.world()
    actor = subject.someone("player")
    for _ in range(5):
        denied(subject, actor, (Step(), scene_world))
        require_refusal(PermissionDenied, lambda: subject.submit_batch(actor, [AddComponents(1, ())] * 2, scene_world))
    for _ in range(3):
        subject.execute(actor, Spawn((Coin(),)), scene_world)


@clause("G-009", "What no role allows is denied also where the world does not exist.")
def denied_before_the_world_is_sought(subject: GateSubject) -> None:
    subject.world()
    denied(subject, subject.someone("viewer"), (Step(), "no such world"))
    actor = subject.someone("viewer")
    require_refusal(PermissionDenied, lambda: subject.submit_spawn(actor, "no such world", Coin()))


@clause("G-010", "A batch is authorized whole before its world is sought, or any of it is counted.")
def batch_authorized_first(subject: GateSubject) -> None:
    subject.limit(commands=2)
    world, actor = subject.world(), subject.someone("player")
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
