"""Runs that an operator starts, here or through the daemon, and what they refused."""
