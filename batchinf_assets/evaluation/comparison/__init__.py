"""Two revisions of a window, or two models over windows: how they differ, and why."""
