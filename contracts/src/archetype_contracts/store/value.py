"""Clauses on values: what was written comes back to the last bit, from every table and every kind of column."""

from __future__ import annotations

from collections.abc import Callable

from archetype_contracts.clause import Clause
from archetype_contracts.sample import spots
from archetype_contracts.sample_columns import zoo
from archetype_contracts.script import Script
from archetype_contracts.store.book import clause
from archetype_contracts.store.observation import require_history, require_tick
from archetype_contracts.store.subject import StoreSubject
from archetype_core.store import Capability, Rows

_KINDS = {
    "S-301": ("integer", "Integers of every width keep their extremes."),
    "S-302": ("float", "Floats keep every bit: NaN payloads, the sign of zero, infinities, subnormals."),
    "S-303": ("text", "Text keeps every character, and empty text is not null."),
    "S-304": ("bytes", "Bytes keep every byte, and no bytes are not null."),
    "S-305": ("time", "Timestamps, naive and aware, durations and dates keep their unit and every part of it."),
    "S-306": ("exact", "Bools and decimals keep their value and scale."),
    "S-307": ("nested", "Lists, structs and maps keep their shape, and empty ones are not null."),
    "S-308": ("vector", "Fixed-size vectors keep every bit, null vectors too."),
}


def _keeps(group: str) -> Callable[[StoreSubject], None]:
    def values_survive(subject: StoreSubject) -> None:
        script = Script()
        tables = [Rows(exhibit.snapshot()) for exhibit in zoo()[group]]
        subject.store.commit([script.tick(*tables)])
        for tick in (0, 1):
            # once as written, once carried by a tick that wrote something else
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


@clause("S-309", "A column of nothing but nulls, and a table of one row, keep their type.")
def null_columns(subject: StoreSubject) -> None:
    script = Script()
    every = [exhibit for group in zoo().values() for exhibit in group]
    last = [exhibit.snapshot().slice(len(exhibit.column) - 1, 1) for exhibit in every]
    subject.store.commit([script.tick(*map(Rows, last))])
    require_tick(subject.store, script, 0)


@clause("S-310", "Entity ids, ticks and next_entity_id are 64 bits wide.")
def wide_ids(subject: StoreSubject) -> None:
    script = Script(first_tick=2**40)
    top = 2**63 - 2
    subject.store.commit([script.tick(spots({1: 1.0, 2**31: 2.0, 2**53 + 1: 3.0, top: 4.0}))])
    subject.store.commit([script.tick(next_entity_id=2**63 - 1)])
    require_history(subject, script)
