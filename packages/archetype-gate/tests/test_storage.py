"""Backends: one store and ledger for all worlds of a storage."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from stage import (
    journal_at,
    run_scenario,
)

from archetype_core import CacheConfig, StorageConfig
from archetype_core.errors import (
    GateClosed,
    StorageNotFound,
    UnknownScheme,
)
from archetype_gate.storage import Backend, StorageService

MEMORY = StorageConfig("memory:")


def test_a_backend_is_opened_once(tmp_path: Path) -> None:
    """Concurrent users of one storage share one backend, which is announced once; a closed service opens none (S5)."""

    async def scenario() -> None:
        announced: list[Backend] = []
        service = StorageService(None, announced.append)
        found = await asyncio.gather(*(service.backend(journal_at(tmp_path)) for _ in range(50)))
        assert len({id(one) for one in found}) == 1
        assert announced == [found[0]]
        relative = await service.backend(StorageConfig(f"journal:{tmp_path}/x/../data"))
        assert relative.ledger is not None
        await service.close()
        await service.close()
        with pytest.raises(GateClosed):
            await service.backend(MEMORY)

    run_scenario(scenario)


def test_a_failed_opening_is_tried_again(tmp_path: Path) -> None:
    """Every waiting caller gets the error of a failed opening, and the next call tries again (C2)."""

    async def scenario() -> None:
        service = StorageService(None, lambda backend: None)
        missing = StorageConfig("nowhere:at-all")
        for _ in range(2):
            outcomes = await asyncio.gather(*(service.backend(missing) for _ in range(5)), return_exceptions=True)
            assert all(isinstance(one, UnknownScheme) for one in outcomes)
        blocked = tmp_path / "data"
        blocked.write_text("a file where the directory should be")
        with pytest.raises(Exception, match="data"):
            await service.backend(journal_at(tmp_path))
        blocked.unlink()
        await service.backend(journal_at(tmp_path))
        await service.close()

    run_scenario(scenario)


def test_callers_without_cache_settings_share_an_open_backend(tmp_path: Path) -> None:
    """A caller without cache settings shares the open backend; other settings open another one (S5)."""

    async def scenario() -> None:
        service = StorageService(None, lambda backend: None)
        special = await service.backend(journal_at(tmp_path), CacheConfig(durability="exit"))
        assert await service.backend(journal_at(tmp_path)) is special
        assert await service.backend(journal_at(tmp_path), CacheConfig(durability="tick")) is not special
        await service.close()

    run_scenario(scenario)


def test_who_creates_a_place_does_not_get_the_error_of_who_only_opens_it(tmp_path: Path) -> None:
    """Opening to read and creating the same place at once: those who create get the store (S7)."""

    async def scenario() -> None:
        service = StorageService(None, lambda backend: None)
        place = journal_at(tmp_path)
        with pytest.raises(StorageNotFound):
            await service.backend(place, create=False)
        assert list(tmp_path.iterdir()) == []
        wanted = [False, True, False, True]
        outcomes = await asyncio.gather(
            *(service.backend(place, create=create) for create in wanted), return_exceptions=True
        )
        made = [one for one, create in zip(outcomes, wanted, strict=True) if create]
        assert all(isinstance(one, Backend) for one in made)
        assert made[0] is made[1]
        assert await service.backend(place, create=False) is made[0]
        await service.close()

    run_scenario(scenario)
