"""The published import path of ``otel_hooks``, which emits OpenTelemetry for Logfire and others; no vendor is imported."""

from archetype_gate import otel_hooks as logfire_hooks

__all__ = ["logfire_hooks"]
