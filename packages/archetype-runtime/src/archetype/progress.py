"""Progress bars of runs and rollouts: on standard error when it is a terminal, otherwise none at all."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from archetype_core.command import Progress

if TYPE_CHECKING:
    import rich.progress


DELAY_S = 0.3
"""What is over sooner shows no bar."""


class Bars:
    """The bars of one runtime. Those of things that run at the same time stand below one another."""

    def __init__(self, *, is_wanted: bool = True, delay_s: float = DELAY_S) -> None:
        self._is_wanted = is_wanted
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._shown: rich.progress.Progress | None = None
        self._count = 0

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Progress | None]:
        """A bar while something runs, and what to tell it; ``None`` where nobody would see it."""
        if not self._is_wanted or total < 2 or not sys.stderr.isatty():
            yield None
            return
        began = time.monotonic()
        opened: list[tuple[rich.progress.Progress, rich.progress.TaskID]] = []

        def tell(done: int, of: int) -> None:
            if not opened and time.monotonic() - began >= self._delay_s:
                opened.append(self._open(label, of))
            for shown, task in opened:
                shown.update(task, completed=done, total=of)

        try:
            yield tell
        finally:
            for shown, task in opened:
                self._close(shown, task)

    def _open(self, label: str, total: int) -> tuple[rich.progress.Progress, rich.progress.TaskID]:
        with self._lock:
            if self._shown is None:
                self._shown = _display()
                self._shown.start()
            self._count += 1
            return self._shown, self._shown.add_task(label, total=total)

    def _close(self, shown: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        with self._lock:
            self._count -= 1
            if self._count:
                shown.remove_task(task)
            else:
                # Its last state is drawn once more before it goes.
                shown.stop()
                self._shown = None


def _display() -> rich.progress.Progress:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Label(TextColumn):
        def render(self, task: Task) -> Text:
            return Text.from_markup(escape(task.description))

    return Progress(
        Label("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # What is printed to a file or a pipe belongs there, not above the bar.
        redirect_stdout=sys.stdout.isatty(),
    )
