"""Which roles may send which commands, as data."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType

from archetype_core.command import ADMIN, OPERATOR, PLAYER, VIEWER, ActorCtx

ANY = "*"
"""Every command, also those that come later."""

READS = frozenset(
    {
        "query_world",
        "get_world_info",
        "list_worlds",
        "list_processors",
        "list_hooks",
        "list_resources",
        "get_audit_history",
    }
)
PLAYS = READS | {"spawn", "despawn", "update", "message", "custom"}
OPERATES = PLAYS | {
    "add_component",
    "remove_component",
    "add_processor",
    "remove_processor",
    "add_hook",
    "remove_hook",
    "add_resource",
    "remove_resource",
    "add_handler",
    "step",
    "run",
    "run_episode",
    "run_rollout",
    "open_world",
    "fork_world",
    "destroy_world",
    "close_world",
}

DEFAULT_ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {VIEWER: READS, PLAYER: PLAYS, OPERATOR: OPERATES, ADMIN: frozenset({ANY})}
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The kinds of command that each role allows. Whatever is not named is denied; ``"*"`` is every command there is."""

    roles: Mapping[str, AbstractSet[str]] = field(default_factory=lambda: DEFAULT_ROLES)

    def __post_init__(self) -> None:
        for role, kinds in self.roles.items():
            given: object = kinds
            if not isinstance(given, AbstractSet):
                raise TypeError(f"the commands of role {role!r} are a set of names, not {given!r}")

    def allows(self, actor: ActorCtx, kind: str) -> bool:
        """Whether any role of an actor allows a command of that kind."""
        for role in actor.roles:
            granted = self.roles.get(role)
            if granted is not None and (kind in granted or (ANY in granted and kind in KINDS)):
                return True
        return False


KINDS = OPERATES | {"create_world"}
"""Every kind of command that a gate knows how to carry out."""
