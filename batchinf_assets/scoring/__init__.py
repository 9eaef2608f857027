"""Scoring: the model's probability for every feature row of a window, shard by shard."""
