"""The store contract: what every ``Store`` must do, clause by clause, and a state machine over all of it."""
