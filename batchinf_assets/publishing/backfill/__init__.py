"""Which windows to run again, why, and what that takes."""
