"""The pytest plugin: guards the clauses at collection, and writes the conformance report."""
