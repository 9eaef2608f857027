"""How many windows of a run are worked on at the same time, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext

from batchinf_assets.errors import BatchinfError
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.workers import Hands, Here, Workers, prepare_workers
from batchinf_assets.project import Project
from batchinf_assets.publishing.backfill.at_once import WORTH_PROCESSES, at_once
from batchinf_assets.snapshots.landed_rows import landed_rows
from batchinf_assets.snapshots.source import landing_of
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


def hands_of(workplace: Workplace, pipeline: Pipeline, windows: Sequence[Window]) -> Hands:
    """Return who works on the windows of a run, the same in all its steps.

    Args:
        workplace: The run's: it ends with it.
        pipeline: The pipeline.
        windows: The run's.
    """

    def make() -> AbstractContextManager[Hands]:
        number = windows_at_once(workplace.project(), pipeline.spec, windows)
        if number == 1:
            return nullcontext(Here(workplace=workplace, pipeline=pipeline))
        return closing(Workers(workplace, pipeline, number))

    return workplace.until_the_end(f"hands of {pipeline.name}", make)


def prepare_hands(spec: PipelineSpec, windows: Sequence[Window]) -> None:
    """Begin to start who may work on the windows of a run, while something else is done.

    Args:
        spec: The pipeline.
        windows: The run's; how many rows each has is looked at only by the run.
    """
    if at_once(spec, [0] * len(windows)) > 1:
        prepare_workers()


def windows_at_once(project: Project, spec: PipelineSpec, windows: Sequence[Window]) -> int:
    """Return how many windows of a run to work on at the same time, by the rows that landed.

    Args:
        project: Where the windows landed.
        spec: The pipeline.
        windows: The run's.
    """
    nobody_knows = [None] * len(windows)
    if spec.backfill.workers is not None or len(windows) < WORTH_PROCESSES:
        return at_once(spec, nobody_knows)
    landing = landing_of(project)
    try:
        counts = [landed_rows(landing.path(spec.source.files, window)) for window in windows]
    except BatchinfError:  # each window says for itself what the store refuses
        return at_once(spec, nobody_knows)
    return at_once(spec, counts)
