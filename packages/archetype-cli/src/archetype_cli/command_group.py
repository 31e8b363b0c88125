"""The command ``archetype``: a group whose commands come from installed packages and are imported when they are called.

A package offers a command with an entry point of the group ``archetype.commands``, whose value names a ``click.Command`` in
one of its modules. The line that ``--help`` shows for it is the first line of the docstring of that function, which is read
from the module's source without importing it; ``docs/decisions/0022`` says why.
"""

from __future__ import annotations

import ast
import importlib.util
from functools import cached_property
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pathlib import Path
from typing import Any

import click

from archetype_cli.exit_code import ExitCode
from archetype_cli.failure import Failure, PipeClosed, meant

COMMANDS = "archetype.commands"
_ELSEWHERE = {
    "demo": "archetype-runtime",
    "init": "archetype-runtime",
    "serve": "archetype-server",
}
"""Commands of our other packages, so that a missing one can name what to install."""

_MEANT = {
    "create": "world create",
    "delete": "world destroy",
    "despawn": "entity despawn",
    "destroy": "world destroy",
    "events": "tail",
    "follow": "tail",
    "fork": "world fork",
    "get": "entity get",
    "list": "world list",
    "ls": "world list",
    "show": "world show",
    "spawn": "entity spawn",
    "stats": "aggregate",
    "status": "doctor",
    "update": "entity update",
    "whoami": "me",
    "worlds": "world list",
}
"""What people call a command that has another name, or is one of a group."""
_SECTIONS = {
    "Begin": ("demo", "init", "serve"),
    "Read histories, in a directory or at a server": (
        "log",
        "query",
        "diff",
        "aggregate",
        "density",
        "search",
        "history",
        "tail",
        "export",
    ),
    "Read and change worlds": ("world", "entity", "run", "step", "episode", "rollout"),
    "Look after stores, keys and this installation": (
        "verify",
        "compact",
        "repair",
        "keys",
        "me",
        "doctor",
        "completion",
    ),
}
"""In which order ``--help`` shows the commands; those of other packages come last."""


class CommandGroup(click.Group):
    """A group of the commands that installed packages offer."""

    @cached_property
    def offered(self) -> dict[str, EntryPoint]:
        """The commands of all installed packages, by name."""
        return {point.name: point for point in sorted(entry_points(group=COMMANDS))}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.offered)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = self.offered.get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ImportError as failure:
            owner = point.dist.name if point.dist else point.module
            raise Failure(
                f"`archetype {cmd_name}` of {owner} cannot be loaded: {failure}",
                f"pip install --upgrade {owner}",
                ExitCode.NOT_INSTALLED,
            ) from failure
        if not isinstance(command, click.Command):
            raise Failure(f"{point.value} is no click command, but the entry point {COMMANDS}:{cmd_name} names it")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self.offered and not name.startswith("-"):
            if package := _ELSEWHERE.get(name):
                raise Failure(f"`archetype {name}` is not installed", f"pip install {package}", ExitCode.NOT_INSTALLED)
            if meaning := _MEANT.get(name):
                raise Failure(
                    f"`archetype` has no command {name!r}", f"did you mean `archetype {meaning}`?", ExitCode.USAGE
                )
            raise unknown_command(ctx, name, self.offered)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as failure:
            # Under this name, or click would end the process with the exit code of any failure.
            raise PipeClosed from failure

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        named = {name for names in _SECTIONS.values() for name in names}
        others = tuple(name for name in sorted(self.offered) if name not in named)
        width = max(map(len, self.offered), default=0)
        for title, names in {**_SECTIONS, "Others": others}.items():
            lines = [(name.ljust(width), summary(self.offered[name])) for name in names if name in self.offered]
            if lines:
                with formatter.section(title):
                    formatter.write_dl(lines)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = (name for name in sorted(self.offered) if name.startswith(incomplete))
        found = [CompletionItem(name, help=summary(self.offered[name])) for name in names]
        return found or click.Command.shell_complete(self, ctx, incomplete)


class SubGroup(click.Group):
    """A group such as ``archetype world``, which suggests the command that a misspelt one means."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown_command(ctx, args[0], self.commands)
        return super().resolve_command(ctx, args)


def unknown_command(ctx: click.Context, name: str, known: Any) -> Failure:
    """Return the error for a command that is not there."""
    path = ctx.command_path
    return Failure(
        f"`{path}` has no command {name!r}",
        meant(name, known, f"`{path} --help` lists the commands"),
        ExitCode.USAGE,
    )


def summary(point: EntryPoint) -> str:
    """Return the line that says what an offered command does, without importing its package if its source is there."""
    try:
        tree = ast.parse(_source(point.module).read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, AttributeError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == point.attr:
            lines = (ast.get_docstring(node) or "").strip().splitlines()
            return lines[0].rstrip(".") if lines else ""
    return ""


def _source(module: str) -> Path:
    """The file of a module. Only its top-level package is looked up, which imports nothing."""
    root, *rest = module.split(".")
    spec = importlib.util.find_spec(root)
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent.joinpath(*rest)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _version(ctx: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    """Print the version of the command and of the packages that it works with."""
    if not is_wanted or ctx.resilient_parsing:
        return
    found = []
    for name in ("archetype-cli", "archetype-core", "archetype-runtime", "archetype-server"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    click.echo("\n".join(found))
    ctx.exit()


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="A PLACE is a directory such as ./archetype-data, or a server such as http://localhost:8000. "
    "Data goes to standard output, everything else to standard error. Daft's usage reports are off unless DO_NOT_TRACK is set "
    "to another value. Exit codes and settings: docs/cli.md.",
)
@click.option("--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Show versions.")
def archetype() -> None:
    """Work with Archetype: worlds whose every tick is kept.

    Start with `archetype demo`, then `archetype log ./archetype-demo` and `archetype query ./archetype-demo town-1`.
    """
