"""The root of all errors."""

from __future__ import annotations

from typing import Any, ClassVar


class ArchetypeError(Exception):
    """The root of the tree: catching it catches every error that Archetype raises itself.

    Its text is its message with the code at the end, so that a traceback's last line has the code and what to do.
    """

    code: ClassVar[str] = "ARC-000"

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.code}]"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt from their message alone, which is not what the constructors take.
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[ArchetypeError], arguments: tuple[Any, ...]) -> ArchetypeError:
    """An unpickled or copied error; its facts are set afterwards."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    return error
