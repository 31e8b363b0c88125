"""The parts that a declaration gives a world, and their replacement by those of the next one (M8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archetype_core.engine.evolution import evolve
from archetype_core.engine.hook import Event, Handler, Hooks, hook_pairs
from archetype_core.engine.processor import Processor, System
from archetype_core.engine.resource import Resources
from archetype_core.engine.state import WorldState
from archetype_core.errors import SchemaMismatch
from archetype_core.schema.component import Component, checked_components


@dataclass(frozen=True, slots=True)
class Parts:
    """What a declaration gives a world, by keyword; ``None`` for a keyword that was not given."""

    components: tuple[type[Component], ...] | None = None
    processors: tuple[Processor, ...] | None = None
    resources: tuple[object, ...] | None = None
    hooks: tuple[tuple[type[Event], Handler], ...] | None = None
    handlers: Mapping[str, Callable[[Any, Any], None]] | None = None

    def __bool__(self) -> bool:
        """Whether a keyword was given, if only with nothing in it."""
        return any(getattr(self, name) is not None for name in self.__slots__)

    def over(self, before: Parts) -> Parts:
        """These parts, and those of an earlier declaration for the keywords that were not given."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return Parts(**{name: getattr(before, name) if one is None else one for name, one in given.items()})


def replace_parts(
    state: WorldState, system: System, hooks: Hooks, resources: Resources, *, given: Parts, before: Parts
) -> None:
    """Put the given parts in place of those that the declaration before gave; what refuses one leaves all as they were.

    Live rows evolve to the component classes that are named afterwards. No tick may be running.
    """
    made = system if given.processors is None else system.replaced(before.processors or (), given.processors)
    named = state.components if given.components is None else checked_components(given.components, "components")
    _refuse_stale(named, made, given)
    observing = None if given.hooks is None else hooks.replaced(before.hooks or (), hook_pairs(given.hooks))
    shared = None if given.resources is None else resources.replaced(before.resources or (), given.resources)
    old_components, old_system = state.components, System()
    old_system.adopt(system)
    state.components = named
    system.adopt(made)
    try:
        evolve(state, system)
    except BaseException:
        state.components = old_components
        system.adopt(old_system)
        raise
    if observing is not None:
        hooks.handles[:] = observing
    if shared is not None:
        resources.adopt(shared)


def _refuse_stale(components: Iterable[type[Component]], system: System, given: Parts) -> None:
    """Refuse parts that stay and name a class that was defined again since, with other fields, and is named anew."""
    new = {*(given.components or ())}
    for slot in system.slots:
        if any(slot.processor is one for one in given.processors or ()):
            new |= {*slot.components}
    latest = {_place(one): one for one in new}

    def is_stale(one: type[Component]) -> bool:
        successor = latest.get(_place(one))
        return successor is not None and one not in new and one.component_type() != successor.component_type()

    for slot in system.slots:
        for one in filter(is_stale, slot.components):
            raise SchemaMismatch(
                one.__name__,
                [f"{slot.name}, which stays, names the {one.__name__} that was defined before, with other fields"],
                remedy=f"Remove it with remove_processor({type(slot.processor).__name__}), or list it in processors=[…], "
                "and define its class again",
            )
    for one in filter(is_stale, components):
        raise SchemaMismatch(
            one.__name__,
            ["components= was not given, and had the class that was defined before, with other fields"],
            remedy=f"Give the new class too: components=[{one.__name__}]",
        )


def _place(kind: type[Component]) -> tuple[str, str]:
    """Where a class is defined; a cell that runs again defines another class in the same place."""
    return kind.__module__, kind.__qualname__
