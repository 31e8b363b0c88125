"""The door's random program at length; ``ARCHETYPE_DOOR_PROGRAMS`` says how many programs each store gets."""

from __future__ import annotations

import os

from door_machine import DoorMachine
from hypothesis import settings
from test_door import JournalMachine, LanceMachine

_MANY = settings(max_examples=int(os.environ.get("ARCHETYPE_DOOR_PROGRAMS", "300")), stateful_step_count=14)

TestMemory = DoorMachine.TestCase
TestMemory.settings = _MANY
TestJournal = JournalMachine.TestCase
TestJournal.settings = _MANY
TestLance = LanceMachine.TestCase
TestLance.settings = _MANY
