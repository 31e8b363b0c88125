"""API keys over HTTP, for administrators: what they do is in the audit log."""

from __future__ import annotations

from asyncio import to_thread

from litestar import Controller
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from archetype_core.command import Administer
from archetype_server.answer import KeyAnswer, NewKey, Page, Revoked
from archetype_server.key_store import SERVER, KeyStore
from archetype_server.model import KeyBody
from archetype_server.paging import page_of
from archetype_server.problem import Unprocessable
from archetype_server.routes.base import Anyone, Host, Limit, Place, delete, get, post

Keys = NamedDependency[KeyStore]


class KeyRoutes(Controller):
    """The routes of API keys."""

    path = "/v1/keys"
    tags = ("keys",)

    @post(status_code=201)
    async def create_key(self, request: Anyone, host: Host, keys: Keys, data: JSONBody[KeyBody]) -> NewKey:
        """Make a key. The answer has it, and nothing shows it again."""
        if data.actor == SERVER.id:
            raise Unprocessable(f"{SERVER.id!r} is the server itself: choose another name for the actor")
        details = {"actor": data.actor, "roles": data.roles, "worlds": data.worlds}
        await host.ask(request.user, Administer("make a key", details))
        key, info = await to_thread(
            lambda: keys.add(data.actor, data.roles, worlds=data.worlds, expires_at=data.expires_at)
        )
        return NewKey(key, KeyAnswer.of(info))

    @get()
    async def list_keys(
        self, *, request: Anyone, host: Host, keys: Keys, limit: Limit = 100, cursor: Place = None
    ) -> Page[KeyAnswer]:
        """List all keys, revoked ones too, oldest first."""
        await host.ask(request.user, Administer("list the keys"))
        found = await to_thread(keys.list)
        return page_of([KeyAnswer.of(one) for one in found], limit, cursor)

    @delete("/{key_id:str}", status_code=200)
    async def revoke_key(self, request: Anyone, host: Host, keys: Keys, key_id: FromPath[str]) -> Revoked:
        """End a key at once."""
        await host.ask(request.user, Administer("revoke a key", {"key_id": key_id}))
        return Revoked(key_id, await to_thread(keys.revoke, key_id))
