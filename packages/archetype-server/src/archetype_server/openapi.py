"""What Litestar's OpenAPI document does not say by itself: closed bodies, formats of rows, keys, and links between operations."""

from __future__ import annotations

from typing import Any

from litestar.openapi.spec import Link, OpenAPI, OpenAPIMediaType, Operation, Schema, SecurityScheme

from archetype_server.front import OPEN
from archetype_server.model import Body
from archetype_server.rows import ARROW, FORMATS

ROWS = ("/state", "/components", "/history", "/diff", "/search", "/aggregate")
"""How the addresses of answers end that are rows in the accepted format."""
KEY = "key"
_W = "/worlds/{world}"
_ENTITY = f"{_W}/entities/{{entity_id}}"
_LINKS = (
    (("post", "/worlds"), "world", ("get", _W)),
    (("post", "/worlds"), "spawn", ("post", f"{_W}/entities")),
    (("post", "/worlds"), "step", ("post", f"{_W}/step")),
    (("post", "/worlds"), "fork", ("post", f"{_W}/fork")),
    (("post", "/worlds"), "state", ("get", f"{_W}/state")),
    (("post", "/worlds"), "destroy", ("delete", _W)),
    (("post", f"{_W}/fork"), "fork", ("get", _W)),
    (("post", f"{_W}/entities"), "entity", ("get", _ENTITY)),
    (("post", f"{_W}/entities"), "update", ("patch", _ENTITY)),
    (("post", f"{_W}/entities"), "despawn", ("delete", _ENTITY)),
)


def complete(document: OpenAPI) -> None:
    """Add it to a document."""
    closed = {one.__name__ for one in _all(Body)}
    for name, schema in document.components.schemas.items():
        if name.rpartition("_")[2] in closed or name in closed:
            schema.additional_properties = False
    for path, item in (document.paths or {}).items():
        is_rows = path.endswith(ROWS) and not path.endswith("{world}/history")
        forms = FORMATS[1:] if is_rows else (ARROW,) if path.endswith("/density") else ()
        for operation in (item.get, item.post, item.patch, item.delete):
            if operation is not None:
                operation.security = [] if path in OPEN else [{KEY: []}]
        for operation in (item.get, item.post):
            answer: object = None if operation is None else (operation.responses or {}).get("200")
            content: dict[str, Any] | None = getattr(answer, "content", None)
            for form in forms if content is not None else ():
                assert content is not None
                content[form] = OpenAPIMediaType(schema=Schema())

    document.components.security_schemes = {KEY: SecurityScheme(type="http", scheme="bearer")}
    _link(document)


def _link(document: OpenAPI) -> None:
    """Say which requests the answer to another one leads to: those to the world, and the entity, that it made."""
    operations = {
        (method, path): operation
        for path, item in (document.paths or {}).items()
        for method in ("get", "post", "patch", "delete")
        if (operation := getattr(item, method)) is not None
    }
    for (method, path), name, target in _LINKS:
        made, asked = operations[method, f"/v1{path}"], operations[target[0], f"/v1{target[1]}"]
        response: Any = (made.responses or {})["201"]
        world = "$response.body#/world_id" if path.endswith(("/worlds", "/fork")) else "$request.path.world"
        given = {"world": world, **({"entity_id": "$response.body#/entity_id"} if "entity_id" in target[1] else {})}
        response.links = {**(response.links or {}), name: Link(operation_id=_id(asked), parameters=given)}


def _id(operation: Operation) -> str:
    assert operation.operation_id is not None
    return operation.operation_id


def _all(kind: type[Body]) -> set[type[Body]]:
    found = {kind}
    for one in kind.__subclasses__():
        found |= _all(one)
    return found
