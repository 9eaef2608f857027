"""The manifest: everything that decided a revision of a window, in one document."""
