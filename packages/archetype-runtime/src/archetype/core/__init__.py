"""Published import paths of core. New code imports from ``archetype``."""
