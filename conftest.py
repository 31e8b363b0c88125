"""Hypothesis and Daft for every package, in the workspace and where a package is tested alone."""

import os

from hypothesis import HealthCheck, settings

# Daft sends a usage report with every query, from a thread of its own; tests make thousands.
os.environ.setdefault("DO_NOT_TRACK", "true")

# Timings are no part of a test: engines start slowly once, and machines are shared.
settings.register_profile("here", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
# CI's verdict belongs to the commit, so it draws the same examples every time.
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "here")
