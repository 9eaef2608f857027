"""The golden set: where it comes from, and what a model shows on it."""
