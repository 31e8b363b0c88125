"""Writes the reference part of ``docs/cli.md`` from the commands themselves; ``--check`` compares.

What stands before the mark is written by hand.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from itertools import pairwise

import click

from archetype_cli import exit_code
from archetype_cli.command_group import archetype
from archetype_cli.exit_code import ExitCode
from members import ROOT

PAGE = ROOT / "docs" / "cli.md"
MARK = "<!-- What follows is written by `uv run python checks/cli_page.py`. -->\n"


def page(text: str) -> str:
    """Return a page with its reference written anew."""
    return text.partition(MARK)[0] + MARK + "\n" + "\n".join(reference()) + "\n"


def reference() -> Iterator[str]:
    """Yield the lines of the reference: the exit codes, then every command of every installed package."""
    yield "## Exit codes\n\n| code | meaning |\n|---|---|"
    for code, meaning in meanings():
        yield f"| {code.value} | {meaning} |"
    yield "\n## Commands"
    context = click.Context(archetype, info_name="archetype")
    for name in archetype.list_commands(context):
        command = archetype.get_command(context, name)
        assert command is not None
        yield from described(command, f"archetype {name}", context)


def meanings() -> Iterator[tuple[ExitCode, str]]:
    """Yield every exit code with the text that stands below it in its class."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(exit_code)).body if isinstance(node, ast.ClassDef))
    for line, text in pairwise(body):
        if isinstance(line, ast.Assign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(line.targets[0], ast.Name)
            yield ExitCode[line.targets[0].id], " ".join(str(text.value.value).split())


def described(command: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    """Yield the lines for a command, and for those of a group."""
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from described(inner, f"{path} {name}", context)
        return
    words = " ".join(one.make_metavar(context) for one in command.params if isinstance(one, click.Argument))
    yield f"\n### `{path}{' ' if words else ''}{words}`\n"
    yield from prose(inspect.cleandoc(command.help or ""))
    given = [one for one in command.params if isinstance(one, click.Option)]
    options = [record for one in given if (record := one.get_help_record(context)) is not None]
    if options:
        yield "\n| option | |\n|---|---|"
        for names, text in options:
            cells = (names.replace("|", "\\|"), text.replace("|", "\\|"))
            yield f"| `{cells[0]}` | {cells[1]} |"


def prose(text: str) -> Iterator[str]:
    """Yield a docstring's paragraphs, those that click must not wrap as code."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ""
        is_code = paragraph.startswith("\b\n")
        yield f"```sh\n{paragraph[2:]}\n```" if is_code else paragraph


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` say whether it is as it would be written."""
    written = PAGE.read_text()
    wanted = page(written)
    if written == wanted:
        return 0
    if "--check" in arguments:
        print("docs/cli.md: the commands have changed; run `uv run python checks/cli_page.py`")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
