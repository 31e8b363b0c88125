"""How much is tried, and what an adopter declares about durability."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Effort:
    """Numbers that a contract class sets; an environment variable such as ``ARCHETYPE_CRASH_KILLS`` goes before them."""

    kills: int = 20
    """Kills at random instants."""
    calls: int = 400
    """The most places in one run at which a fault is tried; with more calls than that, they are spread evenly."""
    cuts: int = 60
    """Power cuts at random instants."""
    races: int = 40
    """Ticks that two processes race for."""
    seed: int = 1
    """What the worlds do, and where chance strikes."""
    at: int = 0
    """The only call to try, to look at one failure again; 0 for all."""

    @classmethod
    def of(cls, contract: type) -> Self:
        """What a contract class sets, or the environment."""
        made = cls()
        for one in fields(cls):
            value = os.environ.get(f"ARCHETYPE_CRASH_{one.name.upper()}", getattr(contract, one.name, None))
            if value is not None:
                made = replace(made, **{one.name: int(value)})
        return made
