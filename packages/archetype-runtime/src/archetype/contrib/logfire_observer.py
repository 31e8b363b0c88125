"""The published spelling of ``otel_hooks``. It speaks OpenTelemetry, which Logfire and others take in; no vendor is imported."""

from archetype_gate import otel_hooks as logfire_hooks

__all__ = ["logfire_hooks"]
