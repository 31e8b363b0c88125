"""What pages were cut from, so that the next page need not read it again. A tick never changes, so nothing here can be stale."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class PageCache:
    """The answers that were last cut into pages, up to a size. Of one event loop."""

    def __init__(self, size: int = 256 << 20) -> None:
        self._most, self._size = size, 0
        self._answers: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        """Return an answer, if it is here."""
        found = self._answers.get(key)
        if found is None:
            return None
        self._answers.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, answer: Any, size: int) -> None:
        """Keep an answer; the ones that were not asked for longest go."""
        if size > self._most:
            return
        self._size += size - self._answers.pop(key, (None, 0))[1]
        self._answers[key] = (answer, size)
        while self._size > self._most:
            _, (_, gone) = self._answers.popitem(last=False)
            self._size -= gone
