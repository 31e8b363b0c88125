"""What touches Daft's insides: expressions evaluated without its runner, guarded plans, and frames built column by column."""
