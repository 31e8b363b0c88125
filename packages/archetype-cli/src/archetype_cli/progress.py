"""Live progress on standard error, if that is a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from archetype_cli.failure import Failure

if TYPE_CHECKING:
    from archetype_cli.http_source import HttpSource


def ticking(
    server: HttpSource, world: str | None, steps: int | None, *, is_quiet: bool
) -> AbstractContextManager[None]:
    """Show how many ticks a run has committed, as the server's events tell."""
    return nullcontext() if is_quiet or not sys.stderr.isatty() else _ticking(server, world, steps)


@contextmanager
def _ticking(server: HttpSource, world: str | None, steps: int | None) -> Iterator[None]:
    with _bar("running", steps) as told:
        if world is not None:
            ticks = server.new_ticks(world)
            first = server.world(world)["tick"]
            threading.Thread(target=_follow, args=(ticks, first, told), daemon=True).start()
        yield


def _follow(ticks: Iterable[Mapping[str, Any]], first: int, told: Callable[[int, int | None], None]) -> None:
    """Tell of each tick from a first one on. The run itself says what goes wrong, so this ends in silence."""
    with suppress(Failure, RuntimeError, OSError):
        for row in ticks:
            told(row["tick"] - first + 1, None)


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that shows how many of how many parts are done; ``None`` where nobody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    with _bar(label, None) as told:
        yield told


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: list[Any] = [TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)

        def told(done: int, of: int | None = None) -> None:
            progress.update(task, completed=done, total=total if of is None else of)

        yield told
