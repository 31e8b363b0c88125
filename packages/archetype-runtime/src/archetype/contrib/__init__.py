"""Published import paths of observers. New code imports from ``archetype``."""
