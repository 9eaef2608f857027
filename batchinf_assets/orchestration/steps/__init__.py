"""How one step works over the windows of a run, and what Dagster is told of each."""
