"""Kernels that are each broken in one way, with the clauses that must notice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from archetype_core.engine import Arrival, Kernel, Patch, PythonKernel, Staged
from archetype_core.schema import Archetype, Column, Snapshot, stack
from archetype_core.store import Rows


@dataclass(frozen=True)
class Mutant:
    make: type[Kernel]
    clauses: tuple[str, ...]
    caught_at_random: bool

    @property
    def name(self) -> str:
        return self.make.__name__


MUTANTS: list[Mutant] = []
K = TypeVar("K", bound=Kernel)
Tables = Mapping[Archetype, Snapshot]


class TableByTable:
    """A correct kernel whose tables are folded one by one: what moves in is among the entering rows by then."""

    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        found = {}
        for archetype in {**processed, **staged}:
            before = prior.get(archetype, Snapshot.empty(archetype))
            mutations = staged.get(archetype, Staged())
            if mutations.arriving:
                others = {one: rows for one, rows in prior.items() if one != archetype}
                alone = {archetype: Staged(arriving=mutations.arriving)}
                moved = PythonKernel().materialize(others, processed, alone)[archetype].live
                entering = stack(archetype, [*([mutations.entering] if mutations.entering else ()), moved])
                mutations = replace(mutations, entering=entering, arriving=())
            found[archetype] = self.fold(before, processed.get(archetype, before), mutations)
        return found

    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        """The rows of one table."""
        archetype = prior.archetype
        return PythonKernel().materialize({archetype: prior}, {archetype: processed}, {archetype: staged})[archetype]


def breaks(*clauses: str, caught_at_random: bool = True) -> Callable[[type[K]], type[K]]:
    """Decorate a broken kernel with the clauses that must notice, and whether K-301 must notice too."""

    def enter(cls: type[K]) -> type[K]:
        MUTANTS.append(Mutant(cls, clauses, caught_at_random))
        return cls

    return enter


def mapped(rows: Rows, act: Callable[[Snapshot], Snapshot]) -> Rows:
    """Change active rows and tombstones."""
    return Rows(act(rows.live), act(rows.tombstones) if rows.tombstones else None)


def columns(snapshot: Snapshot, act: Callable[[pa.Array], pa.Array]) -> Snapshot:
    """Change every column."""
    return snapshot.with_columns({name: Column(act(column.arrow)) for name, column in snapshot.columns.items()})


def _one_nan(array: pa.Array) -> pa.Array:
    if array.type != pa.float64():
        return array
    values = np.array(pc.fill_null(array, 0.0))
    values[np.isnan(values)] = np.nan
    return pa.array(values, mask=np.asarray(array.is_null()))


def where(snapshot: Snapshot, mask: pa.Array) -> Snapshot:
    """Keep the rows of a mask."""
    return snapshot.take(pc.indices_nonzero(mask).cast(pa.int64()))


@breaks("K-101")
class ProcessedTombstones(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        if not found.tombstones:
            return found
        return Rows(found.live, where(processed, pc.is_in(processed.entity_ids, value_set=found.tombstones.entity_ids)))


@breaks("K-006", "K-102", "K-113", "K-204")
class PatchesPriorRows(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        if not staged.patches:
            return super().fold(prior, processed, staged)
        written = pa.concat_arrays([patch.entity_ids for patch in staged.patches])
        keep = pc.invert(pc.is_in(processed.entity_ids, value_set=written))
        order = pa.concat_arrays([prior.entity_ids])
        mixed = stack(prior.archetype, [where(processed, keep), where(prior, pc.invert(keep))])
        return super().fold(prior, mixed.take(pc.index_in(order, value_set=mixed.entity_ids)), staged)


@breaks("K-103")
class PatchesBackwards(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        return super().fold(prior, processed, replace(staged, patches=list(staged.patches)[::-1]))


@breaks("K-104")
class FirstPatchRowWins(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        return super().fold(prior, processed, replace(staged, patches=[self.turned(p) for p in staged.patches]))

    @staticmethod
    def turned(patch: Patch) -> Patch:
        back = pa.array(range(len(patch.entity_ids) - 1, -1, -1), pa.int64())
        return Patch(patch.entity_ids.take(back), {name: array.take(back) for name, array in patch.columns.items()})


@breaks("K-105", "K-203")
class NoPatchesOnEntering(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        old = super().fold(prior, processed, replace(staged, entering=None))
        new = super().fold(old.live, old.live, replace(staged, patches=(), leaving=None))
        if staged.leaving is not None and len(staged.leaving):
            new = Rows(super().fold(new.live, new.live, Staged(leaving=staged.leaving)).live)
        return Rows(new.live, old.tombstones)


@breaks("K-003", "K-106", "K-111")
class EnteringBeatsLeaving(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        old = super().fold(prior, processed, replace(staged, entering=None))
        new = super().fold(old.live, old.live, replace(staged, leaving=None))
        return Rows(new.live, old.tombstones)


@breaks("K-003", "K-106")
class TombstonesForCancelled(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        if not staged.entering or staged.leaving is None:
            return found
        gone = where(staged.entering, pc.is_in(staged.entering.entity_ids, value_set=staged.leaving))
        parts = [*([found.tombstones] if found.tombstones else []), gone]
        return Rows(found.live, stack(prior.archetype, parts))


@breaks("K-004")
class LastPosition(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        if staged.entering:
            last = {entity: index for index, entity in enumerate(staged.entering.entity_ids.to_pylist())}
            staged = replace(staged, entering=staged.entering.take(pa.array(sorted(last.values()), pa.int64())))
        return super().fold(prior, processed, staged)


@breaks("K-004")
class FirstValues(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        if staged.entering:
            ids = staged.entering.entity_ids.to_pylist()
            staged = replace(
                staged, entering=staged.entering.take(pa.array([ids.index(e) for e in dict.fromkeys(ids)], pa.int64()))
            )
        return super().fold(prior, processed, staged)


@breaks("K-004", "K-109", "K-115")
class SortsRows(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        return mapped(found, lambda part: part.take(pc.array_sort_indices(part.entity_ids).cast(pa.int64())))


@breaks("K-109")
class TombstonesInStagedOrder(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        if not found.tombstones:
            return found
        order = pc.index_in(pc.unique(staged.leaving), value_set=found.tombstones.entity_ids).drop_null()
        return Rows(found.live, found.tombstones.take(order))


@breaks("K-107")
class AppendsWhatIsThere(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        old = super().fold(prior, processed, replace(staged, entering=None))
        new = super().fold(prior.slice(0, 0), prior.slice(0, 0), replace(staged))
        return Rows(stack(prior.archetype, (old.live, new.live)), old.tombstones)


@breaks("K-108")
class OneTombstonePerMention(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        if not found.tombstones:
            return found
        places = pc.index_in(staged.leaving, value_set=found.tombstones.entity_ids).drop_null()
        return Rows(found.live, found.tombstones.take(pc.array_take(places, pc.array_sort_indices(places))))


@breaks("K-005", "K-101", "K-114")
class NoTombstones(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        return Rows(super().fold(prior, processed, staged).live)


@breaks("K-001", "K-002", "K-006")
class ProcessesWhatWasWritten(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        live = super().fold(prior, processed, staged)
        if not staged.entering and not staged.patches:
            return live
        fields = {name for name in prior.columns if name == "spot__x"}
        return mapped(
            live, lambda part: part.with_columns({n: Column(pc.add(part.columns[n].arrow, 1.0)) for n in fields})
        )


@breaks("K-110", "K-112")
class UnknownEntitiesFail(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        known = set(prior.entity_ids.to_pylist()) | set(
            staged.entering.entity_ids.to_pylist() if staged.entering else ()
        )
        for patch in staged.patches:
            for entity in patch.entity_ids.to_pylist():
                if entity not in known:
                    raise KeyError(entity)
        return super().fold(prior, processed, staged)


@breaks("K-111")
class NothingFromNothing(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        return super().fold(prior, processed, staged) if prior.num_rows else Rows(prior)


@breaks("K-116", caught_at_random=False)
class FloatIds(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)

        def rough(part: Snapshot) -> Snapshot:
            ids = part.entity_ids.cast(pa.float64(), safe=False).cast(pa.int64(), safe=False)
            return part.with_columns({"entity_id": Column(ids)})

        return mapped(found, rough)


@breaks("K-118", caught_at_random=False)
class ChangesItsInputs(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        if isinstance(staged.patches, list):
            staged.patches.append(Patch(pa.array([], pa.int64()), {}))
        return found


@breaks("K-201", "K-202", "K-203")
class OneNaN(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        return mapped(super().fold(prior, processed, staged), lambda part: columns(part, _one_nan))


@breaks("K-201", "K-203")
class NullsBecomeEmpty(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        def filled(array: pa.Array) -> pa.Array:
            return pc.fill_null(array, "") if pa.types.is_large_string(array.type) else array

        return mapped(super().fold(prior, processed, staged), lambda part: columns(part, filled))


@breaks("K-103", "K-104", "K-203")
class NullPatchesAreIgnored(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        patches = []
        for patch in staged.patches:
            for name, values in patch.columns.items():
                valid = values.is_valid()
                patches.append(Patch(patch.entity_ids.filter(valid), {name: values.filter(valid)}))
        return super().fold(prior, processed, replace(staged, patches=patches))


@breaks("K-205", caught_at_random=False)
class IgnoresOffsets(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        def begin(array: pa.Array) -> pa.Array:
            if array.type.num_fields or array.offset == 0:
                return array
            return pa.Array.from_buffers(array.type, len(array), array.buffers())

        same = processed is prior
        prior = columns(prior, begin)
        return super().fold(prior, prior if same else columns(processed, begin), staged)


@breaks("K-206", "K-207", caught_at_random=False)
class CopiesEverything(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        return mapped(found, lambda part: part.take(pa.array(range(part.num_rows), pa.int64())))


@breaks("K-117", caught_at_random=False)
class FourteenBitPositions(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        found = super().fold(prior, processed, staged)
        return mapped(
            found, lambda part: part.take(pa.array(np.arange(part.num_rows) % 2**14)) if part.num_rows else part
        )


@breaks("K-208", caught_at_random=False)
class SharesItsBuffer(TableByTable):
    def fold(self, prior: Snapshot, processed: Snapshot, staged: Staged) -> Rows:
        self.buffer = staged
        threading.Event().wait(0.001)
        found = super().fold(prior, processed, staged)
        return super().fold(prior, processed, self.buffer) if self.buffer is not staged else found


@breaks("K-119")
class ArrivalsFromPriorRows(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        found = super().materialize(prior, processed, staged)
        for archetype, mutations in staged.items():
            if mutations.arriving:
                own = {archetype: processed[archetype]} if archetype in processed else {}
                found[archetype] = super().materialize(prior, own, {archetype: mutations})[archetype]
        return found


@breaks("K-120")
class ArrivalsOnlyFromProcessedTables(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        changed = {
            archetype: replace(
                mutations, arriving=[one for one in mutations.arriving if one.source in processed], order=None
            )
            for archetype, mutations in staged.items()
        }
        return super().materialize(prior, processed, changed)


@breaks("K-121")
class NoPatchesOnArrivals(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        changed = {}
        for archetype, mutations in staged.items():
            coming = [one.entity_ids for one in mutations.arriving]
            ids = pa.concat_arrays(coming) if coming else pa.array([], pa.int64())
            patches = []
            for patch in mutations.patches:
                keep = pc.invert(pc.is_in(patch.entity_ids, value_set=ids))
                kept = {name: values.filter(keep) for name, values in patch.columns.items()}
                patches.append(Patch(patch.entity_ids.filter(keep), kept))
            changed[archetype] = replace(mutations, patches=patches)
        return super().materialize(prior, processed, changed)


@breaks("K-122")
class SpawnedBeforeMoved(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        return super().materialize(prior, processed, {one: replace(two, order=None) for one, two in staged.items()})


@breaks("K-123", "K-119")
class TablesOneAfterTheOther(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        found = {}
        prior, processed = dict(prior), dict(processed)
        for archetype in {**processed, **staged}:
            own = {archetype: staged[archetype]} if archetype in staged else {}
            found[archetype] = super().materialize(prior, processed, own)[archetype]
            processed[archetype] = found[archetype].live
        return found


@breaks("K-124", caught_at_random=False)
class EveryTable(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        return {**{one: Rows(rows) for one, rows in prior.items()}, **super().materialize(prior, processed, staged)}


@breaks("K-209", caught_at_random=False)
class OneNaNOnArrival(PythonKernel):
    def materialize(
        self, prior: Tables, processed: Tables, staged: Mapping[Archetype, Staged]
    ) -> dict[Archetype, Rows]:
        changed = {
            archetype: replace(
                mutations,
                arriving=[
                    Arrival(
                        one.source, one.entity_ids, {name: _one_nan(values) for name, values in one.columns.items()}
                    )
                    for one in mutations.arriving
                ],
            )
            for archetype, mutations in staged.items()
        }
        return super().materialize(prior, processed, changed)
