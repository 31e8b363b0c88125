"""Commands about a world as such: its processors, hooks and resources, its beginning, branches and end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from archetype_core.command.command import Command, spelled
from archetype_core.command.info import ProcessorInfo, ResourceInfo, WorldInfo
from archetype_core.config import CacheConfig, StorageConfig
from archetype_core.engine.hook import Event, Handler, HookHandle, Mode
from archetype_core.engine.processor import Processor


@dataclass(frozen=True, slots=True)
class AddProcessor(Command[ProcessorInfo]):
    """Run a processor from the next tick on."""

    kind: ClassVar[str] = "add_processor"
    processor: Processor

    def describe(self) -> Mapping[str, Any]:
        return {"processor": spelled(self.processor)}


@dataclass(frozen=True, slots=True)
class RemoveProcessor(Command[int]):
    """Stop running a processor, or all of a class; answered with how many there were."""

    kind: ClassVar[str] = "remove_processor"
    processor: Processor | type[Processor]

    def describe(self) -> Mapping[str, Any]:
        return {"processor": spelled(self.processor)}


@dataclass(frozen=True, slots=True)
class AddHook(Command[HookHandle]):
    """Call a handler on every event of a type; answered with what ``RemoveHook`` takes."""

    kind: ClassVar[str] = "add_hook"
    event: type[Event]
    handler: Handler
    mode: Mode = "blocking"
    fail_fast: bool = False

    def describe(self) -> Mapping[str, Any]:
        handler = getattr(self.handler, "__qualname__", None) or repr(self.handler)
        return {"event": self.event.__name__, "handler": handler, "mode": self.mode, "fail_fast": self.fail_fast}


@dataclass(frozen=True, slots=True)
class RemoveHook(Command[bool]):
    """Stop calling a handler; answered with whether it was there."""

    kind: ClassVar[str] = "remove_hook"
    handle: HookHandle

    def describe(self) -> Mapping[str, Any]:
        return {"event": self.handle.event.__name__, "handler": self.handle.name}


@dataclass(frozen=True, slots=True)
class AddResource(Command[ResourceInfo]):
    """Share an object with processors, in place of the one of its type."""

    kind: ClassVar[str] = "add_resource"
    resource: object

    def describe(self) -> Mapping[str, Any]:
        return {"resource": spelled(self.resource)}


@dataclass(frozen=True, slots=True)
class RemoveResource(Command[bool]):
    """Take away the resource of a type; answered with whether there was one."""

    kind: ClassVar[str] = "remove_resource"
    resource: type

    def describe(self) -> Mapping[str, Any]:
        return {"resource": spelled(self.resource)}


@dataclass(frozen=True, slots=True)
class AddHandler(Command[None]):
    """Let a function of the world apply custom commands of a name, in place of the one that did."""

    kind: ClassVar[str] = "add_handler"
    name: str
    handler: Callable[[Any, Any], None]

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "handler": getattr(self.handler, "__qualname__", None) or repr(self.handler)}


@dataclass(frozen=True, slots=True)
class CreateWorld(Command[WorldInfo]):
    """Make a world. With the ``world_id`` of one that is there, that one is the answer; a name is taken only once."""

    kind: ClassVar[str] = "create_world"
    name: str
    storage: StorageConfig
    cache: CacheConfig | None = None
    world_id: str | None = None
    seed: int | None = None
    kernel: str = "python"

    def describe(self) -> Mapping[str, Any]:
        return {"name": self.name, "storage": self.storage.uri, "world_id": self.world_id, "seed": self.seed}


@dataclass(frozen=True, slots=True)
class OpenWorld(Command[WorldInfo]):
    """Bring a world of that name or id back as its last committed tick left it, queued commands included."""

    kind: ClassVar[str] = "open_world"
    world: str
    storage: StorageConfig
    cache: CacheConfig | None = None
    kernel: str = "python"

    def describe(self) -> Mapping[str, Any]:
        return {"world": self.world, "storage": self.storage.uri}


@dataclass(frozen=True, slots=True)
class ForkWorld(Command[WorldInfo]):
    """Make a world that goes its own way from here, or from the end of an earlier tick.

    Refused while commands are staged, ``PendingMutations``, unless ``pending="copy"`` stages them in the fork too.
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
    """Drop the live world and its queue; rows and audit stay. Answered with whether there was one."""

    kind: ClassVar[str] = "destroy_world"


@dataclass(frozen=True, slots=True)
class CloseWorld(Command[bool]):
    """Let go of the live world and keep everything it needs to come back. Answered with whether there was one."""

    kind: ClassVar[str] = "close_world"
