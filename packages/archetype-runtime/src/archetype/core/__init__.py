"""The published spelling of what ``archetype_core`` holds; new code imports from ``archetype``."""
