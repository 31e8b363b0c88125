"""Fixtures for the tests of the suite: pytester runs adopters' modules, and Hypothesis does not shrink."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import daft as daft  # noqa: PLC0414  # reason: pytester forgets modules that its runs import, and Daft cannot be imported again
import pytest
from hypothesis import Phase, settings

pytest_plugins = ["pytester"]


@pytest.fixture
def no_shrinking() -> Iterator[None]:
    """Make Hypothesis try the same examples in every run, and not shrink a failing one."""
    before: Any = settings.get_current_profile_name()
    settings.register_profile(
        "no shrinking", phases=[Phase.generate], derandomize=True, database=None, print_blob=False
    )
    settings.load_profile("no shrinking")
    yield
    settings.load_profile(before)
