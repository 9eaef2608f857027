"""Input collection: what landed, read once and checked, and frozen per window."""
