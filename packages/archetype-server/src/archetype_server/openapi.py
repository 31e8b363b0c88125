"""What Litestar's OpenAPI document does not say by itself: closed bodies, and the formats of rows."""

from __future__ import annotations

from typing import Any

from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, Schema

from archetype_server.model import Body
from archetype_server.rows import FORMATS

ROWS = ("/state", "/components", "/history", "/diff", "/search")
"""How the addresses of answers end that are rows in the accepted format."""


def complete(document: OpenAPI) -> None:
    """Add it to a document."""
    closed = {one.__name__ for one in _all(Body)}
    for name, schema in document.components.schemas.items():
        if name.rpartition("_")[2] in closed or name in closed:
            schema.additional_properties = False
    for path, item in (document.paths or {}).items():
        is_rows = path.endswith(ROWS) and not path.endswith("{world}/history")
        for operation in (item.get, item.post) if is_rows else ():
            answer: object = None if operation is None else (operation.responses or {}).get("200")
            content: dict[str, Any] | None = getattr(answer, "content", None)
            if content is not None:
                for form in FORMATS[1:]:
                    content[form] = OpenAPIMediaType(schema=Schema())


def _all(kind: type[Body]) -> set[type[Body]]:
    found = {kind}
    for one in kind.__subclasses__():
        found |= _all(one)
    return found
