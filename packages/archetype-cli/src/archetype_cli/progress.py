"""Live progress on standard error, if that is a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from archetype_cli.failure import Failure

if TYPE_CHECKING:
    from archetype_cli.http_source import HttpSource


def ticking(server: HttpSource, world: str | None, steps: int | None) -> AbstractContextManager[None]:
    """Show how many ticks a run has committed, as the server's events tell."""
    return _ticking(server, world, steps) if sys.stderr.isatty() else nullcontext()


@contextmanager
def _ticking(server: HttpSource, world: str | None, steps: int | None) -> Iterator[None]:
    with _bar("running", steps) as told:
        if world is not None:
            threading.Thread(target=_follow, args=(server, world, told), daemon=True).start()
        yield


def _follow(server: HttpSource, world: str, told: Callable[[int, int | None], None]) -> None:
    """Tell of each new tick. The run itself says what goes wrong, so this ends in silence."""
    with suppress(Failure, RuntimeError, OSError):
        for count, _ in enumerate(server.new_ticks(world)):
            told(count, None)


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
