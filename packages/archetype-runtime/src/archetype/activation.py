"""A declared world and how it comes to life: once, whoever asks first, and whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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
from archetype_core.errors import ArchetypeError, LoopBusy, WorldClosed, WorldExists, WorldNotActive, WorldNotFound

if TYPE_CHECKING:
    from archetype.session import Session

CustomHandler = Callable[[Any, Any], None]
"""What applies a custom command: a function of the world and the command's data."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a world is to be, as the caller declared it."""

    name: str
    storage: StorageConfig | None = None
    cache: CacheConfig | None = None
    processors: tuple[Processor, ...] = ()
    resources: tuple[object, ...] = ()
    hooks: tuple[tuple[type[Event], Handler], ...] = ()
    handlers: Mapping[str, CustomHandler] = field(default_factory=lambda: MappingProxyType({}))
    seed: int | None = None
    world_id: str | None = None
    kernel: str = "python"
    resume: bool = True
    is_there: bool = False
    """Whether it must be in the storage already."""

    @property
    def has_parts(self) -> bool:
        """Whether it adds anything to the world that it names."""
        return bool(self.processors or self.resources or self.hooks or self.handlers)

    @property
    def is_bare(self) -> bool:
        """Whether it only names a world."""
        plain = self.cache is None and self.seed is None and self.world_id is None and self.kernel == "python"
        return plain and self.resume and not self.has_parts


@dataclass(slots=True, eq=False)
class ActiveWorld:
    """A world that is up in a runtime, and who brought it up."""

    world_id: str
    name: str
    actor: ActorCtx
    endings: int = 0
    """How many are taking it down just now."""
    is_ended: bool = False

    @property
    def is_ending(self) -> bool:
        return self.is_ended or self.endings > 0


class Activation:
    """What all handles of one declared world share: the declaration, and the live world once there is one."""

    def __init__(self, actor: ActorCtx, declaration: Declaration, live: ActiveWorld | None = None) -> None:
        self.actor = actor
        self.declaration = declaration
        self.live = live
        self.has_failed = False
        """Whether the last try to bring it up failed: then it may be declared otherwise."""
        self._is_ended = False
        self._task: asyncio.Task[ActiveWorld] | None = None

    @property
    def name(self) -> str:
        return self.live.name if self.live else self.declaration.name

    @property
    def is_ended(self) -> bool:
        """Whether the world was shut down or destroyed, through whichever handle."""
        return self._is_ended or (self.live is not None and self.live.is_ended)

    def known(self, remedy: str) -> ActiveWorld:
        """The live world; an error with the remedy before there is one."""
        if self.live is None:
            if self._is_ended:
                raise WorldClosed(self.name)
            raise WorldNotActive(self.name, remedy)
        return self.live

    async def ready(self, session: Session) -> ActiveWorld:
        """The live world, brought up now if it is not; whoever asks meanwhile gets the same one, or the same error."""
        self._check(session)
        if self.live is None:
            await asyncio.shield(self._activation(session))
            self._check(session)
        assert self.live is not None
        return self.live

    async def end(self, session: Session, actor: ActorCtx, command: Command[bool]) -> bool:
        """Take the world down, after an activation that is under way; says whether there was one."""
        if self.live is None:
            self._is_ended = True
            if self._task is None:
                return False
            # Whoever waits for the activation gets its error.
            await asyncio.wait([self._task])
        return self.live is not None and await session.end(self.live, actor, command)

    def _check(self, session: Session) -> None:
        session.check_open()
        if self.is_ended:
            raise WorldClosed(self.name)

    def _activation(self, session: Session) -> asyncio.Task[ActiveWorld]:
        if self._task is None:
            # A task of its own, so that one caller's cancellation is not everybody's.
            self._task = asyncio.get_running_loop().create_task(self._activate(session))
        elif self._task.get_loop() is not asyncio.get_running_loop():
            raise LoopBusy
        return self._task

    async def _activate(self, session: Session) -> ActiveWorld:
        self.has_failed = True
        try:
            info, is_new = await self._raise_world(session)
            live = session.live.get(info.world_id)
            if live is not None and not live.is_ending:
                self._join(live)
            else:
                live = ActiveWorld(info.world_id, info.name, self.actor)
                await self._equip(session, live, info, is_new=is_new)
                session.live[live.world_id] = live
            self.live, self.has_failed = live, False
        finally:
            self._task = None
        return live

    async def _raise_world(self, session: Session) -> tuple[WorldInfo, bool]:
        """The world of that name or id in its storage, or a new one, and whether it is new."""
        declaration = self.declaration
        name, world_id, cache, kernel = declaration.name, declaration.world_id, declaration.cache, declaration.kernel
        storage = declaration.storage or default_storage()
        if declaration.is_there or declaration.resume:
            try:
                return await session.execute(self.actor, OpenWorld(world_id or name, storage, cache, kernel)), False
            except WorldNotFound:
                if declaration.is_there:
                    raise
        elif world_id is not None:
            # Making a world of an id that is there would answer with it.
            for there in await session.execute(self.actor, ListWorlds(storage)):
                if there.world_id == world_id:
                    raise WorldExists(there.name, world_id)
        create = CreateWorld(name, storage, cache, world_id, declaration.seed, kernel)
        return await session.execute(self.actor, create), True

    def _join(self, live: ActiveWorld) -> None:
        """Share a world that this runtime runs already; one declaration cannot add to what another made."""
        if self.declaration.has_parts:
            raise ValueError(
                f"world {live.name!r} is live in this runtime already: take a handle without processors, resources, "
                "hooks or handlers, and add them with its methods"
            )

    async def _equip(self, session: Session, live: ActiveWorld, info: WorldInfo, *, is_new: bool) -> None:
        """Give the world what was declared; if that fails, it is taken down again and the next use begins anew."""
        wanted = self.declaration.seed
        try:
            if wanted is not None and info.seed != wanted:
                raise ValueError(
                    f"world {info.name!r} is there with seed {info.seed}, not {wanted}: leave the seed out to go on with "
                    "it, or choose another name"
                )
            for command in self._parts(session):
                await session.execute(self.actor, command, live)
        except BaseException as failure:
            ending: Command[bool] = DestroyWorld() if is_new else CloseWorld()
            try:
                await session.execute(session.keeper, ending, live)
            except ArchetypeError as second:
                failure.add_note(f"and the world could not be taken down again: {second}")
            raise

    def _parts(self, session: Session) -> Iterable[Command[Any]]:
        declaration = self.declaration
        yield from (AddProcessor(one) for one in declaration.processors)
        yield from (AddResource(one) for one in declaration.resources)
        yield from (AddHook(event, session.observing(handler, self.actor)) for event, handler in declaration.hooks)
        yield from (AddHandler(name, handler) for name, handler in declaration.handlers.items())
