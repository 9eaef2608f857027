"""Going back to an earlier revision, or to none."""
