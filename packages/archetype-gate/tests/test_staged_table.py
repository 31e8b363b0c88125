"""Direct commands are stored and settled many at a time, and read as if each had a row of its own."""

from __future__ import annotations

from collections import Counter

from edited_ledger import NOON, entry_for
from hypothesis import given
from hypothesis import strategies as st

from archetype_core.command import AuditFilter, AuditRow, Status
from archetype_gate import SqliteLedger
from archetype_gate.ledger import Settlement

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("direct"), st.integers(1, 4)),
        st.tuples(st.just("queued"), st.integers(1, 2)),
        st.tuples(st.just("done"), st.integers(1, 2)),
        st.tuples(st.just("settle"), st.sets(st.integers(0, 9), min_size=1)),
        st.tuples(st.just("sync"), st.none()),
    ),
    max_size=14,
)


def paged(ledger: SqliteLedger, limit: int, *, oldest_first: bool) -> list[AuditRow]:
    """All settled rows, read page by page in the order in which they were settled."""
    found: list[AuditRow] = []
    while True:
        after = found[-1].seq if found else None
        asked = AuditFilter(after=after, limit=limit, oldest_first=oldest_first, by_settlement=True)
        page = ledger.history(asked)
        if not page:
            return found
        found += page


@given(steps=STEPS, limit=st.integers(1, 4))
def test_commands_settled_together_are_read_one_by_one(steps: list[tuple[str, object]], limit: int) -> None:
    """Whatever is written and settled together, each command waits or has its status, in order, on any page (G4, G5)."""
    ledger = SqliteLedger(None)
    waiting: list[str] = []
    statuses: dict[str, tuple[Status, int | None]] = {}
    for tick, (verb, what) in enumerate(steps):
        if verb == "sync":
            ledger.sync()
        elif verb == "settle":
            assert isinstance(what, set)
            chosen = [one for number, one in enumerate(waiting) if number in what]
            status: Status = "applied" if tick % 2 else "failed"
            ledger.settle([Settlement(one, "w", status, NOON, tick) for one in chosen])
            # Another process may settle what was settled already: it counts once.
            ledger.settle([Settlement(one, "w", status, NOON, tick) for one in chosen])
            waiting = [one for one in waiting if one not in chosen]
            statuses |= dict.fromkeys(chosen, (status, tick))
        else:
            assert isinstance(what, int)
            for _ in range(what):
                name = f"{verb} {len(statuses)}"
                ledger.record([entry_for(name, waits=verb != "done", is_direct=verb == "direct")])
                statuses[name] = ("applied", None) if verb == "done" else ("queued", None)
                if verb != "done":
                    waiting.append(name)
    assert [one.command_id for one in ledger.waiting_commands("w")] == waiting
    for one in ledger.waiting_commands("w"):
        assert (one.payload(), one.entity_ids, one.due, one.priority) == (b"{}", range(1, 2), 4, 1)
        assert one.is_direct == one.command_id.startswith("direct")
    rows = ledger.history(AuditFilter(oldest_first=True, limit=1_000))
    assert [one.command_id for one in rows] == list(statuses)
    assert {one.command_id: (one.status, one.tick) for one in rows} == statuses
    for status in ("applied", "failed", "queued"):
        asked = ledger.history(AuditFilter(status=status, limit=1_000))
        assert {one.command_id for one in asked} == {name for name, (found, _) in statuses.items() if found == status}
    settled = paged(ledger, limit, oldest_first=True)
    assert settled == paged(ledger, limit, oldest_first=False)[::-1]
    assert Counter(one.command_id for one in settled) == Counter(statuses.keys() - set(waiting))
    assert [one.seq for one in settled] == sorted({one.seq for one in settled})
    assert ledger.verify() == []
    ledger.close()


def test_a_tick_settles_a_burst_with_one_row() -> None:
    """A thousand commands that wait for one tick are one row of each table, and one row settles them (G5)."""
    ledger = SqliteLedger(None)
    names = [f"command {number}" for number in range(1_000)]
    ledger.record([entry_for(one, waits=True, is_direct=True) for one in names])
    ledger.sync()
    ledger.settle([Settlement(one, "w", "applied", NOON, 3) for one in names])
    read = ledger.history(AuditFilter(by_settlement=True, oldest_first=True, limit=2_000))
    assert [one.command_id for one in read] == names
    assert [one.seq for one in read] == list(range(1_001, 2_001))
    assert {(one.status, one.tick) for one in read} == {("applied", 3)}
    assert ledger.verify() == []
    ledger.close()
