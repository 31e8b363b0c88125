"""Plays programs of the tick model: once, and again in other ways that must give the same digests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tick_player import Player
from tick_program import Line
from tick_scene import Place


def replayed(lines: Iterable[Line], make: Callable[[], Place] = Place, *, backwards: bool = False) -> Player:
    """Play a program again."""
    player = Player(make, backwards=backwards)
    try:
        for line in lines:
            player.play(line)
        player.finish(is_replay=True)
    finally:
        player.close()
    return player


def played_once(lines: Iterable[Line], make: Callable[[], Place] = Place) -> Player:
    """Play a program and compare everything."""
    player = Player(make)
    try:
        for line in lines:
            player.play(line)
        player.finish()
    finally:
        player.close()
    return player


def played(lines: Iterable[Line], make: Callable[[], Place] = Place) -> Player:
    """Play a program and compare everything; then again with the tables in another order, and without what failed."""
    lines = tuple(lines)
    player = played_once(lines, make)
    compare_replays(player, lines)
    return player


def compare_replays(player: Player, lines: Iterable[Line]) -> None:
    """The digests of a program do not depend on the order of threads, nor on attempts that failed (T7, T9)."""
    make, digests = type(player.place), player.digests
    assert replayed(lines, make, backwards=True).digests == digests, "the order of threads is seen"
    if player.is_repeatable:
        again = replayed(player.clean, make).digests
        # A tick that is stored and was not adopted yet is one more there.
        assert {key: again.get(key) for key in digests} == digests, "failed attempts leave a trace"
