"""What a kind of prediction is measured by: the protocol that each kind's task follows.

Which task a pipeline has is asked in `tasks`. A figure's shape is defined in `figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.metrics.bootstrap import Floats
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.metrics.figures import Interval, Metrics
from batchinf_assets.evaluation.metrics.flips import Flips
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics
from batchinf_assets.spec.evaluation import Metric

Column = pa.Array | pa.ChunkedArray
Labels = npt.NDArray[np.bool_] | Floats | npt.NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What stays of a window's labelled predictions, so that windows are measured together.

    Attributes:
        rows: Rows of the task's `kept_schema`.
        curve: Predicted against realised, where the rows do not tell it.
    """

    rows: pa.Table
    curve: tuple[CalibrationBin, ...] = ()


class Resampled(Protocol):
    """Labelled predictions that can be measured on many resamples at once."""

    def resampled(self, metric: Metric, counts: Floats) -> Floats:
        """Measure resamples, (resamples, rows) to (resamples,); NaN where it is undefined."""
        ...


class Task(Protocol):
    """What the predictions of one kind are measured by."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The names of its figures, in the order in which they are shown."""
        ...

    @property
    def kept_table(self) -> str:
        """The table in which it keeps something of every measured window."""
        ...

    @property
    def kept_schema(self) -> pa.Schema:
        """Of what is kept of a measured window."""
        ...

    @property
    def kept_key(self) -> tuple[str, ...]:
        """The columns that tell one row of these from another."""
        ...

    def measure(self, labels: Column, scores: Column, *, intervals: bool = True) -> Metrics:
        """Measure n predictions against n labels."""
        ...

    def by_segment(
        self, labels: Column, scores: Column, segments: pa.Table
    ) -> tuple[SegmentMetrics, ...]:
        """Measure the rows of each segment by themselves; empty without columns."""
        ...

    def restored(
        self,
        rows: int,
        counts: Mapping[str, int],
        figures: Mapping[str, float | None],
        intervals: Mapping[str, Interval | None],
    ) -> Metrics:
        """Put metrics together again from what is on record of them."""
        ...

    def keep(self, labels: Column, scores: Column) -> Kept:
        """Return what to keep of a window's labelled predictions."""
        ...

    def pooled(self, sets: Sequence[Sequence[pa.Table]]) -> Sequence[Metrics]:
        """Measure what was kept of several windows as if it were one, for several such sets."""
        ...

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:
        """Return predicted against realised; empty where scores are no probabilities."""
        ...

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:
        """Estimate metrics from nothing but scores; empty where nothing can be estimated."""
        ...

    def labels_of(self, numbers: Floats) -> Labels:
        """Return labels that were held as numbers, (n,): true is 1, a class is its place."""
        ...

    def flips(self, a: Floats, b: Floats) -> Flips | None:
        """Count the rows whose label is another by other scores; None where there are no labels."""
        ...

    def paired(self, labels: Labels, scores: Floats) -> Resampled:
        """Return rows to draw resamples of, in the order given."""
        ...

    def why_undefined(self, metric: Metric, name: str, labels: Labels, scores: Floats) -> str:
        """Say why a metric of a model of this name is undefined on these rows."""
        ...
