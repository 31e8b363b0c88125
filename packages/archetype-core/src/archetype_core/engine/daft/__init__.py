"""Everything that depends on Daft's internals: expressions evaluated without its runner, and guarded, lazy frames."""
