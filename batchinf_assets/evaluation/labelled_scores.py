"""What is kept of a window's labelled predictions, so that windows are measured together.

A metric of several windows is not a mean of theirs: precision, AUROC and average precision need the
scores. Reading predictions and outcomes of 28 windows for each one that is measured would cost 28
times its own work; what is kept here is read instead, and each file once per process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from batchinf_assets.evaluation.performance import SCORE, Performance
from batchinf_assets.features.labels import LABEL
from batchinf_assets.lake.digest import content_digest, json_sha256
from batchinf_assets.lake.files import read_described, read_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.lake.query import query, sql_beside
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.project import Project
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

TABLE = "labelled_scores"
SCHEMA = pa.schema(
    [
        pa.field("score", pa.float64()),
        pa.field("positives", pa.int64(), nullable=False),
        pa.field("negatives", pa.int64(), nullable=False),
    ]
)

MOST_SCORES = 65_536
"""Different scores that are kept as they are. More are put together: a row's score then moves by
less than 1 / 65,536, and so do the metrics made of it."""

COUNTED_SQL = f"""
    SELECT
        {SCORE} AS score,
        count(*) FILTER (WHERE {LABEL}) AS positives,
        count(*) FILTER (WHERE NOT {LABEL}) AS negatives
    FROM labelled
    GROUP BY 1
    ORDER BY 1
"""  # noqa: S608 - the names are constants
COARSENED_SQL = sql_beside(__file__, "sql/coarsened.sql")


class MeasuredWindow(BaseModel):
    """What a file of the table says of itself.

    Attributes:
        revision: The published revision that was measured.
        outcomes: SHA-256 of the outcomes that it was measured with.
        rows: Its predictions.
        labelled: Those with a label.
        figures: The window's own metrics; None is undefined.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: str
    outcomes: str
    rows: int
    labelled: int
    figures: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class LabelledScores:
    """A measured window.

    Attributes:
        window: Which.
        measured: Its own figures.
        counts: Labelled rows by score: rows of `SCHEMA`.
    """

    window: Window
    measured: MeasuredWindow
    counts: pa.Table


def labelled_scores_table(project: Project, spec: PipelineSpec) -> WindowTable:
    """Return the table: per window the labelled rows by score."""
    return WindowTable(project.lake / spec.name / TABLE, SCHEMA)


def counted_scores(labelled: pa.Table, *, decision: float) -> pa.Table:
    """Count labelled rows by score.

    Args:
        labelled: Columns `label` and `_score`.
        decision: The score that counts as positive; nothing moves across it.

    Returns:
        Rows of `SCHEMA`, by score.
    """
    return _bounded(query(COUNTED_SQL, {"labelled": labelled}), decision)


def pooled_scores(windows: Iterable[LabelledScores], *, decision: float) -> pa.Table:
    """Put the labelled rows of several windows together: rows of `SCHEMA`, by score."""
    counts = pa.concat_tables([SCHEMA.empty_table(), *(window.counts for window in windows)])
    summed = counts.group_by("score").aggregate([("positives", "sum"), ("negatives", "sum")])
    return _bounded(summed.rename_columns(SCHEMA.names).sort_by("score"), decision)


def keep_labelled_scores(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    labelled: pa.Table,
    performance: Performance,
    *,
    revision: str,
    outcomes: str,
) -> LabelledScores:
    """Keep what a measured window contributes; a no-op where that is kept already.

    Raises:
        LostRace: Another writer replaced the same window meanwhile.
    """
    assert performance.metrics is not None
    counts = counted_scores(labelled, decision=spec.golden.decision)
    measured = MeasuredWindow(
        revision=revision,
        outcomes=outcomes,
        rows=performance.rows,
        labelled=performance.labelled,
        figures=performance.metrics.figures,
    )
    footer = measured.model_dump(mode="json")
    name = json_sha256([content_digest(counts, ("score",)), footer])[:16]
    labelled_scores_table(project, spec).keep(window, name, counts, footer)
    return LabelledScores(window=window, measured=measured, counts=counts)


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
    return LabelledScores(window=window, measured=measured, counts=read_parquet(path))


def _bounded(counts: pa.Table, decision: float) -> pa.Table:
    if counts.num_rows > MOST_SCORES:
        parameters: dict[str, object] = {"cells": MOST_SCORES, "decision": decision}
        counts = query(COARSENED_SQL, {"counted": counts}, parameters)
    return counts.cast(SCHEMA)
