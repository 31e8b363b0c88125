"""The name of a request that is done once, however often it is sent."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST = 255


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """Names a request of one actor: sent again, it does nothing more and has the result of the first time.

    ``request`` tells what was asked, such as a digest of it: the same key with another one is refused.
    """

    value: str
    request: str = ""

    def __post_init__(self) -> None:
        for name, given, shortest in (("value", self.value, 1), ("request", self.request, 0)):
            text: object = given
            if not isinstance(text, str) or not shortest <= len(text) <= _LONGEST:
                raise ValueError(f"{name} of a key is a text of {shortest} to {_LONGEST} characters, not {given!r}")
