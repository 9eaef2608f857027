"""The pools that steps belong to: a limit set on one holds for every run, whoever launched it.

Limits are kept in Dagster's storage and change without a restart; `docs/deployment.md` says how.
"""

STORAGE = "storage"
"""Steps that read what landed, or commit; the pool is shared by all pipelines."""

AT_STORAGE = frozenset({"snapshot", "published", "performance"})


def pool_of(pipeline: str, asset: str) -> str:
    """Return the pool of an asset's step: `storage`, or the pipeline's own, named like it."""
    return STORAGE if asset in AT_STORAGE else pipeline
