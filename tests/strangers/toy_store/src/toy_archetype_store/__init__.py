"""A toy store, written against the published ports alone."""

from toy_archetype_store.store import ToyStore, open_toy

__all__ = ["ToyStore", "open_toy"]
