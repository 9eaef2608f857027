"""The task of a label that is true or false; its figures are defined in `binary`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.metrics.binary import (
    FIGURES,
    BinaryMetrics,
    binary_metrics,
    binary_of_counts,
)
from batchinf_assets.evaluation.metrics.bootstrap import Floats, ScoredLabels
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin, calibration_curve
from batchinf_assets.evaluation.metrics.estimate import estimated_metrics
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.flips import Flips, decision_flips
from batchinf_assets.evaluation.metrics.score_counts import SCHEMA, counted_scores, pooled_scores
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics, binary_by_segment
from batchinf_assets.evaluation.metrics.task import Column, Kept, Labels, Resampled
from batchinf_assets.spec.evaluation import Loss, Metric


@dataclass(frozen=True, kw_only=True)
class BinaryTask:
    """The score is the probability of a label that is true or false.

    Attributes:
        decision: The score that counts as positive, itself included.
    """

    decision: float

    metrics = FIGURES
    kept_table = "labelled_scores"
    kept_schema = SCHEMA
    kept_key = ("score",)

    def measure(self, labels: Column, scores: Column, *, intervals: bool = True) -> BinaryMetrics:
        """Measure n probabilities against n booleans."""
        return binary_metrics(labels, scores, decision=self.decision, intervals=intervals)

    def by_segment(
        self, labels: Column, scores: Column, segments: pa.Table
    ) -> tuple[SegmentMetrics, ...]:
        """Measure the rows of each segment by themselves; empty without columns."""
        return tuple(binary_by_segment(labels, scores, segments, decision=self.decision))

    def restored(
        self,
        rows: int,
        counts: Mapping[str, int],
        figures: Mapping[str, float | None],
        intervals: Mapping[str, Interval | None],
    ) -> BinaryMetrics:
        """Put metrics together again from what is on record of them."""
        return BinaryMetrics(
            rows=rows,
            positives=counts.get("positives", 0),
            **{name: figures.get(name) for name in FIGURES},
            intervals=intervals,
        )

    def keep(self, labels: Column, scores: Column) -> Kept:
        """Count the rows by score."""
        return Kept(rows=counted_scores(labels, scores, decision=self.decision))

    def pooled(self, sets: Sequence[Sequence[pa.Table]]) -> list[BinaryMetrics]:
        """Measure the counts of several windows as if they were one, for several such sets."""
        counts = [pooled_scores(windows, decision=self.decision) for windows in sets]
        return binary_of_counts(counts, decision=self.decision)

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:
        """Return the calibration curve; empty where a score is no probability."""
        return calibration_curve(kept.rows)

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:
        """Estimate what calibrated scores promise."""
        return estimated_metrics(histogram, decision=self.decision)

    def labels_of(self, numbers: Floats) -> Labels:
        """Return labels that were held as numbers, (n,)."""
        return numbers == 1

    def flips(self, a: Floats, b: Floats) -> Flips:
        """Count the rows that cross the decision."""
        return decision_flips(a, b, self.decision)

    def paired(self, labels: Labels, scores: Floats) -> Resampled:
        """Return rows to draw resamples of, in the order given.

        Raises:
            ValueError: The labels are no booleans.
        """
        if labels.dtype != np.bool_:
            raise ValueError(f"labels must be booleans, not {labels.dtype}")
        return ScoredLabels(labels=labels.astype(np.bool_), scores=scores, decision=self.decision)

    def why_undefined(self, metric: Metric, name: str, labels: Labels, scores: Floats) -> str:
        """Say why a metric of a model of this name is undefined on these rows."""
        missing = int(np.count_nonzero(np.isnan(scores)))
        if missing:
            return f"{missing} of the {name}'s {len(scores)} scores are NaN"
        if metric in get_args(Loss):
            return f"the {name} has scores outside 0 to 1"
        unsaid = f"the {name} has no score of at least {self.decision:g}"
        if metric == "precision":
            return unsaid
        if metric == "f1":
            return f"all labels are false, and {unsaid}"
        return "all labels are true" if labels.all() else "all labels are false"
