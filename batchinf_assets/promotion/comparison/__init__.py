"""Comparisons that need a paired bootstrap: what two revisions or models say of the same rows."""
