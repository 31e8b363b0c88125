"""The parts of a gate, put together."""

from __future__ import annotations

from pathlib import Path

from archetype_core.clock import Clock, IdSource, SystemClock, SystemIds
from archetype_core.command import CommandGate
from archetype_gate.dispatch import Dispatch
from archetype_gate.policy import Policy
from archetype_gate.quota import Meter, Quotas
from archetype_gate.reading import QueryService
from archetype_gate.service import CommandService
from archetype_gate.simulation import SimulationService
from archetype_gate.storage import Backend, StorageService
from archetype_gate.timestamp import micros
from archetype_gate.worlds import WorldService


class ServiceContainer:
    """One gate and everything behind it. Making one does nothing yet: files, threads and connections come with first use.

    ``ledger`` is the directory for ledgers of storages that have no local path. Containers share nothing.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        quotas: Quotas | None = None,
        ledger: str | Path | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
    ) -> None:
        for given, kind in ((policy, Policy), (quotas, Quotas)):
            if given is not None and not isinstance(given, kind):
                raise TypeError(f"expected a {kind.__name__}, not {given!r}")
        clock = clock or SystemClock()
        ids = ids or SystemIds()

        def now_us() -> int:
            return micros(clock.now())

        def opened(backend: Backend) -> None:
            service.opened(backend)

        storage = StorageService(None if ledger is None else Path(ledger), opened)
        worlds = WorldService(storage, ids, now_us)
        dispatch = Dispatch(worlds, SimulationService(worlds, ids), QueryService(worlds))
        service = CommandService(
            worlds,
            storage,
            dispatch,
            policy=policy or Policy(),
            meter=Meter(quotas or Quotas()),
            clock=clock,
            ids=ids,
        )
        self.gate: CommandGate = service

    async def shutdown(self) -> None:
        """Close every live world, last one first, then ledgers and stores; idempotent."""
        await self.gate.close()
