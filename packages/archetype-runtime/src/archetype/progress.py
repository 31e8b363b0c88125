"""Progress bars of runs and rollouts: on standard error when it is a terminal, otherwise none."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from archetype_core.command import Progress

if TYPE_CHECKING:
    import rich.progress


class ProgressBars:
    """The progress bars of one runtime; those of runs at the same time stand below one another.

    A bar appears when a run has lasted ``delay_s``, and only if ``stream`` is a terminal; by default that is standard error.
    """

    def __init__(self, *, is_wanted: bool = True, delay_s: float = 0.3, stream: TextIO | None = None) -> None:
        self._is_wanted = is_wanted
        self._delay_s = delay_s
        self._stream = stream
        self._lock = threading.Lock()
        self._shown: rich.progress.Progress | None = None
        self._count = 0

    @contextmanager
    def bar(self, label: str, total: int) -> Iterator[Progress | None]:
        """Draw a bar while the block runs; yield what reports progress, or ``None`` where nobody would see it."""
        if not self._is_wanted or total < 2 or not (self._stream or sys.stderr).isatty():
            yield None
            return
        began = time.monotonic()
        opened: list[tuple[rich.progress.Progress, rich.progress.TaskID]] = []

        def report(done: int, of: int) -> None:
            if not opened and time.monotonic() - began >= self._delay_s:
                opened.append(self._open(label, of))
            for shown, task in opened:
                shown.update(task, completed=done, total=of)

        try:
            yield report
        finally:
            for shown, task in opened:
                self._close(shown, task)

    def _open(self, label: str, total: int) -> tuple[rich.progress.Progress, rich.progress.TaskID]:
        with self._lock:
            if self._shown is None:
                self._shown = _display(self._stream)
                self._shown.start()
            self._count += 1
            return self._shown, self._shown.add_task(label, total=total)

    def _close(self, shown: rich.progress.Progress, task: rich.progress.TaskID) -> None:
        with self._lock:
            self._count -= 1
            if self._count:
                shown.remove_task(task)
            else:
                # Draws its last state once more before it disappears.
                shown.stop()
                self._shown = None


def _display(stream: TextIO | None) -> rich.progress.Progress:
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
        console=Console(file=stream, stderr=True),
        transient=True,
        # What the program prints to a file or a pipe belongs there, not above the bar.
        redirect_stdout=sys.stdout.isatty(),
    )
