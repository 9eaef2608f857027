"""What happened to every attempt at a window, and what it took: the ledger and its measurements."""
