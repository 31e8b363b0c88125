"""The random numbers of a processor: one stream for each table, and one for each entity (T10)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from archetype_core.schema.snapshot import Snapshot

Floats = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_BLOCK = 1 << 14
"""Rows that are mixed at a time, so that they stay in the processor's cache."""


class Rng(np.random.Generator):
    """A numpy generator seeded by world seed, tick, processor and components, so that a replay draws the same numbers.

    ``by_entity`` draws for each entity from a stream of its own.
    """

    _by_entity: EntityRng

    @classmethod
    def of(cls, seed: int, tick: int, processor: str, rows: Snapshot) -> Rng:
        """Return the generator of one processor for one table."""
        names = "\n".join(component.name for component in rows.archetype.components)
        keys = (seed, tick, zlib.crc32(processor.encode()))
        made = cls(np.random.PCG64(np.random.SeedSequence((*keys, zlib.crc32(names.encode())))))
        made._by_entity = EntityRng(keys, rows)
        return made

    @property
    def by_entity(self) -> EntityRng:
        """Random numbers by entity: what one draws depends on no other entity."""
        return self._by_entity


class EntityRng:
    """Random numbers of which each entity has a stream of its own, one number for each row and in row order.

    What an entity draws depends on the world's seed, the tick, the processor, the entity's id and how often the processor
    has drawn in this tick; on nothing else. So a fork with other entities draws the same numbers for those that both have,
    and an entity that changes its components keeps its stream.

    Arguments may be numbers, or arrays with a value for each row. With ``size=k`` a draw has a row of ``k`` numbers for each
    entity.
    """

    __slots__ = ("_calls", "_keys", "_rows", "_states")

    def __init__(self, keys: tuple[int, ...], rows: Snapshot) -> None:
        self._keys = keys
        self._rows = rows
        self._calls = 0
        self._states: Words | None = None

    def random(self, size: int | None = None) -> Floats:
        """Return floats that are uniform in [0, 1)."""
        drawn: Floats = self._draw(size, _as_floats)
        return drawn

    def uniform(self, low: npt.ArrayLike = 0.0, high: npt.ArrayLike = 1.0, size: int | None = None) -> Floats:
        """Return floats that are uniform in [low, high)."""
        start, end = _by_row(low, size), _by_row(high, size)
        drawn: Floats = start + (end - start) * self.random(size)
        return drawn

    def normal(self, mean: npt.ArrayLike = 0.0, std: npt.ArrayLike = 1.0, size: int | None = None) -> Floats:
        """Return floats from the normal distribution."""
        radius = np.sqrt(-2.0 * np.log1p(-self.random(size)))
        angle = np.cos(2.0 * np.pi * self.random(size))
        drawn: Floats = _by_row(mean, size) + _by_row(std, size) * radius * angle
        return drawn

    def exponential(self, scale: npt.ArrayLike = 1.0, size: int | None = None) -> Floats:
        """Return floats from the exponential distribution with the mean ``scale``."""
        drawn: Floats = -_by_row(scale, size) * np.log1p(-self.random(size))
        return drawn

    def bernoulli(self, p: npt.ArrayLike, size: int | None = None) -> npt.NDArray[np.bool_]:
        """Return bools that are true with probability ``p``."""
        return self.random(size) < _by_row(p, size)

    def integers(
        self, low: npt.ArrayLike, high: npt.ArrayLike | None = None, size: int | None = None
    ) -> npt.NDArray[np.int64]:
        """Return ints that are uniform from ``low`` to below ``high``, or from 0 to below ``low`` if only one is given."""
        first, end = (0, low) if high is None else (low, high)
        start, stop = (np.asarray(_by_row(bound, size)) for bound in (first, end))
        if start.dtype.kind not in "iu" or stop.dtype.kind not in "iu":
            raise TypeError(f"integers(low, high) takes ints, got {start.dtype} and {stop.dtype}")
        if np.any(start >= stop):
            raise ValueError("integers(low, high) needs low < high")
        # unsigned, so that a span of more than half of all int64 does not overflow
        begin = start.astype(np.int64).view(np.uint64)
        span = stop.astype(np.int64).view(np.uint64) - begin
        return (_scaled(self._draw(size, lambda words: words), span) + begin).view(np.int64)

    def choice(
        self, options: Sequence[Any] | npt.NDArray[Any], p: npt.ArrayLike | None = None, size: int | None = None
    ) -> npt.NDArray[Any]:
        """Return one of some options, each as likely as its share of ``p``, or all alike."""
        values: npt.NDArray[Any] = np.asarray(options)
        if p is None:
            any_of: npt.NDArray[Any] = values[self.integers(0, len(values), size)]
            return any_of
        bounds = np.cumsum(np.asarray(p, np.float64))
        if len(bounds) != len(values) or not np.all(np.diff(bounds, prepend=0.0) >= 0.0) or bounds[-1] <= 0.0:
            raise ValueError(f"choice needs a probability for each of {len(values)} options, none negative, got {p!r}")
        place = np.searchsorted(bounds, self.random(size) * bounds[-1], side="right")
        chosen: npt.NDArray[Any] = values[np.minimum(place, len(values) - 1)]
        return chosen

    def _draw(self, size: int | None, finish: Any) -> Any:
        if size is not None and size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        states = self._states
        if states is None:
            ids = self._rows.entity_ids.to_numpy(zero_copy_only=False).view(np.uint64)
            (key,) = np.random.SeedSequence(self._keys).generate_state(1, np.uint64)
            states = self._states = _blocks(ids, lambda block: _mixed(block * _GOLDEN + key))
        self._calls += 1
        keys = np.random.SeedSequence((*self._keys, self._calls)).generate_state(size or 1, np.uint64)
        drawn = [_blocks(states, lambda block, key=key: finish(_mixed(block ^ key))) for key in keys]
        return drawn[0] if size is None else np.stack(drawn, axis=1)


def _blocks(words: Words, act: Any) -> Any:
    """Apply a function block by block."""
    if len(words) <= _BLOCK:
        return act(words)
    made = None
    for begin in range(0, len(words), _BLOCK):
        block = act(words[begin : begin + _BLOCK])
        if made is None:
            made = np.empty(len(words), block.dtype)
        made[begin : begin + _BLOCK] = block
    return made


def _mixed(words: Words) -> Words:
    """The finalizer of SplitMix64, in place: every bit of a word decides about every bit of the result."""
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def _as_floats(words: Words) -> Floats:
    return (words >> np.uint64(11)) * np.float64(2.0**-53)


def _scaled(words: Words, span: Words) -> Words:
    """The upper 64 bits of the product: a word uniform in all of uint64 becomes one uniform below ``span``."""
    high, low = words >> _HALF, words & _LOW
    span_high, span_low = span >> _HALF, span & _LOW
    first, second = low * span_high, high * span_low
    middle = ((low * span_low) >> _HALF) + (first & _LOW) + (second & _LOW)
    product: Words = high * span_high + (first >> _HALF) + (second >> _HALF) + (middle >> _HALF)
    return product


def _by_row(value: npt.ArrayLike, size: int | None) -> npt.NDArray[Any]:
    array = np.asarray(value)
    return array[:, np.newaxis] if size is not None and array.ndim == 1 else array
