"""``archetype completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from archetype_cli.command_group import archetype

_WHERE = {
    "bash": "echo 'eval \"$(archetype completion bash)\"' >> ~/.bashrc",
    "zsh": "echo 'eval \"$(archetype completion zsh)\"' >> ~/.zshrc",
    "fish": "archetype completion fish > ~/.config/fish/completions/archetype.fish",
}


@click.command(epilog="  ".join(f"{shell}: {line}" for shell, line in _WHERE.items()))
@click.argument("shell", type=click.Choice(sorted(_WHERE)))
def completion(shell: str) -> None:
    """Print the script for completion in a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(archetype, {}, "archetype", "_ARCHETYPE_COMPLETE").source())
