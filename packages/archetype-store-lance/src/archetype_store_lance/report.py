"""What ``verify`` reports."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LanceFinding:
    """One thing that is not as it was written: where, what, and what to do."""

    place: str
    problem: str
    remedy: str
    world: str | None = None
    ticks: tuple[int, int] | None = None
    """The first and last tick that it touches, if known."""
    is_harmless: bool = False

    def __str__(self) -> str:
        at = f"ticks {self.ticks[0]} to {self.ticks[1]} of " if self.ticks else ""
        world = f"{at}world {self.world!r}, " if self.world else ""
        return f"{world}{self.place}: {self.problem}; {self.remedy}"


@dataclass(slots=True)
class LanceReport:
    """The findings of ``verify``, and how much it checked."""

    place: str
    findings: list[LanceFinding] = field(default_factory=list)
    worlds: int = 0
    segments: int = 0
    ticks: int = 0
    tables: int = 0
    files: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether there are no findings but harmless ones."""
        return all(one.is_harmless for one in self.findings)

    def __str__(self) -> str:
        counts = f"{self.worlds} worlds, {self.segments} segments, {self.ticks} ticks, {self.tables} tables, {self.files} files"
        lines = [f"  {one}" for one in self.findings]
        head = f"{self.place} is sound: {counts}" if self.is_sound else f"{self.place} is damaged (checked {counts}):"
        return "\n".join([head, *lines])
