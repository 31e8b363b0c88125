"""Gates that are broken in what they do with idempotency keys."""

from __future__ import annotations

from typing import Any

from gate_mutants import breaks
from reference_gate import ReferenceGate

from archetype_core import command as c


@breaks("G-611", "G-614", machine=False)
class IgnoresKeys(ReferenceGate):
    """Executes everything that is sent."""

    async def once(self, actor: Any, commands: Any, world_id: Any, key: Any, do: Any) -> Any:
        return await do()


@breaks("G-612", machine=False)
class AnswersOtherRequests(ReferenceGate):
    """Answers another request with the same key."""

    def check_request(self, name: tuple[str, str], key: c.IdempotencyKey) -> None:
        """Refuse nothing."""


@breaks("G-612", machine=False)
class SharesKeys(ReferenceGate):
    """Actors share their keys."""

    def name_of(self, actor: c.ActorCtx, key: c.IdempotencyKey) -> tuple[str, str]:
        return "", key.value


@breaks("G-613", machine=False)
class KeysOfRefusalsAreUsed(ReferenceGate):
    """A refused command uses its key."""

    def forget_key(self, name: tuple[str, str]) -> None:
        self.ledger.notes[name].is_done = True


@breaks("G-615", machine=False)
class RunsAgain(ReferenceGate):
    """A run that failed begins anew."""

    def made_before(self) -> list[tuple[int, int]]:
        return []


@breaks("G-616", machine=False)
class AnswersAnybody(ReferenceGate):
    """Gives a result again without asking the policy."""

    async def once(self, actor: c.ActorCtx, commands: Any, world_id: Any, key: c.IdempotencyKey, do: Any) -> Any:
        noted = self.ledger.notes.get((actor.id, key.value))
        if noted is not None and noted.is_done and noted.request == key.request:
            return noted.result
        return await super().once(actor, commands, world_id, key, do)
