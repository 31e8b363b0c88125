"""Reads a request's body straight into its type. Litestar would make plain data of it first, and take ``"5"`` for a number."""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec
from litestar import Request

from archetype_core.command import ActorCtx
from archetype_server.problem import BadRequest

_OF_WORLDS = frozenset({"body", "bundles", "components", "data", "inputs"})
_PLACE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)


class BodyRequest(Request[ActorCtx, Any, Any]):
    """A request whose body is what its handler takes, checked strictly."""

    async def json(self) -> Any:
        field = self.route_handler.parsed_data_field
        return decoded(Any if field is None else field.annotation, await self.body())


def decoded(kind: Any, body: bytes) -> Any:
    """Return what a body holds, a value of a type; ``BadRequest`` names the place of what does not fit."""
    try:
        try:
            return _decoder(kind).decode(body)
        except msgspec.ValidationError as refusal:
            if "got `float`" not in str(refusal):
                raise
            return msgspec.convert(_whole(msgspec.json.decode(body)), kind)
    except msgspec.ValidationError as refusal:
        found = _PLACE.fullmatch(str(refusal))
        raise BadRequest(f"{found[2] or 'body'}: {found[1]}" if found else f"body: {refusal}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as refusal:
        raise BadRequest(f"the body is not JSON: {refusal}") from None


def _whole(value: Any) -> Any:
    """Data with ``7`` for ``7.0``, which is an integer in JSON, too; data of worlds is left as it is."""
    if isinstance(value, dict):
        return {name: one if name in _OF_WORLDS else _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@functools.cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)
