"""A commit that fails leaves its tick or none, and other rows for that tick are refused or served accordingly (T7, S4)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from archetype_contracts.crash.shim import library

BEFORE = [1, "one", [1.0]]
TRIED = [2, "tried", [2.0]]
OTHER = [2, "other", [-2.0]]

STORES = ("file_store:FileStore", "journal_opener:open_store", "journal_opener:open_interval")


@pytest.mark.parametrize("opener", STORES)
def test_a_tick_has_one_version(opener: str, tmp_path: Path) -> None:
    """Whichever call of a commit fails, killed right after it or not, one version of the tick is served for ever."""
    program = Path(__file__).with_name("uncertain_commits.py")
    command = [sys.executable, str(program), opener, str(tmp_path)]
    environment = {**os.environ, "LD_PRELOAD": str(library()), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    # Two errors, with a kill and without, each at one call at least, and each followed by a run without a fault.
    assert len(cases) >= 8
    assert not [case for case in cases if "raw" in case]
    for case in cases:
        tried = case["tried"]
        if not case["killed"]:
            possible = {"stored": [TRIED], "refused": [BEFORE], "uncertain": [BEFORE, TRIED]}[tried]
            assert case["between"] in possible, case
            there = case["between"] == TRIED
            assert (case["other"], case["here"]) == (("conflict", TRIED) if there else ("stored", OTHER)), case
            assert case["found"] == case["here"], case
        else:
            possible = {"stored": [TRIED], "refused": [BEFORE], "uncertain": [BEFORE, TRIED]}[tried]
            assert case["found"] in possible, case
        assert case["late"] == ("stored" if case["found"] == BEFORE else "conflict"), case
        assert case["kept"] == case["again"] == (OTHER if case["found"] == BEFORE else case["found"]), case
    assert {case["tried"] for case in cases if case["fired"]} >= {"refused"}
