"""An example of a third-party store, written against the public API of ``archetype_core`` alone."""

from toy_archetype_store.store import ToyStore, open_toy

__all__ = ["ToyStore", "open_toy"]
