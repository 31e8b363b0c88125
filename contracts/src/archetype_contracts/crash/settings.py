"""The number of cases that the crash contract tries."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class CrashSettings:
    """Numbers that a contract class may set; environment variables such as ``ARCHETYPE_CRASH_KILLS`` override them."""

    kills: int = 20
    """The number of kills at random instants."""
    calls: int = 400
    """The maximum number of calls of one run at which a fault is tried; if the run has more, they are spread evenly."""
    cuts: int = 60
    """The number of power cuts at random instants."""
    races: int = 40
    """The number of ticks that two processes race for."""
    seed: int = 1
    """The seed of the worlds' program and of all random choices."""
    at: int = 0
    """The only call to try, to repeat one failure; 0 for all."""

    @classmethod
    def of(cls, contract: type) -> Self:
        """The settings of the environment, else of the contract class, else the defaults."""
        made = cls()
        for one in fields(cls):
            value = os.environ.get(f"ARCHETYPE_CRASH_{one.name.upper()}", getattr(contract, one.name, None))
            if value is not None:
                made = replace(made, **{one.name: int(value)})
        return made
