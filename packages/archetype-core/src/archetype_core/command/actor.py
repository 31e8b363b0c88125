"""Who sends a command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

VIEWER, PLAYER, OPERATOR, ADMIN = "viewer", "player", "operator", "admin"


@dataclass(frozen=True, slots=True)
class ActorCtx:
    """An authenticated actor and its roles. Quotas count per ``id``, permissions depend on ``roles``."""

    id: str
    roles: frozenset[str] = field(default_factory=lambda: frozenset({VIEWER}))

    def __init__(self, id: str | UUID, roles: Iterable[str] = (VIEWER,)) -> None:  # noqa: A002  # reason: published name
        spelled: object = str(id) if isinstance(id, UUID) else id
        if not isinstance(spelled, str) or not spelled:
            raise ValueError(f"an actor's id is a non-empty string or a UUID, not {id!r}")
        given: list[object] = [roles] if isinstance(roles, str) else list(roles)
        if odd := [role for role in given if not isinstance(role, str)]:
            raise TypeError(f"a role is a string, not {odd[0]!r}")
        object.__setattr__(self, "id", spelled)
        object.__setattr__(self, "roles", frozenset(given))
