"""The published spelling of what watches a world; new code imports from ``archetype``."""
