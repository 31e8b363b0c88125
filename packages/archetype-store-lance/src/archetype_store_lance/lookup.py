"""Finds what a table shows at a tick: from where rows lie, without a look at any of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from archetype_core.errors import CorruptStore
from archetype_store_lance.log import Log
from archetype_store_lance.row_index import Block, Mark
from archetype_store_lance.row_layout import Tile
from archetype_store_lance.state import State


@dataclass(frozen=True, slots=True)
class Shown:
    """Ticks of a table and the rows they show: those they wrote, or the active ones of a tick before."""

    first: int
    last: int
    tile: Tile
    at: int | None = None
    """The tick whose active rows stand, ``None`` where these are the tile's own ticks."""


class Lookup:
    """Answers from one state of the log."""

    def __init__(self, log: Log, state: State) -> None:
        self._log = log
        self.state = state

    def shown(self, number: int, table: int, first: int, last: int) -> Iterator[Shown]:
        """What a table of a segment shows from tick to tick, in order; ticks that show nothing are left out."""
        standing = self._newest(number, table, first - 1)
        cursor = first
        for tile in self._tiles(number, table, first, last):
            begin = max(tile.first, first)
            if begin > cursor:
                yield from self._standing(number, table, cursor, begin - 1, standing)
            yield Shown(begin, min(tile.last, last), tile)
            cursor, standing = tile.last + 1, tile
        if cursor <= last:
            yield from self._standing(number, table, cursor, last, standing)

    def _standing(self, number: int, table: int, first: int, last: int, tile: Tile | None) -> Iterator[Shown]:
        found = (tile, tile.last) if tile is not None else self._inherited(number, table)
        if found is not None and found[0].live:
            yield Shown(first, last, *found)

    def _inherited(self, number: int, table: int) -> tuple[Tile, int] | None:
        """What stands in a segment before it wrote a table itself."""
        parent = self.state.branches[number].segment.parent
        while parent is not None:
            above = self.state.find(parent.world_id, parent.run_id)
            if above is None:
                return None
            tile = self._newest(above, table, parent.tick)
            if tile is not None:
                return tile, min(tile.last, parent.tick)
            parent = self.state.branches[above].segment.parent
        return None

    def at(self, number: int, table: int, tick: int) -> Shown | None:
        """What a table shows at one tick."""
        return next(self.shown(number, table, tick, tick), None)

    def mark(self, number: int, tick: int) -> Mark:
        """What a segment left behind at a tick."""
        branch = self.state.branches[number]
        if tick == branch.last:
            return Mark(tick, branch.next_entity_id, branch.applied)
        for block in self._blocks(number, tick, tick):
            found = block.mark(number, tick)
            if found is not None:
                return found
        raise CorruptStore(f"the log of world {branch.segment.name!r}", f"it does not tell of tick {tick}")

    def _newest(self, number: int, table: int, tick: int) -> Tile | None:
        """The newest tile of a segment's table that begins at a tick or before."""
        standing = self.state.branches[number].tables.get(table)
        if standing is None or tick < standing.first:
            return None
        if tick >= standing.tile.first:
            return standing.tile
        for ref in reversed(self.state.blocks):
            span = ref.spans.get(number)
            if span is not None and span[0] <= tick:
                found = self._log.block(ref).upto(number, table, tick)
                if found is not None:
                    return found
        raise CorruptStore(f"the log of table {self.state.tables[table].name}", f"it does not tell of tick {tick}")

    def _tiles(self, number: int, table: int, first: int, last: int) -> Iterator[Tile]:
        """The tiles with any of some ticks, in order."""
        standing = self.state.branches[number].tables.get(table)
        if standing is None or last < standing.first:
            return
        before = self._newest(number, table, first)
        if before is not None and before.covers(first):
            yield before
        if first >= standing.tile.first:
            return
        for block in self._blocks(number, first, last):
            yield from block.between(number, table, first, last)

    def _blocks(self, number: int, first: int, last: int) -> Iterator[Block]:
        for ref in self.state.blocks:
            span = ref.spans.get(number)
            if span is not None and span[0] <= last and first <= span[1]:
                yield self._log.block(ref)
