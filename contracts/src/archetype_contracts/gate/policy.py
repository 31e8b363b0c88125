"""The policy (G2): which role may use which kinds of commands, written by hand from the specification."""

from __future__ import annotations

from collections.abc import Collection

VIEWER = frozenset(
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
PLAYER = VIEWER | {"spawn", "despawn", "update", "message", "custom"}
OPERATOR = PLAYER | {
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
    "fork_world",
    "destroy_world",
    "close_world",
    "open_world",
    "seal_storage",
}
ADMIN = OPERATOR | {"create_world", "administer"}

KINDS_BY_ROLE = {"viewer": VIEWER, "player": PLAYER, "operator": OPERATOR, "admin": ADMIN}


def allows(roles: Collection[str], kind: str) -> bool:
    """Whether any of the roles may use commands of a kind; unknown roles and kinds are denied."""
    return any(kind in KINDS_BY_ROLE.get(role, ()) for role in roles)
