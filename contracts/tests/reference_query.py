"""The parts of the reference gate that only read or only change one world."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

from reference_ledger import KnownWorld

from archetype_core import command as c
from archetype_core.engine import World
from archetype_core.errors import ArchetypeError


def spawned(command: c.Command[Any]) -> int:
    """The number of ids that a command needs."""
    match command:
        case c.Spawn():
            return 1
        case c.SpawnMany():
            return len(command.bundles)
        case c.SpawnTable():
            return int(command.table.num_rows)
    return 0


def apply(world: World, command: c.EntityCommand[Any], ids: range) -> None:
    """Stage a mutation with its issued ids."""
    match command:
        case c.Spawn():
            world.spawn(*command.components, entity_id=ids.start)
        case c.SpawnMany():
            world.spawn_many(command.bundles, entity_ids=ids)
        case c.SpawnTable():
            world.spawn_table(command.table, *command.archetype.components, entity_ids=ids)
        case c.Despawn():
            world.despawn(command.entities)
        case c.Update():
            world.update(command.entities, *command.components)
        case c.UpdateTable():
            world.update_table(command.data, entities=command.entities)
        case c.UpdateWhere():
            world.update_where(command.where, command.values)
        case c.AddComponents():
            world.add_components(command.entities, *command.components)
        case c.RemoveComponents():
            world.remove_components(command.entities, *command.components)
        case c.Send():
            world.send(command.recipient, command.body, sender=command.sender, kind=command.message_kind)
        case _:
            raise TypeError(command)


def resolved(world: World, command: c.Command[Any]) -> Any:
    """A command with ids in place of a condition, and with checked columns of its own."""
    match command:
        case c.UpdateTable():
            return c.UpdateTable(world.changes(command.data, entities=command.entities))
        case c.UpdateWhere():
            return c.UpdateTable(world.changes_where(command.where, command.values))
        case c.Update():
            return replace(command, entities=world.chosen(command.entities, *map(type, command.components)))
        case c.Despawn() | c.AddComponents() | c.RemoveComponents():
            return replace(command, entities=world.chosen(command.entities))
    return command


def rehearse(
    world: World, before: Iterable[tuple[c.EntityCommand[Any], range]], commands: Iterable[c.Command[Any]]
) -> None:
    """Check commands as if they were applied, after others of which some may fail."""
    with world.rehearsed():
        for earlier, ids in before:
            if not isinstance(earlier, c.Custom):
                with contextlib.suppress(ArchetypeError):
                    apply(world, earlier, ids)
        for command in commands:
            if not isinstance(command, c.Custom):
                apply(world, cast("c.EntityCommand[Any]", command), world.reserve(spawned(command)))


def info(live: Any) -> c.WorldInfo:
    """The info of a live world."""
    world, known = live.world, live.known
    queued = sum(not one.is_staged for one in known.queue)
    return c.WorldInfo(
        world.world_id,
        world.name,
        world.run_id,
        world.seed,
        world.tick,
        "memory",
        True,
        len(world),
        {"+".join(kind.name for kind in one.components): rows.num_rows for one, rows in world.tables().items()},
        known.parent,
        queued,
        world.pending,
        live.stepped_at,
    )


def stored_info(known: KnownWorld) -> c.WorldInfo:
    """The info of a world that is not live."""
    segment = known.segment
    return c.WorldInfo(
        known.world_id, known.name, segment.run_id, segment.seed, 0, "memory", False, parent=known.parent
    )


def answer(command: c.Command[Any], live: Any, gate: Any) -> Any:  # noqa: PLR0912  # reason: one case per command
    """Execute a command that concerns one world."""
    world: World = live.world
    match command:
        case c.Query():
            return world.query(
                *command.components,
                ticks=command.ticks,
                entity_ids=command.entity_ids,
                where=command.where,
                include_inactive=command.include_inactive,
                lineage=command.lineage,
                missing=command.missing,
            )
        case c.QueryEpisodes():
            return gate.live[command.world_ids[0]].world.query(*command.components)
        case c.QuerySnapshot():
            return world.snapshot(*command.components, at=command.at, where=command.where, missing=command.missing)
        case c.QueryTables():
            at = world.tick - 1 if command.at is None else command.at
            return c.TickTables(at, world.tables(command.at))
        case c.Diff() if isinstance(command.before, int) and isinstance(command.after, int):
            return world.diff(command.before, command.after, where=command.where)
        case c.Aggregate():
            return world.numbers(command, *(gate.live[one].world for one in command.others))
        case c.Density():
            return world.grid(command)
        case c.Digest():
            return world.digest(command.at)
        case c.ReadMessages():
            return world.letters(command)
        case c.GetComponents():
            return world.get_components(command.entity_id, *command.components)
        case c.GetWorldInfo():
            return info(live)
        case c.ListProcessors():
            slots = world.system.slots
            return tuple(
                c.ProcessorInfo(one.name, one.priority, tuple(sorted(kind.name for kind in one.needs))) for one in slots
            )
        case c.ListHooks():
            return tuple(c.HookInfo(one.event.__name__, one.name, one.mode, one.fail_fast) for one in world.hooks)
        case c.ListResources():
            return tuple(c.ResourceInfo(type(one).__qualname__) for one in world.resources)
        case c.AddProcessor():
            world.add_processor(command.processor)
            slot = world.system.slots[-1]
            return c.ProcessorInfo(slot.name, slot.priority, tuple(sorted(kind.name for kind in slot.needs)))
        case c.RemoveProcessor():
            return world.remove_processor(command.processor)
        case c.AddHook():
            return world.add_hook(command.event, command.handler, mode=command.mode, fail_fast=command.fail_fast)
        case c.RemoveHook():
            return world.remove_hook(command.handle)
        case c.AddResource():
            world.resources.insert(command.resource)
            return c.ResourceInfo(type(command.resource).__qualname__)
        case c.RemoveResource():
            return world.resources.remove(command.resource) is not None
        case c.AddHandler():
            live.handlers[command.name] = command.handler
            return None
    raise TypeError(command)
