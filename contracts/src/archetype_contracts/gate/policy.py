"""Who may do what (G2): this contract's own copy, written down by hand from the promise and not from any gate."""

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
    "step",
    "run",
    "run_episode",
    "run_rollout",
    "fork_world",
    "destroy_world",
    "close_world",
    "open_world",
}
ADMIN = OPERATOR | {"create_world"}

MATRIX = {"viewer": VIEWER, "player": PLAYER, "operator": OPERATOR, "admin": ADMIN}


def allows(roles: Collection[str], kind: str) -> bool:
    """Whether any of the roles may use commands of a kind; a role or a kind that is not in the matrix may nothing."""
    return any(kind in MATRIX.get(role, ()) for role in roles)
