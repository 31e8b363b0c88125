"""The suite tests itself: pytester runs adopters as their authors would, and mutants are found without shrinking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import Phase, settings

pytest_plugins = ["pytester"]


@pytest.fixture
def hasty() -> Iterator[None]:
    """Make Hypothesis find programs without shrinking them, the same ones in every run."""
    before: Any = settings.get_current_profile_name()
    settings.register_profile("hasty", phases=[Phase.generate], derandomize=True, database=None, print_blob=False)
    settings.load_profile("hasty")
    yield
    settings.load_profile(before)
