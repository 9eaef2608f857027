"""Batch inference as Dagster assets: snapshots, features, predictions and evaluation per window."""

__version__ = "0.1.0"
