"""Makes Litestar's OpenAPI document true: bodies as they are decoded, parameters as they are checked, keys, formats and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from litestar import Litestar, Request
from litestar.openapi.plugins import JsonRenderPlugin

from archetype_server import paging
from archetype_server.front import OPEN
from archetype_server.model import BODIES
from archetype_server.routes.base import MAX
from archetype_server.rows import ARROW, FORMATS

ROWS = ("/state", "/components", "/entities/{entity_id}/history", "/diff", "/search", "/aggregate")
"""How the addresses of answers end that are rows in the accepted format."""
KEY = "key"
PATTERNS = {
    "cursor": paging.PATTERN,
    "Idempotency-Key": r'^"?[!#-~]{1,255}"?$',
    "entity_id": r"^[1-9][0-9]{0,17}(,[1-9][0-9]{0,17})*$",
    "quantiles": r"^(0(\.\d{1,9})?|1|1\.0)(,(0(\.\d{1,9})?|1|1\.0)){0,99}$",
}
"""The texts that parameters take, by their names."""
MOMENTS = ("since", "until")
_LEAST = {"tick": 0, "first_tick": 0, "last_tick": 0, "expected_tick": 0}
_REFERENCE = "#/components/schemas/{name}"
_W = "/worlds/{world}"
_ENTITY = f"{_W}/entities/{{entity_id}}"
_LINKS = (
    (("post", "/worlds"), "world", ("get", _W)),
    (("post", "/worlds"), "spawn", ("post", f"{_W}/entities")),
    (("post", "/worlds"), "spawnMany", ("post", f"{_W}/entities/batch")),
    (("post", "/worlds"), "submit", ("post", f"{_W}/commands")),
    (("post", "/worlds"), "step", ("post", f"{_W}/step")),
    (("post", "/worlds"), "run", ("post", f"{_W}/run")),
    (("post", "/worlds"), "fork", ("post", f"{_W}/fork")),
    (("post", "/worlds"), "state", ("get", f"{_W}/state")),
    (("post", "/worlds"), "components", ("get", f"{_W}/components")),
    (("post", "/worlds"), "search", ("post", f"{_W}/search")),
    (("post", "/worlds"), "digest", ("get", f"{_W}/digest")),
    (("post", "/worlds"), "history", ("get", f"{_W}/history")),
    (("post", "/worlds"), "destroy", ("delete", _W)),
    (("post", f"{_W}/fork"), "fork", ("get", _W)),
    (("post", f"{_W}/entities"), "entity", ("get", _ENTITY)),
    (("post", f"{_W}/entities"), "update", ("patch", _ENTITY)),
    (("post", f"{_W}/entities"), "add", ("post", f"{_ENTITY}/components")),
    (("post", f"{_W}/entities"), "remove", ("delete", f"{_ENTITY}/components")),
    (("post", f"{_W}/entities"), "despawn", ("delete", _ENTITY)),
    (("post", f"{_W}/entities"), "rows", ("get", f"{_ENTITY}/history")),
)


class Document(JsonRenderPlugin):
    """Serves the document, which is made once."""

    def __init__(self) -> None:
        super().__init__(path="/")
        self._body: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        del request  # the document is the same for all
        if self._body is None:
            self._body = msgspec.json.encode(completed(openapi_schema))
        return self._body


def document_of(litestar: Litestar) -> dict[str, Any]:
    """Return the whole document of an application."""
    return completed(litestar.openapi_schema.to_schema())


def completed(found: dict[str, Any]) -> dict[str, Any]:
    """Return a document of Litestar's with all that it does not say by itself."""
    _, bodies = msgspec.json.schema_components(BODIES, ref_template=_REFERENCE)
    schemas: dict[str, Any] = found["components"]["schemas"]
    for name, schema in bodies.items():
        schemas[name] = {key: value for key, value in schema.items() if key != "description"}
    for schema in schemas.values():
        if "enum" in schema.get("properties", {}).get("type", {}):
            schema["properties"]["type"]["type"] = "string"
    # The facts of an error are members beside the ones that all problems have.
    schemas["Problem"]["additionalProperties"] = True
    for path, method, operation in _operations(found):
        operation["security"] = [] if path in OPEN else [{KEY: []}]
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _given(parameter["name"], parameter["schema"])
        if "requestBody" in operation:
            _body(operation["requestBody"])
        forms = FORMATS[1:] if path.endswith(ROWS) else (ARROW,) if path.endswith("/density") else ()
        answer = operation["responses"].get("200", {})
        if (
            method in ("get", "post")
            and "content" in answer
            and not (path.endswith("/components") and method == "post")
        ):
            answer["content"] |= {form: {"schema": {}} for form in forms}
    found["components"]["securitySchemes"] = {KEY: {"type": "http", "scheme": "bearer"}}
    _link(found)
    return found


def _operations(found: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in found["paths"].items():
        for method in ("get", "post", "patch", "delete"):
            if method in item:
                yield path, method, item[method]


def _given(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a parameter. One that may be left out is none that may be null, and bounds are whole numbers."""
    found = dict(schema)
    (plain,) = [one for one in found.pop("oneOf", [{}]) if one.get("type") != "null"]
    found |= plain
    if isinstance(found.get("type"), list):
        (found["type"],) = [one for one in found["type"] if one != "null"]
        found["enum"] = [one for one in found["enum"] if one is not None]
    for bound in ("minimum", "maximum"):
        if bound in found:
            found[bound] = min(int(found[bound]), MAX)
    if found.get("type") == "integer" and name in _LEAST:
        found.setdefault("minimum", _LEAST[name])
    if name in MOMENTS:
        found["format"] = "date-time"
    if name in PATTERNS and found.get("type") == "string":
        found["pattern"] = PATTERNS[name]
    return found


def _body(request: dict[str, Any]) -> None:
    """A body that may be null may be left out."""
    content = request["content"]["application/json"]
    if "oneOf" in content["schema"]:
        request["required"] = False


def _link(found: Mapping[str, Any]) -> None:
    """Say which requests the answer to another one leads to: those to the world, and the entity, that it made."""
    operations = {(method, path): operation for path, method, operation in _operations(found)}
    for (method, path), name, target in _LINKS:
        made, asked = operations[method, f"/v1{path}"], operations[target[0], f"/v1{target[1]}"]
        world = "$response.body#/world_id" if path.endswith(("/worlds", "/fork")) else "$request.path.world"
        given = {"world": world, **({"entity_id": "$response.body#/entity_id"} if "entity_id" in target[1] else {})}
        links = made["responses"]["201"].setdefault("links", {})
        links[name] = {"operationId": asked["operationId"], "parameters": given}
