"""Worlds on disk agree with the model of the tick too, also when their store is closed and opened again (T7, R3, R5)."""

from __future__ import annotations

import shutil
import tempfile

from hypothesis import settings
from tick_machine import TickMachine
from tick_scene import Place

from archetype_core.config import CacheConfig
from archetype_core.store import Store, open_store


class JournalPlace(Place):
    scheme = "journal:"

    def __init__(self) -> None:
        super().__init__()
        self.path = tempfile.mkdtemp(prefix="archetype-tick-")

    def open(self) -> Store:
        return open_store(f"{self.scheme}{self.path}")

    def remove(self) -> None:
        shutil.rmtree(self.path)


class LancePlace(JournalPlace):
    """A store that seals after every few ticks, so that most rows are read from tables."""

    scheme = "lance:"

    def open(self) -> Store:
        return open_store(f"{self.scheme}{self.path}", CacheConfig(rows=8))


class JournalMachine(TickMachine):
    make = JournalPlace


class LanceMachine(TickMachine):
    make = LancePlace


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=10, stateful_step_count=4)
TestLance = LanceMachine.TestCase
TestLance.settings = settings(max_examples=8, stateful_step_count=4)
