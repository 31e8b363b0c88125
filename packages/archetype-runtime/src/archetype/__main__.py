"""The command `archetype`, and `python -m archetype`: the demo, with no server and no configuration."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn


def _count(text: str) -> int:
    number = int(text)
    if not 2 <= number <= 5_000:
        raise argparse.ArgumentTypeError(f"a number from 2 to 5000, not {number}")
    return number


def _seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"a number from 0 to 2**63 - 1, not {number}")
    return number


def parser() -> argparse.ArgumentParser:
    """What the command line understands."""
    main = argparse.ArgumentParser(
        prog="archetype",
        description="Archetype, a dataframe-first, append-only ECS runtime. Without a command, the demo runs.",
        epilog="Daft's usage reports are off unless DO_NOT_TRACK is set to something else than true.",
    )
    main.add_argument("--version", action="version", version=f"archetype {version('archetype-runtime')}")
    commands = main.add_subparsers(dest="command", metavar="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="an epidemic in a small town, forked: what if people had kept apart?",
        description="Simulate an epidemic, fork the town on the day the measures come, and compare the two futures.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument(
        "--storage", type=Path, default=Path("archetype-demo"), metavar="DIR", help="where the history is kept"
    )
    demo.add_argument("--agents", type=_count, default=400, metavar="N", help="people in the town")
    demo.add_argument("--days", type=_count, default=45, metavar="N", help="days to simulate")
    demo.add_argument("--seed", type=_seed, default=7, metavar="N", help="where the dice begin")
    return main


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; 0, or what went wrong on standard error and another number."""
    options = parser().parse_args(arguments or ["demo"])

    from rich.console import Console

    from archetype.demo import demo
    from archetype_core.errors import ArchetypeError

    try:
        demo(
            Console(soft_wrap=False),
            place=options.storage,
            agents=options.agents,
            days=options.days,
            seed=options.seed,
        )
    except (ArchetypeError, OSError) as failure:
        print(f"archetype {options.command}: {failure}", file=sys.stderr)  # noqa: T201  # reason: this is a command
        return 1
    except KeyboardInterrupt:
        print("interrupted; the days that were committed stay", file=sys.stderr)  # noqa: T201  # reason: this is a command
        return 130
    return 0


def main() -> NoReturn:
    """Run the command line of this process, and leave it."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    # Daft's threads may abort an interpreter that ends in the usual way after an interrupt; all worlds are closed by now.
    os._exit(code)


if __name__ == "__main__":
    main()
