"""The routes of the server, each one call of the gate."""
