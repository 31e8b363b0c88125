"""Who sends a command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

VIEWER, PLAYER, OPERATOR, ADMIN = "viewer", "player", "operator", "admin"


@dataclass(frozen=True, slots=True)
class ActorCtx:
    """An authenticated actor and its roles. Quotas count per ``id``, permissions depend on ``roles``.

    ``worlds`` are the ids or names of the only worlds that there are for it, besides those that it makes; ``None`` is all.
    """

    id: str
    roles: frozenset[str] = field(default_factory=lambda: frozenset({VIEWER}))
    worlds: frozenset[str] | None = None

    def __init__(
        self,
        id: str | UUID,  # noqa: A002  # reason: published name
        roles: Iterable[str] = (VIEWER,),
        worlds: Iterable[str] | None = None,
    ) -> None:
        spelled: object = str(id) if isinstance(id, UUID) else id
        if not isinstance(spelled, str) or not spelled:
            raise ValueError(f"an actor's id is a non-empty string or a UUID, not {id!r}")
        object.__setattr__(self, "id", spelled)
        object.__setattr__(self, "roles", _texts("a role", roles))
        object.__setattr__(self, "worlds", None if worlds is None else _texts("a world's id or name", worlds))


def _texts(what: str, given: Iterable[str]) -> frozenset[str]:
    found: list[object] = [given] if isinstance(given, str) else list(given)
    if odd := [one for one in found if not isinstance(one, str)]:
        raise TypeError(f"{what} is a string, not {odd[0]!r}")
    return frozenset(found)  # type: ignore[arg-type]  # reason: checked above
