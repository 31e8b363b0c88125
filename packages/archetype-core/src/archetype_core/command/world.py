"""Commands about a world itself: its processors, hooks and resources, and its creation, forks and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, overload

from archetype_core.command.command import Command, names, spelled
from archetype_core.command.info import ProcessorInfo, ResourceInfo, WorldInfo
from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.engine.hook import Event, Handler, HookHandle, Mode
from archetype_core.engine.parts import Parts
from archetype_core.engine.processor import Processor
from archetype_core.schema.component import Component


@dataclass(frozen=True, slots=True)
class AddProcessor(Command[ProcessorInfo]):
    """Add a processor; it runs from the next tick on."""

    kind: ClassVar[str] = "add_processor"
    processor: Processor

    def describe(self) -> Mapping[str, Any]:
        return {"processor": spelled(self.processor)}


@dataclass(frozen=True, slots=True)
class RemoveProcessor(Command[int]):
    """Remove a processor, or all of a class; the result is how many were removed."""

    kind: ClassVar[str] = "remove_processor"
    processor: Processor | type[Processor]

    def describe(self) -> Mapping[str, Any]:
        return {"processor": spelled(self.processor)}


@dataclass(frozen=True, slots=True)
class AddHook(Command[HookHandle]):
    """Call a handler on every event of a type; the result is a handle for ``RemoveHook``."""

    kind: ClassVar[str] = "add_hook"
    event: type[Event]
    handler: Handler
    mode: Mode = "blocking"
    fail_fast: bool = False

    def describe(self) -> Mapping[str, Any]:
        handler = _called(self.handler)
        return {"event": names([self.event])[0], "handler": handler, "mode": self.mode, "fail_fast": self.fail_fast}


@dataclass(frozen=True, slots=True)
class RemoveHook(Command[bool]):
    """Remove a hook; the result is whether it was registered."""

    kind: ClassVar[str] = "remove_hook"
    handle: HookHandle

    def describe(self) -> Mapping[str, Any]:
        handle: object = self.handle
        if not isinstance(handle, HookHandle):
            return {"handle": repr(handle)}
        return {"event": handle.event.__name__, "handler": handle.name}


@dataclass(frozen=True, slots=True)
class AddResource(Command[ResourceInfo]):
    """Add an object that processors share; replaces the one of its type."""

    kind: ClassVar[str] = "add_resource"
    resource: object

    def describe(self) -> Mapping[str, Any]:
        return {"resource": spelled(self.resource)}


@dataclass(frozen=True, slots=True)
class RemoveResource(Command[bool]):
    """Remove the resource of a type; the result is whether there was one."""

    kind: ClassVar[str] = "remove_resource"
    resource: type

    def describe(self) -> Mapping[str, Any]:
        return {"resource": spelled(self.resource)}


@dataclass(frozen=True, slots=True)
class AddHandler(Command[None]):
    """Register the function that handles custom commands of a name; replaces an earlier one."""

    kind: ClassVar[str] = "add_handler"
    name: str
    handler: Callable[[Any, Any], None]

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "handler": _called(self.handler)}


@dataclass(frozen=True, slots=True)
class ReplaceParts(Command[None]):
    """Put parts in place of those that a world was declared with before: all of them between two ticks, or none."""

    kind: ClassVar[str] = "declare_world"
    parts: Parts
    before: Parts = field(default_factory=Parts)

    def describe(self) -> Mapping[str, Any]:
        given = self.parts
        return {
            "components": None if given.components is None else names(given.components),
            "processors": None if given.processors is None else [spelled(one) for one in given.processors],
            "resources": None if given.resources is None else [spelled(one) for one in given.resources],
            "hooks": None
            if given.hooks is None
            else [f"{event.__name__}: {_called(one)}" for event, one in given.hooks],
            "handlers": None
            if given.handlers is None
            else {name: _called(one) for name, one in given.handlers.items()},
        }


@dataclass(frozen=True, slots=True)
class CreateWorld(Command[WorldInfo]):
    """Create a world. If ``world_id`` exists already, the result is that world; names are unique."""

    kind: ClassVar[str] = "create_world"
    name: str
    storage: StorageConfig
    cache: CacheConfig | None = None
    world_id: str | None = None
    seed: int | None = None
    kernel: str = "python"
    components: tuple[type[Component], ...] = ()
    """Component classes that the world names, besides those of its processors."""

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "storage": self.storage.uri, "world_id": self.world_id, "seed": self.seed}


Opened = TypeVar("Opened", bound=WorldInfo | None)


@dataclass(frozen=True, slots=True)
class OpenWorld(Command[Opened]):
    """Open a world by name or id at its last committed tick, queued commands included.

    Live rows of other versions of ``components`` evolve; ``SchemaMismatch`` if a class does not declare a difference. If
    there is no such world or no store, the result with ``missing_ok`` is ``None``, and without it ``WorldNotFound`` or
    ``StorageNotFound``.
    """

    kind: ClassVar[str] = "open_world"
    world: str
    storage: StorageConfig
    cache: CacheConfig | None = None
    kernel: str = "python"
    components: tuple[type[Component], ...] = ()
    missing_ok: bool = field(default=False, kw_only=True)

    if TYPE_CHECKING:
        # The result's type depends on ``missing_ok``.
        @overload
        def __init__(
            self: OpenWorld[WorldInfo],
            world: str,
            storage: StorageConfig,
            cache: CacheConfig | None = None,
            kernel: str = "python",
            components: tuple[type[Component], ...] = (),
            *,
            missing_ok: Literal[False] = False,
        ) -> None: ...
        @overload
        def __init__(
            self: OpenWorld[WorldInfo | None],
            world: str,
            storage: StorageConfig,
            cache: CacheConfig | None = None,
            kernel: str = "python",
            components: tuple[type[Component], ...] = (),
            *,
            missing_ok: bool,
        ) -> None: ...
        def __init__(self, *given: Any, **named: Any) -> None: ...

    def describe(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {"world": self.world, "storage": self.storage.uri}
        return {**found, "missing_ok": True} if self.missing_ok else found


@dataclass(frozen=True, slots=True)
class SealStorage(Command[int]):
    """Hand every tick that waits in a storage's journal to the store behind it, durably; the result is how many there were.

    ``StorageNotFound`` if there is no store. A storage with nothing behind its journal, or without one, has none to hand over.
    """

    kind: ClassVar[str] = "seal_storage"
    storage: StorageConfig

    def describe(self) -> Mapping[str, Any]:
        return {"storage": self.storage.uri}


@dataclass(frozen=True, slots=True)
class ForkWorld(Command[WorldInfo]):
    """Create a world that continues from here, or from the end of an earlier tick.

    It has what the processors of that tick staged. ``PendingMutations`` while more is staged, unless ``pending="copy"``, which
    stages that in the fork too; a fork of an earlier tick has neither.
    """

    kind: ClassVar[str] = "fork_world"
    name: str | None = None
    at_tick: int | None = None
    resources: Literal["share", "copy"] | Mapping[type, object] = "share"
    rng: Literal["same", "fresh"] | int = "same"
    pending: Literal["refuse", "copy"] = "refuse"
    storage: StorageConfig | None = None

    def describe(self) -> Mapping[str, Any]:
        return {
            "name": self.name,
            "at_tick": self.at_tick,
            "rng": self.rng,
            "pending": self.pending,
            "storage": None if self.storage is None else self.storage.uri,
        }


@dataclass(frozen=True, slots=True)
class DestroyWorld(Command[bool]):
    """Drop the live world and its queue; history and audit log stay. The result is whether there was one."""

    kind: ClassVar[str] = "destroy_world"


@dataclass(frozen=True, slots=True)
class CloseWorld(Command[bool]):
    """Close the live world; it can be opened again with its queue. The result is whether there was one."""

    kind: ClassVar[str] = "close_world"


@dataclass(frozen=True, slots=True)
class Administer(Command[None]):
    """Something that an application does for an administrator beside the worlds, such as making a key.

    The gate authorizes, charges and records it; the application does it when this returns.
    """

    kind: ClassVar[str] = "administer"
    what: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> Mapping[str, Any]:
        return {"what": self.what, **self.details}


def _called(handler: object) -> str:
    """The name of a function for audit rows."""
    return getattr(handler, "__qualname__", None) or repr(handler)
