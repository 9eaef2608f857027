"""Pipelines: one folder each, with its `defs.yaml`."""
