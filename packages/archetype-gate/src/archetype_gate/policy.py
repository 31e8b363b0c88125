"""Which roles may send which kinds of command, as data."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType

from archetype_core.command import ADMIN, OPERATOR, PLAYER, VIEWER, ActorCtx

ANY = "*"
"""Stands for every kind of command that a gate executes, also those that a later release adds."""

VIEWER_KINDS = frozenset(
    {
        "query_world",
        "get_world_info",
        "list_worlds",
        "list_processors",
        "list_hooks",
        "list_resources",
        "get_audit_history",
        "get_audit_head",
        "get_usage",
    }
)
PLAYER_KINDS = VIEWER_KINDS | {"spawn", "despawn", "update", "message", "custom"}
OPERATOR_KINDS = PLAYER_KINDS | {
    "add_component",
    "remove_component",
    "add_processor",
    "remove_processor",
    "add_hook",
    "remove_hook",
    "add_resource",
    "remove_resource",
    "add_handler",
    "declare_world",
    "step",
    "run",
    "run_episode",
    "run_rollout",
    "open_world",
    "seal_storage",
    "fork_world",
    "destroy_world",
    "close_world",
}
PROCESS_KINDS = frozenset(
    {
        "add_processor",
        "remove_processor",
        "add_hook",
        "remove_hook",
        "add_resource",
        "remove_resource",
        "add_handler",
        "close_world",
    }
)
"""Kinds that change a live world in this process and nothing that is stored."""
ALL_KINDS = OPERATOR_KINDS | {"create_world", "administer"}
"""Every kind of command that a gate executes."""

DEFAULT_ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {VIEWER: VIEWER_KINDS, PLAYER: PLAYER_KINDS, OPERATOR: OPERATOR_KINDS, ADMIN: frozenset({ANY})}
)


_MAX_VERDICTS = 4_096


@dataclass(frozen=True, slots=True)
class Policy:
    """The kinds of command that each role allows; ``"*"`` is every kind that a gate knows.

    Everything else is denied, unknown roles and kinds too. ``TypeError`` if the kinds of a role are not a set.
    """

    roles: Mapping[str, AbstractSet[str]] = field(default_factory=lambda: DEFAULT_ROLES)
    _verdicts: dict[tuple[frozenset[str], str], bool] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for role, kinds in self.roles.items():
            given: object = kinds
            if not isinstance(given, AbstractSet):
                raise TypeError(f"the kinds of role {role!r} must be a set of names, not {given!r}")
        # What was decided is kept, so what is decided from must not change.
        object.__setattr__(
            self, "roles", MappingProxyType({role: frozenset(kinds) for role, kinds in self.roles.items()})
        )

    def allows(self, actor: ActorCtx, kind: str) -> bool:
        """Whether a role of the actor allows a command of that kind."""
        asked = (actor.roles, kind)
        verdict = self._verdicts.get(asked)
        if verdict is None:
            if len(self._verdicts) >= _MAX_VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[asked] = any(self._grants(role, kind) for role in actor.roles)
        return verdict

    def _grants(self, role: str, kind: str) -> bool:
        granted = self.roles.get(role, frozenset())
        return kind in granted or (ANY in granted and kind in ALL_KINDS)


def admits(actor: ActorCtx, world_id: str, name: str, maker: str) -> bool:
    """Whether there is a world for an actor: it has all worlds, or this one by id or name, or has made it."""
    worlds = actor.worlds
    return worlds is None or world_id in worlds or name in worlds or maker == actor.id
