"""The task of a label that is one of several classes; its figures are defined in `multiclass`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.metrics import multiclass
from batchinf_assets.evaluation.metrics.bootstrap import LOG_LOSS_EPSILON, Floats
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.flips import Flips, class_flips
from batchinf_assets.evaluation.metrics.multiclass import ClassifiedCells, MulticlassMetrics
from batchinf_assets.evaluation.metrics.segments import SegmentMetrics, multiclass_by_segment
from batchinf_assets.evaluation.metrics.task import Column, Kept, Labels, Resampled
from batchinf_assets.scoring.said import score_matrix
from batchinf_assets.spec.evaluation import Metric


@dataclass(frozen=True, kw_only=True)
class MulticlassTask:
    """The scores are the probabilities of classes, the label one of these.

    Attributes:
        classes: In the order of the scores.
    """

    classes: tuple[str, ...]

    metrics = multiclass.FIGURES
    kept_table = "labelled_classes"
    kept_schema = multiclass.CELLS_SCHEMA
    kept_key = ("label", "predicted", "loss", "probable")

    def measure(
        self, labels: Column, scores: Column, *, intervals: bool = True
    ) -> MulticlassMetrics:
        """Measure n lists of probabilities against n classes."""
        return multiclass.multiclass_metrics(labels, self._by_class(scores), intervals=intervals)

    def by_segment(
        self, labels: Column, scores: Column, segments: pa.Table
    ) -> tuple[SegmentMetrics, ...]:
        """Measure the rows of each segment by themselves; empty without columns."""
        return tuple(multiclass_by_segment(labels, self._by_class(scores), segments))

    def restored(
        self,
        rows: int,
        counts: Mapping[str, int],  # noqa: ARG002 - every kind of label has its own
        figures: Mapping[str, float | None],
        intervals: Mapping[str, Interval | None],
    ) -> MulticlassMetrics:
        """Put metrics together again, without the confusion matrix."""
        return MulticlassMetrics(
            rows=rows,
            classes=self.classes,
            confusion=None,
            **{name: figures.get(name) for name in multiclass.FIGURES},
            intervals=intervals,
        )

    def keep(self, labels: Column, scores: Column) -> Kept:
        """Count the rows by label, prediction and log loss."""
        return Kept(rows=multiclass.classified_cells(labels, self._by_class(scores)))

    def pooled(self, sets: Sequence[Sequence[pa.Table]]) -> list[MulticlassMetrics]:
        """Measure the counts of several windows as if they were one, for several such sets."""
        return [multiclass.multiclass_of_cells(windows, self.classes) for windows in sets]

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:  # noqa: ARG002
        """Return nothing: a curve is of one probability."""
        return ()

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:  # noqa: ARG002
        """Return nothing: what is counted of scores is the largest probability alone."""
        return {}

    def labels_of(self, numbers: Floats) -> Labels:
        """Return the names of classes that were held as their places, (n,)."""
        return np.array(self.classes, dtype=np.str_)[numbers.astype(np.int64)]

    def flips(self, a: Floats, b: Floats) -> Flips:
        """Count the rows by their most probable class on either side."""
        return class_flips(a, b, self.classes)

    def paired(self, labels: Labels, scores: Floats) -> Resampled:
        """Return rows to draw resamples of, in the order given."""
        places = {name: place for place, name in enumerate(self.classes)}
        codes = np.array([places[str(name)] for name in labels], dtype=np.int64)
        likely = scores[np.arange(len(codes)), codes]
        epsilon = LOG_LOSS_EPSILON
        return ClassifiedCells(
            labels=codes,
            predicted=scores.argmax(axis=1),
            log_losses=-np.log(np.clip(likely, epsilon, 1 - epsilon)),
            classes=len(self.classes),
        )

    def why_undefined(
        self,
        metric: Metric,
        name: str,
        labels: Labels,  # noqa: ARG002 - probabilities alone leave a figure undefined
        scores: Floats,
    ) -> str:
        """Say why a metric of a model of this name is undefined on these rows."""
        missing = int(np.count_nonzero(np.isnan(scores).any(axis=1)))
        if missing or metric != "log_loss":
            return f"{missing} of the {name}'s {len(scores)} rows lack a probability"
        return f"the {name} has probabilities that do not add up to 1"

    def _by_class(self, scores: Column) -> pa.Table:
        matrix = score_matrix(scores).reshape(len(scores), len(self.classes))
        return pa.table([pa.array(column) for column in matrix.T], names=list(self.classes))
