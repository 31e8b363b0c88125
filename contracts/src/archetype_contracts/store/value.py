"""Clauses on values: every bit that is written is read back, for every type of column."""

from __future__ import annotations

from collections.abc import Callable

from archetype_contracts.clause import Clause
from archetype_contracts.sample import spots
from archetype_contracts.sample_columns import sample_columns
from archetype_contracts.script import Script
from archetype_contracts.store.observation import require_history, require_tick
from archetype_contracts.store.registry import clause
from archetype_contracts.store.subject import StoreSubject
from archetype_core.store import Capability, Rows

_KINDS = {
    "S-301": ("integer", "Integers of every width keep their smallest and largest values."),
    "S-302": ("float", "Floats keep every bit: NaN payloads, the sign of zero, infinities, subnormals."),
    "S-303": ("text", "Text keeps every character, and empty text differs from null."),
    "S-304": ("bytes", "Bytes keep every byte, and empty bytes differ from null."),
    "S-305": ("time", "Naive and aware timestamps, durations and dates keep their unit and full precision."),
    "S-306": ("exact", "Bools and decimals keep their value and scale."),
    "S-307": ("nested", "Lists, structs and maps keep their shape, and empty ones differ from null."),
    "S-308": ("vector", "Fixed-size vectors keep every bit, and null vectors stay null."),
}


def _keeps(group: str) -> Callable[[StoreSubject], None]:
    def values_survive(subject: StoreSubject) -> None:
        script = Script()
        tables = [Rows(sample.snapshot()) for sample in sample_columns()[group]]
        subject.store.commit([script.tick(*tables)])
        for tick in (0, 1):
            # Tick 0 wrote the tables; tick 1 wrote another one and carries them.
            for rows in tables:
                require_tick(subject.store, script, tick, [rows.live.archetype])
            if tick == 0:
                subject.store.commit([script.tick(spots({1000: 1.0}))])
        gone = [Rows(rows.live.slice(0, 0), rows.live) for rows in tables]
        subject.store.commit([script.tick(*gone)])
        require_tick(subject.store, script, 2)
        if subject.claimed(Capability.PERSISTENCE):
            subject.reopen()
            require_history(subject, script)

    values_survive.__name__ = f"{group}_values"
    return values_survive


VALUE_CLAUSES: tuple[Clause[StoreSubject], ...] = tuple(
    clause(key, sentence)(_keeps(group)) for key, (group, sentence) in _KINDS.items()
)


@clause("S-309", "A column of nulls, in a table of one row, keeps its type.")
def null_columns(subject: StoreSubject) -> None:
    script = Script()
    every = [sample for group in sample_columns().values() for sample in group]
    last = [sample.snapshot().slice(len(sample.column) - 1, 1) for sample in every]
    subject.store.commit([script.tick(*map(Rows, last))])
    require_tick(subject.store, script, 0)


@clause("S-310", "Entity ids, ticks and next_entity_id are 64 bits wide.")
def wide_ids(subject: StoreSubject) -> None:
    script = Script(first_tick=2**40)
    top = 2**63 - 2
    subject.store.commit([script.tick(spots({1: 1.0, 2**31: 2.0, 2**53 + 1: 3.0, top: 4.0}))])
    subject.store.commit([script.tick(next_entity_id=2**63 - 1)])
    require_history(subject, script)
