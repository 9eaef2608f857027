"""What the lake needs no more."""
