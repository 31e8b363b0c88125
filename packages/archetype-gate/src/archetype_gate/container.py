"""Builds a gate from its parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from archetype_core.clock import Clock, IdSource, SystemClock, SystemIds
from archetype_core.command import CommandGate, Meter
from archetype_gate.dispatcher import CommandDispatcher
from archetype_gate.ledger import Ledger
from archetype_gate.ledger_copy import copied_ledger
from archetype_gate.ledger_key import LedgerKey
from archetype_gate.policy import Policy
from archetype_gate.query import QueryService
from archetype_gate.quota import QuotaMeter, Quotas, Usage
from archetype_gate.rollout import RolloutService
from archetype_gate.service import CommandService
from archetype_gate.simulation import SimulationService
from archetype_gate.sqlite import SqliteLedger
from archetype_gate.storage import Backend, StorageService
from archetype_gate.timestamp import to_micros
from archetype_gate.world_service import WorldService


class ServiceContainer:
    """A gate with its services. Constructing it does no I/O; two containers share nothing but named memory stores.

    ``policy`` and ``quotas`` default to the four roles and to 500 commands and 200 000 credits. ``ledger`` is the
    directory for ledgers of storages without a local path. ``ledger_key`` is the secret of the ledgers' hashes, or the key's
    file; by default each ledger has its own beside it. ``open_ledger`` opens the ledger at a path (``None``: in memory) in
    place of both; at a read-only place it is called with ``None``. ``TypeError`` for a policy or quotas of another type.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        quotas: Quotas | None = None,
        ledger: str | Path | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        ledger_key: LedgerKey | None = None,
        open_ledger: Callable[[Path | None], Ledger] | None = None,
    ) -> None:
        for name, given, kind in (("policy", policy, Policy), ("quotas", quotas, Quotas)):
            if given is not None and not isinstance(given, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, not {given!r}")
        clock = clock or SystemClock()
        ids = ids or SystemIds()

        def now_us() -> int:
            return to_micros(clock.now())

        def on_open(backend: Backend) -> None:
            service.add_backend(backend)

        def on_spent(usage: Usage) -> None:
            service.add_usage(usage)

        meter = QuotaMeter(quotas or Quotas(), clock, on_spent)

        def copy_ledger(path: Path) -> Ledger:
            # Only the caller knows the files of a ledger of its own, so at a read-only place that begins empty, in memory.
            return copied_ledger(path, key=ledger_key) if open_ledger is None else open_ledger(None)

        make_ledger = open_ledger or partial(SqliteLedger, key=ledger_key)
        storage = StorageService(None if ledger is None else Path(ledger), on_open, make_ledger, copy_ledger)
        worlds = WorldService(storage, ids, now_us)
        simulation = SimulationService()
        rollouts = RolloutService(worlds, simulation, ids)
        dispatcher = CommandDispatcher(worlds, simulation, rollouts, QueryService(worlds, meter))
        service = CommandService(
            worlds,
            storage,
            dispatcher,
            policy=policy or Policy(),
            meter=meter,
            clock=clock,
            ids=ids,
        )
        self.gate: CommandGate = service
        self.settled = service.settled
        """Reads settled audit rows for a feed, ungated; who may see which row is the feed's to check."""
        self.foresee = service.foresee
        """Refuses what is to be executed later, as far as that can be known now."""
        self.meter: Meter = meter
        """Reserves and charges credits of the same quotas, for work whose price is known only afterwards."""

    async def shutdown(self) -> None:
        """Close every live world, the newest first, then ledgers and stores; idempotent.

        ``ReentrantStep`` from inside a call. Failures are raised as one ``ExceptionGroup`` after everything is closed.
        """
        await self.gate.close()
