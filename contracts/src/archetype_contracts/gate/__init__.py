"""What it means to be a ``CommandGate``: policy, quotas, queue, audit and worlds behind one door."""
