"""A declared world and its activation: at most once, whoever uses it first, and with all its parts or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from archetype.runtime_state import RuntimeState, WorldRef
from archetype.storage import default_storage
from archetype_core.command import (
    ActorCtx,
    AddHandler,
    AddHook,
    AddProcessor,
    AddResource,
    CloseWorld,
    Command,
    CreateWorld,
    DestroyWorld,
    ListWorlds,
    OpenWorld,
    WorldInfo,
)
from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.engine import Event, Handler, Processor
from archetype_core.errors import (
    ArchetypeError,
    LoopBusy,
    StorageNotFound,
    WorldClosed,
    WorldExists,
    WorldNotActive,
)
from archetype_core.schema import Component

CustomHandler = Callable[[Any, Any], None]
"""Applies custom commands of a name: a function of a scope, which stages mutations, and of the command's data."""


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """The arguments of ``runtime.world(…)`` or ``runtime.open(…)``."""

    name: str
    storage: StorageConfig | None = None
    cache: CacheConfig | None = None
    components: tuple[type[Component], ...] = ()
    processors: tuple[Processor, ...] = ()
    resources: tuple[object, ...] = ()
    hooks: tuple[tuple[type[Event], Handler], ...] = ()
    handlers: Mapping[str, CustomHandler] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None
    world_id: str | None = None
    kernel: str = "python"
    resume: bool = True
    must_exist: bool = False

    @property
    def has_parts(self) -> bool:
        """Whether it has components, processors, resources, hooks or handlers."""
        return bool(self.components or self.processors or self.resources or self.hooks or self.handlers)

    @property
    def only_names(self) -> bool:
        """Whether it names a world and configures nothing."""
        plain = self.cache is None and self.seed is None and self.world_id is None and self.kernel == "python"
        return plain and self.resume and not self.has_parts


class DeclaredWorld:
    """A world of a runtime, shared by all its handles: what was declared, and the live world once it is activated."""

    def __init__(self, state: RuntimeState, actor: ActorCtx, spec: WorldSpec, ref: WorldRef | None = None) -> None:
        self.state = state
        self.actor = actor
        self.spec = spec
        self.ref = ref
        self.has_failed = False
        """Whether the last activation failed; then the world may be declared with another configuration."""
        self._is_ended = False
        self._task: asyncio.Task[WorldRef] | None = None

    @property
    def name(self) -> str:
        """The name of the live world, or the name or id it was declared with."""
        return self.ref.name if self.ref else self.spec.name

    @property
    def is_ended(self) -> bool:
        """Whether the world was shut down or destroyed, through any handle."""
        return self._is_ended or (self.ref is not None and self.ref.is_ended)

    @property
    def is_active(self) -> bool:
        """Whether the world was activated and has not ended."""
        return self.ref is not None and not self.is_ended

    @property
    def usable_ref(self) -> WorldRef | None:
        """The live world if a command can be sent to it; ``None`` if ``activate`` has to be asked."""
        return None if self.is_ended or self.state.is_closing else self.ref

    def require_ref(self, remedy: str) -> WorldRef:
        """Return the live world; before its activation raise ``WorldNotActive`` with the remedy."""
        if self.ref is None:
            if self._is_ended:
                raise WorldClosed(self.name)
            raise WorldNotActive(self.name, remedy)
        return self.ref

    async def activate(self) -> WorldRef:
        """Return the live world, activated now if it is not; concurrent callers get the same world or the same error."""
        self._check()
        if self.ref is None:
            await asyncio.shield(self._activation())
            self._check()
        assert self.ref is not None
        return self.ref

    async def end(self, actor: ActorCtx, command: Command[bool]) -> bool:
        """Close or destroy the world, after an activation that is under way; say whether it was up."""
        if self.ref is None:
            self._is_ended = True
            if self._task is None:
                return False
            # Those who wait for the activation get its error.
            await asyncio.wait([self._task])
        return self.ref is not None and await self.state.end(self.ref, actor, command)

    def _check(self) -> None:
        self.state.check_open()
        if self.is_ended:
            raise WorldClosed(self.name)

    def _activation(self) -> asyncio.Task[WorldRef]:
        if self._task is None:
            # A task of its own: when one caller is cancelled, the others still get their world.
            self._task = asyncio.get_running_loop().create_task(self._activate())
        elif self._task.get_loop() is not asyncio.get_running_loop():
            raise LoopBusy
        return self._task

    async def _activate(self) -> WorldRef:
        self.has_failed = True
        try:
            info, is_new = await self._open_or_create()
            ref = self.state.live.get(info.world_id)
            if ref is not None and not ref.is_ending:
                self._check_shareable(ref)
            else:
                ref = WorldRef(info.world_id, info.name, self.actor)
                await self._add_parts(ref, info, is_new=is_new)
                self.state.live[ref.world_id] = ref
            self.ref, self.has_failed = ref, False
        finally:
            self._task = None
        return ref

    async def _open_or_create(self) -> tuple[WorldInfo, bool]:
        """The world of that name or id in its storage, or a new one, and whether it is new."""
        spec, state = self.spec, self.state
        storage = spec.storage or default_storage()
        if spec.must_exist or spec.resume:
            opening = OpenWorld(spec.world_id or spec.name, storage, spec.cache, spec.kernel, spec.components)
            # That a new world does not exist yet is no failure: it has no place in the audit log.
            looking = replace(opening, missing_ok=not spec.must_exist)
            found: WorldInfo | None = await state.execute(self.actor, looking)
            if found is not None:
                return found, False
        elif spec.world_id is not None:
            # CreateWorld with the id of an existing world returns that world.
            for existing in await self._stored_worlds(storage):
                if existing.world_id == spec.world_id:
                    raise WorldExists(existing.name, spec.world_id)
        create = CreateWorld(spec.name, storage, spec.cache, spec.world_id, spec.seed, spec.kernel, spec.components)
        try:
            return await state.execute(self.actor, create), True
        except WorldExists:
            if not spec.resume:
                raise
            # Another process created it since this one looked.
            return await state.execute(self.actor, opening), False

    async def _stored_worlds(self, storage: StorageConfig) -> tuple[WorldInfo, ...]:
        try:
            return await self.state.execute(self.actor, ListWorlds(storage))
        except StorageNotFound:
            return ()

    def _check_shareable(self, ref: WorldRef) -> None:
        """Refuse a declaration that would add parts to a world that is up already."""
        if self.spec.has_parts:
            raise ValueError(
                f"world {ref.name!r} is live in this runtime already: take a handle without components, processors, "
                "resources, hooks or handlers, and add them with its methods"
            )

    async def _add_parts(self, ref: WorldRef, info: WorldInfo, *, is_new: bool) -> None:
        """Add what was declared; if that fails, close the world again, so that the next use starts over."""
        wanted, state = self.spec.seed, self.state
        try:
            if wanted is not None and info.seed != wanted:
                raise ValueError(
                    f"world {info.name!r} exists with seed {info.seed}, not {wanted}: declare it without a seed to "
                    "resume it, or choose another name"
                )
            for command in self._parts():
                await state.execute(self.actor, command, ref.world_id)
        except BaseException as failure:
            ending: Command[bool] = DestroyWorld() if is_new else CloseWorld()
            try:
                await state.execute(state.maintenance_actor, ending, ref.world_id)
            except ArchetypeError as second:
                failure.add_note(f"and the world could not be closed again: {second}")
            raise

    def _parts(self) -> Iterable[Command[Any]]:
        spec = self.spec
        yield from (AddProcessor(one) for one in spec.processors)
        yield from (AddResource(one) for one in spec.resources)
        yield from (AddHook(event, self.state.with_handle(handler, self.actor)) for event, handler in spec.hooks)
        yield from (AddHandler(name, handler) for name, handler in spec.handlers.items())
