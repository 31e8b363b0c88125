"""Whatever is asked of a runtime, on any store, worlds, answers and the audit agree with a model in plain Python."""

from __future__ import annotations

from door_machine import DoorMachine
from door_scene import Journal, Lance
from hypothesis import settings


class JournalMachine(DoorMachine):
    make = Journal


class LanceMachine(DoorMachine):
    make = Lance


TestMemory = DoorMachine.TestCase
TestMemory.settings = settings(max_examples=15, stateful_step_count=8)
TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=10, stateful_step_count=8)
TestLance = LanceMachine.TestCase
TestLance.settings = settings(max_examples=6, stateful_step_count=8)
