"""The command `archetype`, or `python -m archetype`: runs the demo, without a server or a configuration."""

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
    """Return the parser of the command line."""
    main = argparse.ArgumentParser(
        prog="archetype",
        description="Archetype, a dataframe-first, append-only ECS runtime. Without a command, the demo runs.",
        epilog="Daft's usage reports are off unless DO_NOT_TRACK is set to another value.",
    )
    main.add_argument("--version", action="version", version=f"archetype {version('archetype-runtime')}")
    commands = main.add_subparsers(dest="command", metavar="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="simulate an epidemic in a small town, and fork it: what if people had kept apart?",
        description="Simulate an epidemic, fork the town on the day that measures begin, and compare both branches.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument(
        "--storage", type=Path, default=Path("archetype-demo"), metavar="DIR", help="directory of the history"
    )
    demo.add_argument("--agents", type=_count, default=400, metavar="N", help="people in the town")
    demo.add_argument("--days", type=_count, default=45, metavar="N", help="days to simulate")
    demo.add_argument("--seed", type=_seed, default=7, metavar="N", help="seed of the random numbers")
    return main


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors are one line on standard error."""
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
        print("interrupted; committed days are stored", file=sys.stderr)  # noqa: T201  # reason: this is a command
        return 130
    return 0


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or 1
    # After an interrupt, Daft's threads may abort a normal interpreter exit. All worlds are closed by now.
    os._exit(code)


if __name__ == "__main__":
    main()
