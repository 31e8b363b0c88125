"""The audit log of a runtime: what it has rows for, its key, and its exported end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from runtime_scene import Movement, Position, Velocity, with_runtime

from archetype import ArchetypeRuntime
from archetype_core.command import AuditHead
from archetype_core.errors import LedgerError
from archetype_gate import Quotas, verify

KEY = bytes(range(32))


async def run_world(runtime: ArchetypeRuntime) -> AuditHead:
    """Run a world for two ticks and return the end of the audit."""
    world = runtime.world("w", processors=[Movement()])
    await world.spawn(Position(), Velocity(dx=1))
    await world.run(steps=2)
    return await runtime.audit_head()


@pytest.mark.parametrize("is_file", [False, True])
def test_the_key_of_a_runtime_lies_elsewhere(tmp_path: Path, *, is_file: bool) -> None:
    """With ``ledger_key`` no key lies beside the ledger, and only that key opens and verifies it (G4)."""
    storage = f"journal:{tmp_path / 'history'}"
    key = tmp_path / "keys" / "audit.key" if is_file else KEY
    head = with_runtime(run_world, storage=storage, ledger_key=key)
    assert not (tmp_path / "history" / "ledger.key").exists()
    assert verify(storage, ledger_key=key, head=head) == []
    with pytest.raises(LedgerError, match="key"):
        verify(storage)
    with pytest.raises(LedgerError, match="another key"):
        verify(storage, ledger_key=bytes(32))
    with pytest.raises(LedgerError, match="another key"):
        with_runtime(run_world, storage=storage, ledger_key=bytes(32))


def test_the_head_of_a_runtime_grows_with_its_audit(tmp_path: Path) -> None:
    """A head has the number of rows; an earlier head fits a longer audit, and a head of another audit does not (G4)."""

    async def both(runtime: ArchetypeRuntime) -> tuple[AuditHead, AuditHead]:
        first = await run_world(runtime)
        await runtime.world("w").step()
        return first, await runtime.audit_head()

    storage = f"journal:{tmp_path / 'one'}"
    first, second = with_runtime(both, storage=storage)
    assert first.count < second.count
    assert first.at <= second.at
    assert verify(storage, head=first) == verify(storage, head=second) == []
    other = with_runtime(run_world, storage=f"journal:{tmp_path / 'other'}")
    assert [one.place for one in verify(storage, head=other)] == [f"audit event {other.count}"]


def test_a_sync_runtime_has_the_same_key_and_head(tmp_path: Path) -> None:
    """The sync runtime takes the key and returns the head too (G4)."""
    storage = f"journal:{tmp_path / 'history'}"
    with ArchetypeRuntime.sync(storage, ledger_key=KEY) as runtime:
        world = runtime.world("w")
        world.spawn(Position())
        world.step()
        head = runtime.audit_head()
    assert verify(storage, ledger_key=KEY, head=head) == []


def test_a_runtime_says_what_was_used() -> None:
    """A runtime returns the usage of its actor, and of another one to admins; the sync twin does too (G3)."""
    quotas = Quotas(commands=50, credits=90)

    async def main(runtime: ArchetypeRuntime) -> None:
        world = runtime.world("w")
        await world.spawn(Position())
        mine = await runtime.usage()
        assert (mine.actor, mine.credits_limit, mine.commands_limit) == (runtime.actor.id, 90, 50)
        assert mine.credits_used > 1
        assert list(mine.commands.values()) == [1]
        assert (await runtime.usage("nobody")).credits_used == 0

    with_runtime(main, quotas=quotas)
    with ArchetypeRuntime.sync("memory:") as runtime:
        assert runtime.usage().credits_limit is None


def test_a_new_world_leaves_no_failed_row() -> None:
    """Declaring and running a world that does not exist yet leaves only rows of commands that succeeded (G4)."""

    async def main(runtime: ArchetypeRuntime) -> None:
        await run_world(runtime)
        rows = await asyncio.to_thread((await runtime.history()).to_pydict)
        assert {"applied"} == set(rows["status"])
        assert rows["type"].count("create_world") == 1

    with_runtime(main)
