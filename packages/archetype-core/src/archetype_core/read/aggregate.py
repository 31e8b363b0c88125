"""Numbers about columns of a tick or a range of ticks, and densities of two columns. Only the columns that are asked are read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from archetype_core.argument import whole_number
from archetype_core.errors import UnknownColumn
from archetype_core.read.binning import Counts, Floats, density, even_edges, histogram
from archetype_core.read.diff_side import Part, Tables, ways_of
from archetype_core.read.request import AggregateQuery, DensityQuery, column_name
from archetype_core.schema.archetype import Archetype
from archetype_core.schema.component import Component, type_of_class, types_with_column

if TYPE_CHECKING:
    from daft import DataFrame

MAX_BINS = 1 << 24
"""A histogram, and a density of two columns, have at most so many bins."""
_USAGE = "an aggregate is of columns such as Position.c.x and components such as Position"
_FIELDS = (
    pa.field("world_id", pa.large_string()),
    pa.field("tick", pa.int64()),
    pa.field("archetype", pa.large_string()),
    pa.field("column", pa.large_string()),
    pa.field("count", pa.int64()),
    pa.field("nulls", pa.int64()),
    pa.field("nans", pa.int64()),
    pa.field("infinite", pa.int64()),
    pa.field("mean", pa.float64()),
    pa.field("min", pa.float64()),
    pa.field("max", pa.float64()),
    pa.field("quantiles", pa.large_list(pa.float64())),
)
_BINNED = (
    pa.field("edges", pa.large_list(pa.float64())),
    pa.field("histogram", pa.large_list(pa.int64())),
    pa.field("outside", pa.int64()),
)


@dataclass(frozen=True, slots=True)
class Moment:
    """One tick of one world."""

    world_id: str
    tick: int
    tables: Tables


@dataclass(frozen=True, slots=True, eq=False)
class DensityGrid:
    """How many entities are in each bin of the plane of two columns at a tick.

    ``counts[row, column]`` is of the bin ``row`` of ``y`` and ``column`` of ``x``, both ascending. Entities with a value that is
    null, NaN or infinite are ``missing``; those beyond a given range are ``outside``.
    """

    tick: int
    x: str
    y: str
    x_edges: Floats
    y_edges: Floats
    counts: Counts
    outside: int
    missing: int


@dataclass(frozen=True, slots=True)
class _Values:
    """The finite values of a column, and how many others it has."""

    finite: Floats
    nulls: int = 0
    nans: int = 0
    infinite: int = 0

    @classmethod
    def of(cls, array: pa.Array) -> _Values:
        values = _floats(array.drop_null() if array.null_count else array)
        is_finite = np.isfinite(values)
        if is_finite.all():
            return cls(values, array.null_count)
        nans = int(np.isnan(values).sum())
        finite = values[is_finite]
        return cls(finite, array.null_count, nans, len(values) - len(finite) - nans)

    @classmethod
    def joined(cls, parts: Sequence[_Values]) -> _Values:
        if len(parts) == 1:
            return parts[0]
        finite = np.concatenate([np.empty(0), *(one.finite for one in parts)])
        return cls(
            finite, sum(one.nulls for one in parts), sum(one.nans for one in parts), sum(one.infinite for one in parts)
        )


class _Reader:
    """Reads columns of moments, table by table, as the classes of the world have them."""

    def __init__(self, classes: Iterable[type[Component]], moments: Iterable[Moment]) -> None:
        self._classes = tuple(classes)
        self._parts: dict[Archetype, Mapping[Any, Any]] = {}
        self._types: dict[str, pa.DataType] = {}
        for one in moments:
            for archetype in one.tables:
                for part in self._parts_of(archetype, _unread):
                    for name, kind in part.types.items():
                        self._types.setdefault(name, kind)

    def _parts_of(self, archetype: Archetype, read: Any) -> Iterator[Part]:
        if archetype not in self._parts:
            self._parts[archetype] = ways_of(archetype, self._classes)
        for kind, way in self._parts[archetype].items():
            yield Part.of(read, kind, way)

    def check(self, name: str) -> None:
        """Raise ``UnknownColumn`` for a column that neither a table nor a class has, ``TypeError`` for one without numbers."""
        kind = self._types.get(name)
        if kind is None:
            declared = [column.type for one in types_with_column(name) for column in one.fields if column.name == name]
            if not declared:
                raise UnknownColumn(name, sorted(self._types))
            kind = declared[0]
        if not is_number(kind):
            raise TypeError(f"an aggregate is of numbers, and {name} is {kind}: choose another column")

    def column(self, moment: Moment, name: str) -> Iterator[tuple[Archetype, pa.Array]]:
        """Give a column of every table that has it, in an order that does not depend on where the tables come from."""
        for archetype, read in sorted(moment.tables.items(), key=lambda one: one[0].name):
            for part in self._parts_of(archetype, read):
                if name in part.types:
                    yield archetype, part.column(name, part.types[name], 0)


def _unread(names: Sequence[str]) -> pa.Table:
    raise AssertionError(f"nothing reads {names} here")


@dataclass(slots=True)
class _Bins:
    """The edges of one column's histogram, which are the same in every row of the answer."""

    edges: Floats
    is_even: bool
    numbers: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = self.edges.tolist()


def aggregate(moments: Sequence[Moment], classes: Iterable[type[Component]], request: AggregateQuery) -> DataFrame:
    """A frame with a row for each world, tick and column, and for each archetype if that is asked.

    Its columns are ``world_id``, ``tick``, ``archetype``, ``column``, ``count``, ``nulls``, ``nans``, ``infinite``, ``mean``,
    ``min``, ``max`` and ``quantiles``, with a histogram also ``edges``, ``histogram`` and ``outside``. ``count`` is that of the
    finite values, and all numbers are about these.
    """
    import daft

    return daft.from_arrow(aggregated(moments, classes, request))


def aggregated(moments: Sequence[Moment], classes: Iterable[type[Component]], request: AggregateQuery) -> pa.Table:
    """What ``aggregate`` gives, as an Arrow table."""
    quantiles = _checked_quantiles(request.quantiles)
    named = _names(request.columns)
    reader = _Reader([*classes, *(one for one in request.columns if isinstance(one, type))], moments)
    for name in named:
        reader.check(name)
    bins = {name: _bins(reader, moments, name, request.bins) for name in named} if request.bins is not None else {}
    rows = []
    for moment in moments:
        for name in named:
            tables: dict[str | None, list[_Values]] = {} if request.by_archetype else {None: []}
            for archetype, array in reader.column(moment, name):
                tables.setdefault(_spelled(archetype) if request.by_archetype else None, []).append(_Values.of(array))
            for label, parts in tables.items():
                row = {"world_id": moment.world_id, "tick": moment.tick, "archetype": label, "column": name}
                rows.append({**row, **_numbers(_Values.joined(parts), quantiles, bins.get(name))})
    return pa.Table.from_pylist(rows, pa.schema([*_FIELDS, *(_BINNED if request.bins is not None else ())]))


def dense(moment: Moment, classes: Iterable[type[Component]], request: DensityQuery) -> DensityGrid:
    """The density of two columns at a tick, of the entities that have both."""
    width, height = (_bin_count(one) for one in request.bins)
    if width * height > MAX_BINS:
        raise ValueError(f"{width} by {height} bins are more than {MAX_BINS}: ask for fewer")
    x_name, y_name = column_name(request.x, _USAGE), column_name(request.y, _USAGE)
    reader = _Reader(classes, [moment])
    for name in (x_name, y_name):
        reader.check(name)
    second = dict(reader.column(moment, y_name))
    pairs, missing = [(np.empty(0), np.empty(0))], 0
    for archetype, array in reader.column(moment, x_name):
        if archetype not in second:
            continue
        x, y = _floats(array), _floats(second[archetype])
        is_finite = np.isfinite(x) & np.isfinite(y)
        if not is_finite.all():
            missing += len(x) - int(is_finite.sum())
            x, y = x[is_finite], y[is_finite]
        pairs.append((x, y))
    pairs = pairs[1:] if len(pairs) == 2 else pairs
    x, y = (np.concatenate(one) if len(one) > 1 else one[0] for one in zip(*pairs, strict=True))
    x_edges, y_edges = _range(x, request.x_range, width), _range(y, request.y_range, height)
    counts, outside = density(x, y, x_edges, y_edges)
    return DensityGrid(moment.tick, x_name, y_name, x_edges, y_edges, counts, outside, missing)


def clipped(at: range, first: int, last: int) -> range:
    """Return the part of a range of ticks that is in a history; ``ValueError`` for one that runs backwards."""
    if at.step < 1:
        raise ValueError(f"ticks are in ascending order, not {at!r}")
    skipped = max(0, -(-(first - at.start) // at.step))
    return range(at.start + skipped * at.step, min(at.stop, last + 1), at.step)


def _names(columns: Iterable[Any]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for one in columns:
        if isinstance(one, type) and issubclass(one, Component):
            found.update({column.name: None for column in type_of_class(one).fields if is_number(column.type)})
        else:
            found[column_name(one, _USAGE)] = None
    if not found:
        raise ValueError(f"{_USAGE}: name one with numbers")
    return tuple(found)


def _checked_quantiles(given: Iterable[Any]) -> Floats:
    found = np.asarray([float(one) for one in given])
    if not np.all((found >= 0) & (found <= 1)):
        raise ValueError(f"quantiles are numbers from 0 to 1, not {list(given)!r}")
    return found


def _bin_count(given: Any) -> int:
    bins = whole_number(given, "the number of bins")
    if not 1 <= bins <= MAX_BINS:
        raise ValueError(f"there are 1 to {MAX_BINS} bins, not {bins}")
    return bins


def _bins(reader: _Reader, moments: Iterable[Moment], name: str, given: int | tuple[float, ...] | None) -> _Bins:
    """The bins of a column: as they are given, or of equal width over all moments."""
    if isinstance(given, Iterable):
        edges = np.asarray([float(one) for one in given])
        if len(edges) < 2 or not np.isfinite(edges).all() or not np.all(edges[1:] > edges[:-1]):
            raise ValueError(f"the edges of bins are two or more ascending numbers, not {list(given)!r}")
        return _Bins(edges, is_even=False)
    bins = _bin_count(given)
    low, high = math.inf, -math.inf
    for moment in moments:
        for _, array in reader.column(moment, name):
            finite = _Values.of(array).finite
            if len(finite):
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return _Bins(even_edges(low, high, bins) if low <= high else even_edges(0.0, 1.0, bins), is_even=True)


def _range(values: Floats, given: tuple[float, float] | None, bins: int) -> Floats:
    if given is None:
        return even_edges(float(values.min()), float(values.max()), bins) if len(values) else even_edges(0.0, 1.0, bins)
    low, high = (float(one) for one in given)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range is two ascending numbers, not {given!r}")
    return even_edges(low, high, bins)


def _numbers(values: _Values, quantiles: Floats, bins: _Bins | None) -> dict[str, Any]:
    """The numbers about the values of one row."""
    finite = values.finite
    found: dict[str, Any] = {
        "count": len(finite),
        "nulls": values.nulls,
        "nans": values.nans,
        "infinite": values.infinite,
        "quantiles": [],
    }
    if len(finite):
        ordered = np.sort(finite)
        found.update({"mean": _mean(finite), "min": float(ordered[0]), "max": float(ordered[-1])})
        found["quantiles"] = _at(ordered, quantiles).tolist()
    if bins is not None:
        counts, outside = histogram(finite, bins.edges, is_even=bins.is_even)
        found.update({"edges": bins.numbers, "histogram": counts.tolist(), "outside": outside})
    return found


def _mean(finite: Floats) -> float:
    with np.errstate(over="ignore"):
        mean = float(finite.mean())
        # The sum of large numbers is infinite, and their mean is not.
        return mean if math.isfinite(mean) else float((finite / len(finite)).sum())


def _at(ordered: Floats, quantiles: Floats) -> Floats:
    """Quantiles by linear interpolation, as ``numpy.quantile``, which takes several times as long as a sort for many of them."""
    places = quantiles * (len(ordered) - 1)
    before = np.floor(places).astype(np.intp)
    low, high = ordered[before], ordered[np.minimum(before + 1, len(ordered) - 1)]
    share = places - before
    # The halves of two finite values have a finite difference.
    step = (high / 2 - low / 2) * share
    return np.clip(low + step + step, low, high)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of a type has numbers to aggregate."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _floats(array: pa.Array) -> Floats:
    """A column as float64; what is null is NaN."""
    if not pa.types.is_floating(array.type):
        array = array.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False)).astype(np.float64, copy=False)


def _spelled(archetype: Archetype) -> str:
    """The names of an archetype's components, as ``WorldInfo.archetypes`` has them."""
    return " + ".join(kind.name for kind in archetype.components)
