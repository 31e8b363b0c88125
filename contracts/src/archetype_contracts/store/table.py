"""Clauses on tables: their number, width and length, and their schemas."""

from __future__ import annotations

import pyarrow as pa

from archetype_contracts.assertion import require, require_equal
from archetype_contracts.sample import BOTH, FROZEN, MARKED, MOTTO, SPOT, mottos, rows, snapshot, spots, wide
from archetype_contracts.script import Script
from archetype_contracts.store.observation import read, require_history, require_scan, require_tick, scan_of
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.schema import Archetype, Column, Snapshot
from archetype_core.store import Capability, Rows, TickCommit


@clause("S-201", "A table's schema is returned unchanged, including its metadata, and gives the same archetype.")
def schema_survives(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(spots({1: 1.0}), rows(BOTH, {2: ("a", b"b", 3, 1.0)}), rows(MARKED, [3]))])
    stores = [subject.store]
    if subject.claimed(Capability.PERSISTENCE):
        stores = [subject.reopen()]
    for store in stores:
        tables = store.timeline(script.segment.world_id).tables
        for archetype in (SPOT, BOTH, MARKED):
            schema = tables[archetype.name]
            require(
                schema.equals(archetype.schema, check_metadata=True),
                f"schema of {archetype.name}\n  expected: {_render(archetype.schema)}\n  actual:   {_render(schema)}",
            )
            require_equal(
                archetype.name, Archetype.from_schema(schema).name, "name of the archetype made from the schema"
            )


@clause("S-202", "Two tables of tags without fields are separate tables.")
def tags_without_fields(subject: StoreSubject) -> None:
    script = Script()
    subject.store.commit([script.tick(rows(MARKED, [1, 2]), rows(FROZEN, [3]))])
    require_history(subject, script)
    subject.store.commit([script.tick(rows(MARKED, [1], gone=[2]))])
    subject.store.commit([script.tick(rows(FROZEN, [], gone=[3]))])
    require_history(subject, script)


@clause("S-203", "A table may have a thousand columns.")
def wide_table(subject: StoreSubject) -> None:
    archetype, script = wide(1000), Script()
    for tick in range(2):
        values = {
            entity: tuple(float(tick * 10_000 + entity * 1000 + index) for index in range(1000)) for entity in (1, 2)
        }
        subject.store.commit([script.tick(rows(archetype, values))])
    require_tick(subject.store, script, 1)
    few = ("wide__f999", "entity_id", "wide__f0")
    require_scan(subject.store, script, archetype, scan_of(archetype, script.segment, 1, columns=few))


@clause("S-204", "A thousand small ticks are all stored correctly.")
def thousand_ticks(subject: StoreSubject) -> None:
    script = Script()
    commits = [_small(script, tick) for tick in range(1000)]
    for begin in range(0, 980, 49):
        subject.store.commit(commits[begin : begin + 49])
    for commit in commits[980:]:
        subject.store.commit([commit])
    require_tick(subject.store, script, 999)
    if subject.claimed(Capability.TIME_TRAVEL):
        for archetype in (SPOT, MOTTO):
            require_scan(subject.store, script, archetype, scan_of(archetype, script.segment, 0, 999))
        for tick in (0, 48, 49, 333, 979, 980, 998):
            require_tick(subject.store, script, tick)


@clause("S-205", "The result does not depend on how the input is chunked or sliced.")
def chunking(subject: StoreSubject) -> None:
    ids = list(range(1, 41))
    values = {entity: (f"text {entity}" * (entity % 3), bytes([entity]), entity) for entity in ids}
    plain = snapshot(MOTTO, values)
    table = plain.to_arrow()
    chunked = Snapshot.from_arrow(MOTTO, pa.concat_tables([table.slice(0, 7), table.slice(7, 0), table.slice(7, 33)]))
    shuffled = Snapshot.from_arrow(MOTTO, table.select(table.column_names[::-1]))
    padded = pa.concat_tables([table.slice(30, 5), table, table.slice(0, 3)]).combine_chunks()
    sliced = Snapshot.from_arrow(MOTTO, padded.slice(5, 40))
    parts = {name: Column(padded.column(name).chunk(0).slice(5, 40)) for name in padded.column_names}
    for variant in (plain, chunked, shuffled, sliced, Snapshot(MOTTO, parts, 40)):
        script = Script(f"variant {id(variant)}")
        gone = variant.slice(35, 5)
        subject.store.commit([script.tick(Rows(variant.slice(0, 35), gone))])
        answer = read(subject.store, scan_of(MOTTO, script.segment, 0))
        require_equal(
            ids, answer.column("entity_id").to_pylist(), "entity ids of a table whose input was chunked or sliced"
        )
        require_tick(subject.store, script, 0)


@clause("S-206", "One tick may write a hundred tables.")
def many_tables(subject: StoreSubject) -> None:
    script = Script()
    tables = [wide(width) for width in range(1, 101)]
    subject.store.commit([script.tick(*(rows(table, {n: (float(n),) * n}) for n, table in enumerate(tables, 1)))])
    subject.store.commit([script.tick(rows(tables[0], {1: (0.0,)}))])
    require_tick(subject.store, script, 1)


@clause("S-207", "World names and command ids are data: no character in them has a special meaning.")
def odd_names(subject: StoreSubject) -> None:
    names = ["", "a/b", "..", "it's", 'a"b', "a\\b", "ünï-🌍", "%s {x} $y", "x" * 300, "nul", "a.b", "a\nb", "-- ;"]
    scripts = [Script(name, seed=2**63 - 1 - index) for index, name in enumerate(names)]
    for index, script in enumerate(scripts):
        subject.store.commit([script.tick(spots({1: float(index)}), applied=(script.name,))])
    for script in scripts:
        require_history(subject, script)


def _small(script: Script, tick: int) -> TickCommit:
    if tick % 10:
        return script.tick(spots({1: float(tick)}))
    return script.tick(spots({1: float(tick), 2: None}), mottos({3: (str(tick), b"", tick)}))


def _render(schema: pa.Schema) -> str:
    return str(schema.to_string(show_field_metadata=True, show_schema_metadata=True)).replace("\n", ", ")
