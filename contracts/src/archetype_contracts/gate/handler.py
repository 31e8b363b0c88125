"""Clauses on custom commands and messages (G2, G7)."""

from __future__ import annotations

from typing import Any

from archetype_contracts.assertion import require, require_equal, require_refusal
from archetype_contracts.gate.queue import add_recording_handler
from archetype_contracts.gate.registry import clause
from archetype_contracts.gate.sample import Coin, MessageRecorder, RecordingHandler, SampleError, Sash
from archetype_contracts.gate.subject import GateSubject
from archetype_core.command import AddHandler, AddProcessor, Custom, Despawn, Query, ReadMessages, Send, Spawn, Update
from archetype_core.errors import EntityNotFound, NoHandler, UnknownRecipient
from archetype_core.schema import Message


def use_all_verbs(scope: Any, data: Any) -> None:
    """Use every verb of a handler, with an entity that exists and one that is spawned here."""
    keep, gone = data["keep"], data["gone"]
    made = scope.spawn(Coin(number=10))
    scope.update(made, Coin(face="made here"))
    scope.add_components(made, Sash(colour="red"))
    scope.update(keep, Coin(number=20))
    scope.add_components(keep, Sash(colour="blue"))
    brief = scope.spawn(Coin(number=99))
    scope.despawn(brief)
    scope.despawn(gone)
    scope.send(keep, {"made": made}, sender=made)


@clause("G-501", "A handler can stage what a world's own verbs can, whether its command is queued or executed.")
def handler_verbs(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    subject.as_admin(AddHandler("use_all_verbs", use_all_verbs), world)
    recorder = MessageRecorder()
    for is_queued in (True, False):
        keep, gone = (subject.as_admin(Spawn((Coin(number=number),)), world) for number in (1, 2))
        subject.step(world)
        before = set(subject.coins(world)) - {keep, gone}
        command = Custom("use_all_verbs", {"keep": keep, "gone": gone})
        if is_queued:
            subject.submit(actor, command, world)
        else:
            subject.execute(actor, command, world)
        subject.step(world)
        contents = {entity: kinds for entity, kinds in subject.contents(world).items() if entity not in before}
        (made,) = set(contents) - {keep}
        expected = {
            keep: {"Coin": (20, ""), "Sash": ("blue",)},
            made: {"Coin": (10, "made here"), "Sash": ("red",)},
        }
        require_equal(expected, contents, f"contents after a handler, {'queued' if is_queued else 'executed'}")
        if not is_queued:
            subject.as_admin(AddProcessor(recorder), world)
        subject.step(world)
    require_equal(
        [(keep, made, {"made": made})],
        [(one.recipient, one.sender, one.body) for _, one in recorder.received],
        "messages",
    )

    def undress(scope: Any, data: Any) -> None:
        scope.remove_components(data, Sash)

    subject.as_admin(AddHandler("undress", undress), world)
    subject.submit(actor, Custom("undress", keep), world)
    subject.step(world)
    require_equal({"Coin": (20, "")}, subject.contents(world)[keep], "components after a handler removed one")


@clause(
    "G-502",
    "If a handler raises, everything that it staged is undone and nothing else, and its command is recorded as failed.",
)
def handler_undone(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    recorder = MessageRecorder()
    keep, gone = (subject.as_admin(Spawn((Coin(number=number),)), world) for number in (1, 2))
    subject.step(world)

    def fail(scope: Any, data: Any) -> None:
        use_all_verbs(scope, data)
        raise SampleError("this sample handler fails on purpose")

    subject.as_admin(AddHandler("fail", fail), world)
    subject.as_admin(AddProcessor(recorder), world)
    executed = subject.execute(actor, Spawn((Coin(number=3),)), world)
    queued = subject.submit_spawn(actor, world, Coin(number=4))
    command = Custom("fail", {"keep": keep, "gone": gone})
    require_refusal(SampleError, lambda: subject.execute(actor, command, world))
    ticket = subject.submit(actor, command, world)
    subject.submit(actor, Update(keep, (Coin(face="after"),)), world)
    require_equal(1, subject.info(world).pending, "staged mutations after a handler that raised")
    subject.step(world, 2)
    expected = {entity: {"Coin": (number, "")} for number, entity in enumerate((keep, gone, executed, queued), 1)}
    expected[keep] = {"Coin": (1, "after")}
    require_equal(expected, subject.contents(world), "entities after a handler that raised")
    require_equal([], recorder.received, "messages of a handler that raised")
    require_equal("failed", subject.row(ticket.command_id, world).status, "status of a handler that raised")
    rows = [row for row in subject.history(world, actor=actor.id) if row.type == "custom"]
    require_equal(["failed"] * 2, [row.status for row in rows], "statuses of handlers that raised")
    require(
        all(row.reason for row in rows), "expected a reason in every row of a handler that raised, but one is empty"
    )


@clause("G-503", "A custom command without a handler is refused, and the error names the handlers that exist.")
def no_handler(subject: GateSubject) -> None:
    world, other, actor = subject.world(), subject.world("other"), subject.new_actor("player")
    add_recording_handler(subject, world)
    subject.as_admin(AddHandler("second", RecordingHandler()), world)
    refusal = require_refusal(NoHandler, lambda: subject.execute(actor, Custom("third"), world), name="third")
    require_equal({"note", "second"}, set(refusal.known), "handlers that the error names")
    require_refusal(NoHandler, lambda: subject.execute(actor, Custom("note"), other), name="note")
    statuses = [row.status for row in subject.history(actor=actor.id)]
    require(
        all(status in ("failed", "rejected") for status in statuses),
        f"expected statuses failed or rejected without a handler, got {statuses}",
    )
    require_equal(2, len(statuses), "number of rows of commands without a handler")


@clause("G-504", "A new handler replaces the one of the same name, also for commands that are already queued.")
def handler_replaced(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    first = add_recording_handler(subject, world)
    subject.submit(actor, Custom("note", 1), world)
    second = add_recording_handler(subject, world)
    subject.execute(actor, Custom("note", 2), world)
    subject.step(world)
    require_equal(([], [1, 2]), (first.received, sorted(second.received)), "data that each handler received")


@clause("G-505", "A handler that updates a missing entity gets the world's error, and can catch it and continue.")
def handler_that_recovers(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    raised: list[type[Exception]] = []

    def recover(scope: Any, data: Any) -> None:
        try:
            scope.update(data, Coin(number=1))
        except EntityNotFound as failure:
            raised.append(type(failure))
        scope.spawn(Coin(number=2))

    subject.as_admin(AddHandler("recover", recover), world)
    ticket = subject.submit(actor, Custom("recover", 999), world)
    subject.step(world)
    require_equal([EntityNotFound], raised, "errors that the handler caught")
    require_equal([2], list(subject.coins(world).values()), "coins of a handler that continued")
    require_equal("applied", subject.row(ticket.command_id, world).status, "status of a handler that continued")


@clause(
    "G-508",
    "An executed custom command that no tick applied applies after reopening, once its handler is added again.",
)
def executed_handler_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world)

    def paint(scope: Any, data: Any) -> None:
        scope.update(coin, Coin(face=data))

    subject.as_admin(AddHandler("paint", paint), world)
    subject.execute(actor, Custom("paint", "heads"), world, durable=True)
    subject.reopen(world)
    subject.as_admin(AddHandler("paint", paint), world)
    subject.step(world, 2)
    require_equal({coin: "heads"}, subject.faces(world), "the face that a handler changed")
    (row,) = subject.history(world, actor=actor.id)
    require_equal(("applied", 1), (row.status, row.tick), "status and tick of the executed command")


@clause("G-506", "A message is sent at the next tick, delivered once at the tick after, and kept in the history.")
def messages(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    recorder = MessageRecorder()
    one, two = (subject.as_admin(Spawn((Coin(number=number),)), world) for number in (1, 2))
    subject.as_admin(AddProcessor(recorder), world)
    subject.step(world)
    subject.execute(actor, Send(one, {"n": 1}, sender=two, message_kind="greeting"), world)
    subject.submit(actor, Send(two, [2]), world)
    subject.submit(actor, Send(one, None, sender=one), world, tick=2)
    subject.step(world)
    require_equal([], recorder.received, "messages at the tick that sends them")
    subject.step(world, 4)
    received = sorted((tick, one.recipient, one.sender, one.kind, one.body) for tick, one in recorder.received)
    expected = [(2, one, two, "greeting", {"n": 1}), (2, two, None, "", [2]), (3, one, one, "", None)]
    require_equal(expected, received, "messages that were delivered")
    frame: Any = subject.execute(subject.observer(), Query((Message,), include_inactive=True), world)
    columns = frame.select("tick", "entity_id").to_pydict()
    require_equal(
        [(1, one), (1, two), (2, one)],
        sorted(zip(columns["tick"], columns["entity_id"], strict=True)),
        "ticks and recipients of messages in the history",
    )
    letters = subject.execute(subject.observer(), ReadMessages(recipient=one), world)
    require_equal(
        [(1, two, "greeting", {"n": 1}), (2, one, "", None)],
        [(each.tick, each.sender, each.kind, each.body) for each in letters],
        "messages to one entity that were read",
    )


@clause("G-507", "A queued message is delivered after the gate is closed and opened again.")
def messages_survive(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    coin = subject.as_admin(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.submit(actor, Send(coin, "queued"), world)
    subject.execute(actor, Send(coin, "executed"), world)
    subject.reopen(world)
    subject.step(world)
    subject.reopen(world)
    recorder = MessageRecorder()
    subject.as_admin(AddProcessor(recorder), world)
    subject.step(world, 2)
    require_equal(
        [(2, "executed"), (2, "queued")], sorted((tick, one.body) for tick, one in recorder.received), "messages"
    )


@clause(
    "G-509", "A message to an entity that does not exist is refused, executed or queued, and its refusal is recorded."
)
def messages_to_nobody(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.new_actor("player")
    keep, gone = (subject.as_admin(Spawn((Coin(number=number),)), world) for number in (1, 2))
    subject.step(world)
    subject.as_admin(Despawn((gone,)), world)
    subject.step(world)
    for recipient in (gone, 999):
        refusal = require_refusal(UnknownRecipient, lambda to=recipient: subject.execute(actor, Send(to, 1), world))
        require_equal(recipient, refusal.recipient, "the recipient that the error names")
        require_refusal(UnknownRecipient, lambda to=recipient: subject.submit(actor, Send(to, 2), world, tick=9))
    later = subject.submit(actor, Spawn((Coin(number=3),)), world, tick=3).entity_ids.start
    subject.submit(actor, Send(later, 3), world, tick=3)
    subject.execute(actor, Send(keep, 4), world)
    subject.step(world, 3)
    require_equal(
        [(2, keep, 4), (3, later, 3)],
        [(one.tick, one.recipient, one.body) for one in subject.execute(subject.observer(), ReadMessages(), world)],
        "messages that were sent",
    )
    rows = [(row.status, bool(row.reason)) for row in subject.history(world, actor=actor.id)]
    refused = [("failed", True), ("rejected", True)] * 2
    accepted = [("applied", False)] * 3
    require_equal(refused + accepted, rows, "status of the messages in the audit log, and whether it says why")
