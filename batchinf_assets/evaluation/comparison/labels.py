"""The labels of a window by key, looked up for the next rows of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.errors import (
    FeatureSqlFailed,
    LandedFileMissing,
    LandedFileUnreadable,
    WindowRefused,
)
from batchinf_assets.features.labels import LABEL, label_rows, landed_outcomes
from batchinf_assets.lake.digest import sort_by
from batchinf_assets.lake.matching import match_rows, rows_within
from batchinf_assets.lake.order import KeySpan
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import Project
from batchinf_assets.spec.contract import ColumnSpec, ColumnType
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

Labels = npt.NDArray[np.float64]

UNKNOWN = np.nan
"""In the place of a label that nobody knows; one that is true or false is 1 or 0, a class its place
among those declared."""

LabelState = Literal["landed", "no outcomes yet", "no outcomes declared", "outcomes unreadable"]


@dataclass(frozen=True, kw_only=True)
class WindowLabels:
    """What outcomes say of a window's rows.

    Attributes:
        state: Whether there are any, and why not.
        problem: What is wrong with the outcomes that landed; None where nothing is.
        rows: Key and `label` of the rows that have one, in key order; a class as its place.
        key: The key columns.
    """

    state: LabelState
    rows: pa.Table
    key: tuple[str, ...]
    problem: str | None = None

    def of(self, rows: pa.Table) -> Labels:
        """Return the labels of rows that ascend by key, `UNKNOWN` where there is none, (rows,)."""
        labels = np.full(rows.num_rows, UNKNOWN)
        if not rows.num_rows or not self.rows.num_rows:
            return labels
        keys = rows.select(list(self.key))
        start, end = rows_within(self.rows, KeySpan.of(keys), self.key)
        near = self.rows.slice(start, end - start)
        known, found = match_rows(near.select(list(self.key)), keys, self.key)
        labels[found] = np.asarray(near.column(LABEL).to_numpy())[known]
        return labels


def read_labels(project: Project, spec: PipelineSpec, window: Window) -> WindowLabels:
    """Read the outcomes of a window; that there are none, or that they are damaged, is a state."""
    if spec.outcomes is None:
        return _without(spec, "no outcomes declared")
    try:
        _, outcomes = landed_outcomes(project, spec, window)
        labels = label_rows(spec, outcomes)
    except LandedFileMissing:
        return _without(spec, "no outcomes yet")
    except (LandedFileUnreadable, WindowRefused, FeatureSqlFailed) as error:
        return _without(spec, "outcomes unreadable", error.message)
    return WindowLabels(state="landed", rows=_in_key_order(spec, labels), key=spec.source.key)


def joint_state(states: Sequence[LabelState]) -> LabelState:
    """Return what is known over several windows: `landed` as soon as one has outcomes."""
    return "landed" if "landed" in states or not states else states[0]


def _in_key_order(spec: PipelineSpec, labels: pa.Table) -> pa.Table:
    key = list(spec.source.key)
    known = labels.select([*key, LABEL]).drop_null()
    if spec.prediction.classes:
        names = pa.array(spec.prediction.classes, pa.string())
        places = pc.index_in(known.column(LABEL), value_set=names)
        known = known.set_column(known.num_columns - 1, LABEL, places)
    return sort_by(known.cast(_schema(spec)), key)


def _without(spec: PipelineSpec, state: LabelState, problem: str | None = None) -> WindowLabels:
    return WindowLabels(
        state=state, rows=_schema(spec).empty_table(), key=spec.source.key, problem=problem
    )


def _schema(spec: PipelineSpec) -> pa.Schema:
    kind: ColumnType = "float64" if spec.prediction.classes else spec.prediction.of.label
    label = ColumnSpec(type=kind, nullable=True)
    return arrow_schema({**spec.key_columns, LABEL: label})
