"""What is kept of a window's labelled predictions, so that windows are measured together.

A metric of several windows is not a mean of theirs: precision, AUROC and average precision need the
scores. Reading predictions and outcomes of 28 windows for each one that is measured would cost 28
times its own work; what is kept here is read instead, and each file once per process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.metrics.task import Kept
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.evaluation.realised.performance import SCORE, Performance
from batchinf_assets.features.labels import LABEL
from batchinf_assets.lake.digest import content_digest, json_sha256
from batchinf_assets.lake.files import read_described, read_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.project import Project
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window


class MeasuredWindow(BaseModel):
    """What a file of the table says of itself.

    Attributes:
        revision: The published revision that was measured.
        outcomes: SHA-256 of the outcomes that it was measured with.
        rows: Its predictions.
        labelled: Those with a label.
        figures: The window's own metrics; None is undefined.
        curve: Predicted against realised, where the rows do not tell it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: str
    outcomes: str
    rows: int
    labelled: int
    figures: dict[str, float | None]
    curve: tuple[CalibrationBin, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelledScores:
    """A measured window.

    Attributes:
        window: Which.
        measured: Its own figures.
        kept: What stays of its labelled rows.
    """

    window: Window
    measured: MeasuredWindow
    kept: Kept


def labelled_scores_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the table: per window what its task keeps of labelled rows."""
    task = task_of(spec)
    return WindowTable(project.lake / spec.name / task.kept_table, task.kept_schema)


def keep_labelled_scores(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    labelled: pa.Table,
    performance: Performance,
    *,
    revision: str,
    outcomes: str,
    token: int = 1,
) -> LabelledScores:
    """Keep what a measured window contributes; a no-op where that is kept already.

    Raises:
        Fenced: What a later attempt published was measured already.
        LostRace: Another writer replaced the same window meanwhile.
    """
    assert performance.metrics is not None
    task = task_of(spec)
    kept = task.keep(labelled.column(LABEL), labelled.column(SCORE))
    measured = MeasuredWindow(
        revision=revision,
        outcomes=outcomes,
        rows=performance.rows,
        labelled=performance.labelled,
        figures=performance.metrics.figures,
        curve=kept.curve,
    )
    footer = measured.model_dump(mode="json", exclude_defaults=True)
    name = json_sha256([content_digest(kept.rows, task.kept_key), footer])[:16]
    labelled_scores_table(project, spec).keep(window, name, kept.rows, footer, token=token)
    return LabelledScores(window=window, measured=measured, kept=kept)


def read_labelled_scores(
    project: Project, spec: PipelineSpec, windows: Sequence[Window]
) -> list[LabelledScores]:
    """Read the measured ones of some windows, in their order.

    Raises:
        ManifestInvalid: The table's log or a file is damaged.
    """
    files = labelled_scores_table(project, spec).files()
    return [_read(window, path) for window in windows for path in files.get(window.key, ())]


@lru_cache(maxsize=32)
def _read(window: Window, path: Place) -> LabelledScores:
    """Read a file once per process: its name is made of what it holds."""
    measured = read_described(path, MeasuredWindow)
    kept = Kept(rows=read_parquet(path), curve=measured.curve)
    return LabelledScores(window=window, measured=measured, kept=kept)
