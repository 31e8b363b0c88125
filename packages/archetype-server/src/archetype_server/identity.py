"""Who is asking: an API key, a token, or in dev mode a role by name. Whoever is not known is refused, whatever the address."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from archetype_core.command import ADMIN, OPERATOR, PLAYER, VIEWER, ActorCtx
from archetype_server.key_store import PREFIX, KeyStore, Over
from archetype_server.problem import BadRequest, Unauthenticated
from archetype_server.token_verifier import TokenVerifier

ROLE_HEADER = "x-archetype-role"
ROLES = (VIEWER, PLAYER, OPERATOR, ADMIN)


def _never_over() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has sent a request, and until when that is so: what goes on after its answer begins has to ask."""

    actor: ActorCtx
    why_over: Callable[[], Over | None] = _never_over
    """Says why the caller is not known any more; ``None`` while it is. It waits for nothing."""


class Identity:
    """Finds the actor of a request. What the actor may do is the gate's decision."""

    def __init__(self, keys: KeyStore, tokens: TokenVerifier | None = None, *, is_dev: bool) -> None:
        self._keys = keys
        self._tokens = tokens
        self._is_dev = is_dev

    def caller(self, headers: Mapping[str, str], role: str | None) -> Caller:
        """Return who sent a request; ``Unauthenticated`` if that is not known.

        ``role`` is that of the query; only in dev mode it counts, as does the header ``X-Archetype-Role``.
        """
        given = headers.get("authorization")
        if given is not None:
            scheme, _, key = given.partition(" ")
            if scheme.lower() != "bearer" or not key:
                raise Unauthenticated("send the key as 'Authorization: Bearer <key>'")
            found = self._found(key.strip())
            if found is None:
                # The same whatever was sent and whatever is wrong with it.
                raise Unauthenticated("this key is unknown, expired or revoked: ask an admin for another one")
            return found
        wanted = headers.get(ROLE_HEADER, role)
        if not self._is_dev:
            raise Unauthenticated(
                "send an API key as 'Authorization: Bearer <key>'; an admin's is in the server's admin.key"
            )
        wanted = wanted or ADMIN
        if wanted not in ROLES:
            raise BadRequest(f"there is no role {wanted!r}: use one of {', '.join(ROLES)}")
        return Caller(ActorCtx(f"dev-{wanted}", {wanted}))

    def _found(self, key: str) -> Caller | None:
        if self._tokens is None or key.startswith(PREFIX):
            actor = self._keys.find(key)
            return None if actor is None else Caller(actor, partial(self._keys.why_over, key))
        token = self._tokens.find(key)
        return None if token is None else Caller(token.actor, partial(_why_over, token.expires_at))


def _why_over(expires_at: float) -> Over | None:
    return "expired" if expires_at <= time.time() else None
