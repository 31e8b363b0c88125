"""A declared world and its activation: at most once, whoever uses it first, and with all its parts or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from archetype.runtime_state import RuntimeState, WorldRef, is_inside_tick
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
    ReplaceParts,
    WorldInfo,
)
from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.engine import Parts, can_wait
from archetype_core.errors import (
    ArchetypeError,
    LoopBusy,
    StorageNotFound,
    WorldClosed,
    WorldExists,
    WorldNotActive,
)

CustomHandler = Callable[[Any, Any], None]
"""Applies custom commands of a name: a function of a scope, which stages mutations, and of the command's data."""


@dataclass(frozen=True, slots=True)
class WorldSpec:
    """The arguments of ``runtime.world(…)`` or ``runtime.open(…)``."""

    name: str
    storage: StorageConfig | None = None
    cache: CacheConfig | None = None
    parts: Parts = field(default_factory=Parts)
    seed: int | None = None
    world_id: str | None = None
    kernel: str = "python"
    resume: bool = True
    must_exist: bool = False

    @property
    def only_names(self) -> bool:
        """Whether it names a world and configures nothing."""
        plain = self.cache is None and self.seed is None and self.world_id is None and self.kernel == "python"
        return plain and self.resume and not self.parts

    def check_same_world(self, earlier: WorldSpec) -> None:
        """Raise ``ValueError`` for arguments that an earlier declaration of the world contradicts."""
        if not self.resume:
            raise ValueError(
                f"world {self.name!r} is declared already, so it cannot be a new one: leave out resume=False to get that "
                "world, or choose another name"
            )
        plain = WorldSpec(self.name)
        for argument in ("seed", "world_id", "cache", "kernel"):
            given, known = getattr(self, argument), getattr(earlier, argument)
            if given not in (known, getattr(plain, argument)):
                raise ValueError(
                    f"world {self.name!r} is declared already with {argument}={known!r}, not {given!r}: leave {argument}= "
                    "out, choose another name, or shut the world down first"
                )


class DeclaredWorld:
    """A world of a runtime, shared by all its handles: what was declared, and the live world once it is activated."""

    def __init__(self, state: RuntimeState, actor: ActorCtx, spec: WorldSpec, ref: WorldRef | None = None) -> None:
        self.state = state
        self.actor = actor
        self.spec = spec
        self.ref = ref
        self.has_failed = False
        """Whether the last activation failed; then the world may be declared with another configuration."""
        self._next: Parts | None = None
        """What was declared since the world was activated; its next use puts it in place."""
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
        return None if self.is_ended or self.state.is_closing or self._is_due else self.ref

    @property
    def _is_due(self) -> bool:
        """Whether the world has to be activated, or its parts replaced, before its next use."""
        if self.ref is None:
            return True
        # From inside a tick they would wait for its end, which waits for the caller.
        return self._next is not None and can_wait() and not is_inside_tick(self.ref.world_id)

    def declare_again(self, spec: WorldSpec) -> None:
        """Take another declaration of the same world: keywords that it gives replace what they declared before."""
        if spec.only_names:
            return
        spec.check_same_world(self.spec)
        if self.ref is None and self._task is None:
            self.spec = replace(self.spec, parts=spec.parts.over(self.spec.parts))
        elif spec.parts:
            self._next = spec.parts if self._next is None else spec.parts.over(self._next)

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
        while self._is_due:
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
        try:
            if self.ref is not None:
                given, self._next = self._next, None
                # If they are refused, those that were declared before stay.
                await self._replace_parts(self.ref, given or Parts())
                return self.ref
            self.has_failed = True
            info, is_new = await self._open_or_create()
            ref = self.state.live.get(info.world_id)
            if ref is not None and not ref.is_ending:
                self._check_seed(info)
                await self._replace_parts(ref, self.spec.parts)
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
        storage, components = spec.storage or default_storage(), spec.parts.components or ()
        if spec.must_exist or spec.resume:
            opening = OpenWorld(spec.world_id or spec.name, storage, spec.cache, spec.kernel, components)
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
        create = CreateWorld(spec.name, storage, spec.cache, spec.world_id, spec.seed, spec.kernel, components)
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

    async def _replace_parts(self, ref: WorldRef, given: Parts) -> None:
        """Replace what a world that is up was declared with before, for the keywords that are given."""
        if not given:
            return
        given = self._with_handles(given)
        async with ref.lock:
            await self.state.execute(self.actor, ReplaceParts(given, ref.parts), ref.world_id)
            ref.parts = given.over(ref.parts)

    def _with_handles(self, parts: Parts) -> Parts:
        """The parts with hooks whose events have handles of this runtime."""
        if parts.hooks is None:
            return parts
        wrap = self.state.with_handle
        return replace(parts, hooks=tuple((event, wrap(handler, self.actor)) for event, handler in parts.hooks))

    def _check_seed(self, info: WorldInfo) -> None:
        wanted = self.spec.seed
        if wanted is not None and info.seed != wanted:
            raise ValueError(
                f"world {info.name!r} exists with seed {info.seed}, not {wanted}: declare it without a seed to "
                "resume it, or choose another name"
            )

    async def _add_parts(self, ref: WorldRef, info: WorldInfo, *, is_new: bool) -> None:
        """Add what was declared; if that fails, close the world again, so that the next use starts over."""
        state, parts = self.state, self._with_handles(self.spec.parts)
        try:
            self._check_seed(info)
            for command in _additions(parts):
                await state.execute(self.actor, command, ref.world_id)
            ref.parts = parts
        except BaseException as failure:
            ending: Command[bool] = DestroyWorld() if is_new else CloseWorld()
            try:
                await state.execute(state.maintenance_actor, ending, ref.world_id)
            except ArchetypeError as second:
                failure.add_note(f"and the world could not be closed again: {second}")
            raise


def _additions(parts: Parts) -> Iterable[Command[Any]]:
    yield from (AddProcessor(one) for one in parts.processors or ())
    yield from (AddResource(one) for one in parts.resources or ())
    yield from (AddHook(event, handler) for event, handler in parts.hooks or ())
    yield from (AddHandler(name, handler) for name, handler in (parts.handlers or {}).items())
