"""Writes ``docs/api.md`` from the server's OpenAPI document; ``--check`` compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from archetype_server.app import document
from members import ROOT

PAGE = ROOT / "docs" / "api.md"
HEAD = """# Every route of the server

<!-- Written by `uv run python checks/api_page.py` from the server's OpenAPI document. -->

What the routes have in common is in [the server's page](server.md): who may ask, lists and cursors, formats, errors.
Every route may also answer with a problem. `/v1` can be left out.
"""
METHODS = ("get", "post", "put", "patch", "delete")


def page() -> str:
    """Return the whole page."""
    return HEAD + "\n".join(reference(document())) + "\n"


def reference(api: dict[str, Any]) -> Iterator[str]:
    """Yield the lines about every operation, tag by tag."""
    by_tag: dict[str, list[tuple[str, str, dict[str, Any]]]] = {}
    for path, item in api["paths"].items():
        for method in METHODS:
            if method in item:
                by_tag.setdefault(item[method]["tags"][0], []).append((path, method, item[method]))
    schemas = api["components"]["schemas"]
    for tag, operations in sorted(by_tag.items()):
        yield f"\n## {tag.capitalize()}"
        for path, method, operation in sorted(operations, key=lambda one: one[:2]):
            yield f"\n### `{method.upper()} {path.removeprefix('/v1')}`\n"
            yield operation.get("description") or operation["summary"]
            yield from parameters(operation, schemas)
            yield from body(operation, schemas)
            yield from answer(operation, schemas)


def parameters(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    """Yield the table of what stands in the address and the headers."""
    given = [one for one in operation.get("parameters", []) if one["in"] != "path"]
    if given:
        yield "\n| parameter | type | |\n|---|---|---|"
    for one in given:
        text = one.get("description") or ("required" if one.get("required") else "")
        yield f"| `{one['name']}` | {kind(one['schema'], schemas)} | {text} |"


def body(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the fields of a body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return
    yield "\nBody:"
    yield from fields(content["schema"], schemas)


def answer(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    """Yield what a success is."""
    for status, response in sorted(operation["responses"].items()):
        if not status.startswith("2"):
            continue
        forms = response.get("content", {})
        plain = forms.get("application/json")
        shown = kind(plain["schema"], schemas) if plain else ", ".join(f"`{one}`" for one in forms)
        yield f"\nAnswer {status}: {shown}" + (
            f", or {', '.join(f'`{one}`' for one in forms if one != 'application/json')}"
            if plain and len(forms) > 1
            else ""
        )
        if plain:
            yield from fields(plain["schema"], schemas)


def fields(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[str]:
    """Yield the table of an object's fields."""
    found = resolved(schema, schemas)
    if properties := found.get("properties"):
        yield "\n| field | type | |\n|---|---|---|"
        for name, one in properties.items():
            is_needed = name in found.get("required", ())
            text = one.get("description") or ("required" if is_needed else "")
            yield f"| `{name}` | {kind(one, schemas)} | {text} |"


def resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """Return a schema, or the one that it refers to."""
    found: dict[str, Any] = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def kind(schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return the type of a value in a few words."""
    if "$ref" in schema:
        named = resolved(schema, schemas)
        return str(named.get("title") or schema["$ref"].rpartition("/")[2].rpartition("_")[2])
    if several := schema.get("oneOf") or schema.get("anyOf"):
        return " or ".join(dict.fromkeys(kind(one, schemas) for one in several))
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}), schemas)}"
    given = schema.get("type", "any")
    return " or ".join(given) if isinstance(given, list) else str(given)


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` say whether it is as it would be written."""
    wanted = page()
    if PAGE.exists() and PAGE.read_text() == wanted:
        return 0
    if "--check" in arguments:
        print("docs/api.md: the routes have changed; run `uv run python checks/api_page.py`")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
