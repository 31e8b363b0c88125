"""The kernel contract: how every ``Kernel`` folds a tick's mutations into rows."""
