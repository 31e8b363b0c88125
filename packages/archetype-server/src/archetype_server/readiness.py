"""Whether the server takes requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Readiness:
    """True between the start and the end of serving."""

    is_ready: bool = False
