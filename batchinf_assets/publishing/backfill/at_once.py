"""How many windows of a run are worked on at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from batchinf_assets.cores import usable_cores
from batchinf_assets.spec.pipeline import PipelineSpec

WORTH_PROCESSES = 8
"""Windows from which processes save more than it takes to start them."""


def at_once(spec: PipelineSpec, rows: Sequence[int | None]) -> int:
    """Return how many windows of a run to work on at the same time.

    What is declared counts. Otherwise it is one per core, where each window fits into a shard: a
    larger one keeps all cores busy by itself, and as many of them as there are cores may need more
    memory than there is. So may files of which none tells its rows.

    Args:
        spec: The pipeline.
        rows: Of each window of the run; None where its file does not tell.
    """
    if spec.backfill.workers is not None:
        return min(spec.backfill.workers, len(rows))
    known = [count for count in rows if count is not None]
    if len(rows) < WORTH_PROCESSES or not known or max(known) > spec.shard_rows:
        return 1
    return min(usable_cores(), len(rows))
