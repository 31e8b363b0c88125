"""Archetype's engine and the ports that its adapters implement."""
