"""Turns Daft's usage reports off, unless the user has decided otherwise.

Daft reports its usage by default, and reads this variable when it is imported. To get the reports, set ``DO_NOT_TRACK`` to
another value before importing ``archetype``.
"""

from __future__ import annotations

import os

DO_NOT_TRACK = os.environ.setdefault("DO_NOT_TRACK", "true")
"""The value of the environment variable when ``archetype`` was imported: the user's, or ``true``."""
