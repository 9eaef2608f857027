"""The task of a label that is a number; its figures are defined in `regression`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.metrics import regression
from batchinf_assets.evaluation.metrics.bootstrap import Floats
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin, prediction_curve
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.regression import RegressionMetrics
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics, regression_by_segment
from batchinf_assets.evaluation.metrics.task import Column, Kept, Labels, Resampled
from batchinf_assets.spec.evaluation import Metric


@dataclass(frozen=True, kw_only=True)
class RegressionTask:
    """The score is a predicted number, the label the number that came.

    Attributes:
        quantile: Of the quantile loss.
    """

    quantile: float

    metrics = regression.FIGURES
    kept_table = "labelled_residuals"
    kept_schema = regression.BLOCKS_SCHEMA
    kept_key = ("block",)

    def measure(
        self, labels: Column, scores: Column, *, intervals: bool = True
    ) -> RegressionMetrics:
        """Measure n predicted numbers against n numbers."""
        return regression.regression_metrics(
            labels, scores, quantile=self.quantile, intervals=intervals
        )

    def by_segment(
        self, labels: Column, scores: Column, segments: pa.Table
    ) -> tuple[SegmentMetrics, ...]:
        """Measure the rows of each segment by themselves; empty without columns."""
        return tuple(regression_by_segment(labels, scores, segments, quantile=self.quantile))

    def restored(
        self,
        rows: int,
        counts: Mapping[str, int],  # noqa: ARG002 - nothing is counted beside the rows
        figures: Mapping[str, float | None],
        intervals: Mapping[str, Interval | None],
    ) -> RegressionMetrics:
        """Put metrics together again from what is on record of them."""
        return RegressionMetrics(
            rows=rows,
            quantile=self.quantile,
            **{name: figures.get(name) for name in regression.FIGURES},
            intervals=intervals,
        )

    def keep(self, labels: Column, scores: Column) -> Kept:
        """Sum the rows up in blocks, and put the predictions into bins."""
        numbers = (column.cast(pa.float64()).to_numpy() for column in (labels, scores))
        return Kept(
            rows=regression.residual_blocks(labels, scores), curve=prediction_curve(*numbers)
        )

    def pooled(self, sets: Sequence[Sequence[pa.Table]]) -> list[RegressionMetrics]:
        """Measure the sums of several windows as if they were one, for several such sets."""
        return [regression.regression_of_blocks(each, quantile=self.quantile) for each in sets]

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:
        """Return predicted against realised numbers, by deciles of the predictions."""
        return kept.curve

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:  # noqa: ARG002
        """Return nothing: how far off a number is cannot be told from it."""
        return {}

    def labels_of(self, numbers: Floats) -> Labels:
        """Return the numbers themselves, (n,)."""
        return numbers

    def flips(self, a: Floats, b: Floats) -> None:  # noqa: ARG002
        """Return None: a number has no label to flip."""
        return

    def paired(self, labels: Labels, scores: Floats) -> Resampled:
        """Return rows to draw resamples of, in the order given."""
        numbers = labels.astype(np.float64)
        return regression.ResidualSums.of(numbers, scores, quantile=self.quantile)

    def why_undefined(self, metric: Metric, name: str, labels: Labels, scores: Floats) -> str:
        """Say why a metric of a model of this name is undefined on these rows."""
        missing = int(np.count_nonzero(~np.isfinite(scores)))
        if missing:
            return f"{missing} of the {name}'s {len(scores)} scores are no finite numbers"
        if metric == "r_squared" and np.isfinite(labels).all():
            return "all labels are equal"
        return "labels are no finite numbers, or too large to be squared"
