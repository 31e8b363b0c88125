"""What this package adds to the command ``archetype``, which finds it through the entry point group ``archetype.commands``.

Only that command, of ``archetype-cli``, imports this module, so ``click`` is its dependency and not one of this package.
"""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"show_default": True})
@click.option(
    "--storage",
    type=click.Path(path_type=Path),
    default=Path("archetype-demo"),
    metavar="DIR",
    help="Directory of the history.",
)
@click.option("--agents", type=click.IntRange(2, 5_000), default=400, metavar="N", help="People in the town.")
@click.option("--days", type=click.IntRange(2, 5_000), default=45, metavar="N", help="Days to simulate.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=7, metavar="N", help="Seed of the random numbers.")
def demo(storage: Path, agents: int, days: int, seed: int) -> None:
    """Simulate an epidemic, and fork it under another policy.

    The town is forked on the day that measures begin: what if people had kept apart? Both branches are compared. Every day
    is a committed tick: after Ctrl-C, the days so far are stored.
    """
    from rich.console import Console

    from archetype.demo import demo as simulate

    simulate(Console(soft_wrap=False), place=storage, agents=agents, days=days, seed=seed)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), default=Path(), metavar="[DIRECTORY]")
def init(directory: Path) -> None:
    """Write a project to start from: simulation, test, README.

    Without DIRECTORY, into this one. Nothing is overwritten.
    """
    from archetype.project import create_project

    for path in create_project(directory):
        click.echo(path)
    into = "" if directory == Path() else f"cd {directory} && "
    click.echo(f"next: {into}python simulation.py && archetype query balls", err=True)
