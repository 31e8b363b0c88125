"""Gates that are broken in what they hide from actors with worlds of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gate_mutants import breaks
from reference_gate import ReferenceGate
from reference_ledger import KnownWorld

from archetype_core import command as c


@breaks("G-011", "G-012", "G-013", "G-014", machine=False)
class ShowsAllWorlds(ReferenceGate):
    """Every actor has all worlds."""

    def sees(self, actor: c.ActorCtx, world_id: str | None) -> bool:
        return True


@breaks("G-012", machine=False)
class ListsAllWorlds(ReferenceGate):
    """Lists tell of all worlds."""

    def shown(self, actor: c.ActorCtx, answer: Any) -> Any:
        return answer


@breaks("G-012", machine=False)
class LooksOnlyAtTheAddress(ReferenceGate):
    """Commands that name other worlds reach them."""

    def named(self, command: c.Command[Any]) -> Sequence[str]:
        return ()


@breaks("G-011", machine=False)
class DestroysHiddenWorlds(ReferenceGate):
    """Destroying and closing is not checked."""

    def look(self, actor: c.ActorCtx, commands: Sequence[c.Command[Any]], world_id: str | None) -> None:
        if not isinstance(commands[0], c.DestroyWorld | c.CloseWorld):
            super().look(actor, commands, world_id)


@breaks("G-013", machine=False)
class ForgetsMakers(ReferenceGate):
    """An actor has not what it made."""

    def maker(self) -> str:
        return ""


@breaks("G-013", machine=False)
class OnlyIds(ReferenceGate):
    """The names of worlds do not count."""

    def is_own(self, actor: c.ActorCtx, known: KnownWorld) -> bool:
        return known.world_id in (actor.worlds or ()) or known.maker == actor.id


@breaks("G-012", machine=False)
class TellsWhoHasTheName(ReferenceGate):
    """A taken name is refused with the id of the world that has it."""

    def told_failure(self, actor: c.ActorCtx, failure: BaseException) -> BaseException:
        return failure
