"""Tracebacks leave out the frames of every package of the workspace."""

from __future__ import annotations

import tomllib

from archetype_core.user_traceback import OWN_PACKAGES
from members import ROOT


def test_every_import_root_is_named() -> None:
    """A package whose frames were shown as the user's is missing in the list; contract suites are shown, as tests are."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["archetype"]["layers"]
    assert OWN_PACKAGES | {"archetype_contracts"} == table.keys()
