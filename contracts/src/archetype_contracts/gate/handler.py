"""Clauses on custom commands and messages (G2, G7): a world's own handlers, and what entities tell one another."""

from __future__ import annotations

from typing import Any

from archetype_contracts.gate.book import clause
from archetype_contracts.gate.queue import listening
from archetype_contracts.gate.sample import Coin, Listening, Notebook, Outage, Sash
from archetype_contracts.gate.subject import GateSubject
from archetype_contracts.verdict import require, require_equal, require_refusal
from archetype_core.command import AddHandler, AddProcessor, Custom, Query, Send, Spawn, Update
from archetype_core.errors import EntityNotFound, NoHandler
from archetype_core.schema import Message


def shuffle(scope: Any, data: Any) -> None:
    """Touch a world in every way there is, with an entity that is there and one that is made here."""
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


@clause("G-501", "A handler stages what a world's own verbs would, queued and executed alike.")
def handler_verbs(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    subject.root(AddHandler("shuffle", shuffle), world)
    ear = Listening()
    for is_queued in (True, False):
        keep, gone = (subject.root(Spawn((Coin(number=number),)), world) for number in (1, 2))
        subject.step(world)
        before = set(subject.coins(world)) - {keep, gone}
        command = Custom("shuffle", {"keep": keep, "gone": gone})
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
            subject.root(AddProcessor(ear), world)
        subject.step(world)
    require_equal(
        [(keep, made, {"made": made})], [(one.recipient, one.sender, one.body) for _, one in ear.heard], "letters"
    )

    def undress(scope: Any, data: Any) -> None:
        scope.remove_components(data, Sash)

    subject.root(AddHandler("undress", undress), world)
    subject.submit(actor, Custom("undress", keep), world)
    subject.step(world)
    require_equal({"Coin": (20, "")}, subject.contents(world)[keep], "components after a handler removed one")


@clause(
    "G-502", "What a handler staged before it raised is undone, all of it, and nothing else; the command has failed."
)
def handler_undone(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    ear = Listening()
    keep, gone = (subject.root(Spawn((Coin(number=number),)), world) for number in (1, 2))
    subject.step(world)

    def fail(scope: Any, data: Any) -> None:
        shuffle(scope, data)
        raise Outage("told to fail")

    subject.root(AddHandler("fail", fail), world)
    subject.root(AddProcessor(ear), world)
    executed = subject.execute(actor, Spawn((Coin(number=3),)), world)
    queued = subject.submit_spawn(actor, world, Coin(number=4))
    command = Custom("fail", {"keep": keep, "gone": gone})
    require_refusal(Outage, lambda: subject.execute(actor, command, world))
    ticket = subject.submit(actor, command, world)
    subject.submit(actor, Update(keep, (Coin(face="after"),)), world)
    require_equal(1, subject.info(world).pending, "staged mutations after a handler that raised")
    subject.step(world, 2)
    expected = {entity: {"Coin": (number, "")} for number, entity in enumerate((keep, gone, executed, queued), 1)}
    expected[keep] = {"Coin": (1, "after")}
    require_equal(expected, subject.contents(world), "contents beside a handler that raised")
    require_equal([], ear.heard, "letters of a handler that raised")
    require_equal("failed", subject.row(ticket.command_id, world).status, "status of a handler that raised")
    rows = [row for row in subject.history(world, actor=actor.id) if row.type == "custom"]
    require_equal(["failed"] * 2, [row.status for row in rows], "statuses of handlers that raised")
    require(all(row.reason for row in rows), "a handler that raised has no reason on record")


@clause("G-503", "A custom command that no handler of the world knows is refused, and tells which there are.")
def no_handler(subject: GateSubject) -> None:
    world, other, actor = subject.world(), subject.world("other"), subject.someone("player")
    listening(subject, world)
    subject.root(AddHandler("second", Notebook()), world)
    refusal = require_refusal(NoHandler, lambda: subject.execute(actor, Custom("third"), world), name="third")
    require_equal({"note", "second"}, set(refusal.known), "handlers that are there")
    require_refusal(NoHandler, lambda: subject.execute(actor, Custom("note"), other), name="note")
    statuses = [row.status for row in subject.history(actor=actor.id)]
    require(all(status in ("failed", "rejected") for status in statuses), f"statuses {statuses} of what nobody handles")
    require_equal(2, len(statuses), "rows of what nobody handles")


@clause("G-504", "A handler takes the place of the one that had its name, also for what waits already.")
def handler_replaced(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    first = listening(subject, world)
    subject.submit(actor, Custom("note", 1), world)
    second = listening(subject, world)
    subject.execute(actor, Custom("note", 2), world)
    subject.step(world)
    require_equal(([], [1, 2]), (first.pages, sorted(second.pages)), "what each handler was given")


@clause("G-505", "A handler that updates what is not there raises like the world would, and can go on.")
def handler_that_copes(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    raised: list[type[Exception]] = []

    def cope(scope: Any, data: Any) -> None:
        try:
            scope.update(data, Coin(number=1))
        except EntityNotFound as failure:
            raised.append(type(failure))
        scope.spawn(Coin(number=2))

    subject.root(AddHandler("cope", cope), world)
    ticket = subject.submit(actor, Custom("cope", 999), world)
    subject.step(world)
    require_equal([EntityNotFound], raised, "what the handler caught")
    require_equal([2], list(subject.coins(world).values()), "coins of a handler that went on")
    require_equal("applied", subject.row(ticket.command_id, world).status, "status of a handler that went on")


@clause(
    "G-508",
    "A custom command that was executed, and no tick applied, applies after a reopening when its handler is back.",
)
def executed_handler_survives(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    coin = subject.root(Spawn((Coin(number=1),)), world)
    subject.step(world)

    def paint(scope: Any, data: Any) -> None:
        scope.update(coin, Coin(face=data))

    subject.root(AddHandler("paint", paint), world)
    subject.execute(actor, Custom("paint", "heads"), world, durable=True)
    subject.reopen(world)
    subject.root(AddHandler("paint", paint), world)
    subject.step(world, 2)
    require_equal({coin: "heads"}, subject.faces(world), "the face that a handler changed")
    (row,) = subject.history(world, actor=actor.id)
    require_equal(("applied", 1), (row.status, row.tick), "the row of what was executed")


@clause("G-506", "A message is sent with the next tick and delivered in the one after, once, and is history.")
def messages(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    ear = Listening()
    one, two = (subject.root(Spawn((Coin(number=number),)), world) for number in (1, 2))
    subject.root(AddProcessor(ear), world)
    subject.step(world)
    subject.execute(actor, Send(one, {"n": 1}, sender=two, message_kind="greeting"), world)
    subject.submit(actor, Send(two, [2]), world)
    subject.submit(actor, Send(one, None, sender=one), world, tick=2)
    subject.step(world)
    require_equal([], ear.heard, "letters at the tick they are sent with")
    subject.step(world, 4)
    heard = sorted((tick, one.recipient, one.sender, one.kind, one.body) for tick, one in ear.heard)
    expected = [(2, one, two, "greeting", {"n": 1}), (2, two, None, "", [2]), (3, one, one, "", None)]
    require_equal(expected, heard, "letters that were delivered")
    frame: Any = subject.execute(subject.watcher(), Query((Message,), include_inactive=True), world)
    columns = frame.select("tick", "entity_id").to_pydict()
    require_equal(
        [(1, one), (1, two), (2, one)], sorted(zip(columns["tick"], columns["entity_id"], strict=True)), "history"
    )


@clause("G-507", "A message that waits is delivered after the gate was closed and opened.")
def messages_survive(subject: GateSubject) -> None:
    world, actor = subject.world(), subject.someone("player")
    coin = subject.root(Spawn((Coin(number=1),)), world)
    subject.step(world)
    subject.submit(actor, Send(coin, "queued"), world)
    subject.execute(actor, Send(coin, "executed"), world)
    subject.reopen(world)
    subject.step(world)
    subject.reopen(world)
    ear = Listening()
    subject.root(AddProcessor(ear), world)
    subject.step(world, 2)
    require_equal([(2, "executed"), (2, "queued")], sorted((tick, one.body) for tick, one in ear.heard), "letters")
