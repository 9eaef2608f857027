"""How many windows of a run are worked on at the same time, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext

from batchinf_assets.errors import BatchinfError
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.workers import Hands, Here, Workers
from batchinf_assets.project import Project
from batchinf_assets.scoring.fast import usable_cores
from batchinf_assets.snapshots.landed_rows import landed_rows
from batchinf_assets.snapshots.source import landing_of
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

WORTH_PROCESSES = 8
"""Windows from which processes save more than it takes to start them."""


def hands_of(workplace: Workplace, pipeline: Pipeline, windows: Sequence[Window]) -> Hands:
    """Return who works on the windows of a run, the same in all its steps.

    Args:
        workplace: The run's: it ends with it.
        pipeline: The pipeline.
        windows: The run's.
    """

    def make() -> AbstractContextManager[Hands]:
        at_once = windows_at_once(workplace.project(), pipeline.spec, windows)
        if at_once == 1:
            return nullcontext(Here(workplace=workplace, pipeline=pipeline))
        return closing(Workers(workplace, pipeline, at_once))

    return workplace.until_the_end(f"hands of {pipeline.name}", make)


def windows_at_once(project: Project, spec: PipelineSpec, windows: Sequence[Window]) -> int:
    """Return how many windows of a run to work on at the same time.

    What is declared counts. Otherwise it is one per core, where each window fits into a shard: a
    larger one keeps all cores busy by itself, and as many of them as there are cores may need more
    memory than there is. So may files that do not tell their rows.

    Args:
        project: Where the windows landed.
        spec: The pipeline.
        windows: The run's.
    """
    if spec.backfill.workers is not None:
        return min(spec.backfill.workers, len(windows))
    if len(windows) < WORTH_PROCESSES or not _are_small(project, spec, windows):
        return 1
    return min(usable_cores(), len(windows))


def _are_small(project: Project, spec: PipelineSpec, windows: Sequence[Window]) -> bool:
    landing = landing_of(project)
    try:
        counts = [landed_rows(landing.path(spec.source.files, window)) for window in windows]
    except BatchinfError:  # each window says for itself what the store refuses
        return False
    known = [count for count in counts if count is not None]
    return bool(known) and max(known) <= spec.shard_rows
