"""What a ``CommandGate`` promises: policy, quotas, queue, audit and worlds."""
