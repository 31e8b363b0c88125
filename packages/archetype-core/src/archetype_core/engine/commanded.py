"""A block in which everything that is staged is one command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from archetype_core.engine.mutation_log import MutationLog

if TYPE_CHECKING:
    from archetype_core.engine.attempt import Draft


class Commanded:
    """The block of one command; ``World.commanded`` says what it does. A class, because a generator costs more."""

    __slots__ = ("_before", "_command_id", "_count", "_draft", "_is_skippable", "_lock", "_log", "_undo")

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        draft: Callable[[], Draft],
        command_id: str,
        undo: bool,
        is_skippable: bool,
    ) -> None:
        self._lock = lock
        self._draft = draft
        self._command_id = command_id
        self._undo = undo
        self._is_skippable = is_skippable

    @property
    def is_staged(self) -> bool:
        """Whether anything was staged in the block so far."""
        return self._log.count > self._count

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self._log: MutationLog = self._draft().log
            self._before = self._log.copy() if self._undo else None
            self._count = self._log.count
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.is_staged or not self._is_skippable:
                    self._log.commands.append(self._command_id)
            elif self._before is not None:
                self._log.reset(self._before)
        finally:
            self._lock.__exit__(None, None, None)
