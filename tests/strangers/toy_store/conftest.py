"""Keeps this store out of the workspace's own runs: it is tested where only wheels are installed."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("toy_archetype_store") else ["*"]
