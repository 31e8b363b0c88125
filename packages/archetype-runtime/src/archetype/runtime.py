"""The published runtime: the asynchronous one, and the way from it to its sync twin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from archetype.async_runtime import AsyncRuntime
from archetype.progress import ProgressBars
from archetype.storage import Storage
from archetype.sync_runtime import SyncArchetypeRuntime
from archetype_core.command import ActorCtx
from archetype_core.config import CacheConfig
from archetype_gate import Policy, Quotas


class ArchetypeRuntime(AsyncRuntime):  # noqa: D101  # reason: described by its base
    __doc__ = AsyncRuntime.__doc__

    if not TYPE_CHECKING:  # with these, type checkers would accept a plain `with`

        def __enter__(self) -> None:
            raise TypeError(
                "use async with ArchetypeRuntime(…), or with ArchetypeRuntime.sync(…) in code without await"
            )

        def __exit__(self, *details: object) -> None:
            """Never reached: entering raises."""

    @staticmethod
    def sync(
        storage: Storage | None = None,
        cache: CacheConfig | None = None,
        *,
        actor: ActorCtx | None = None,
        policy: Policy | None = None,
        quotas: Quotas | None = None,
        ledger: str | Path | None = None,
        ledger_key: str | Path | bytes | None = None,
        progress: bool | ProgressBars = True,
    ) -> SyncArchetypeRuntime:
        """Return a runtime with the same methods without ``await``, on an event loop of its own.

        >>> with ArchetypeRuntime.sync("journal:./history") as runtime:
        ...     runtime.world("demo").step()
        """
        return SyncArchetypeRuntime(
            storage,
            cache,
            actor=actor,
            policy=policy,
            quotas=quotas,
            ledger=ledger,
            ledger_key=ledger_key,
            progress=progress,
        )
