"""What a model is for, and so how its predictions are measured: asked here, and nowhere else.

What is declared of it is in `prediction_spec`. A figure is defined in `evaluation.binary`, its
shape in `evaluation.figures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation import multiclass, regression
from batchinf_assets.evaluation.binary import (
    FIGURES,
    BinaryMetrics,
    binary_metrics,
    binary_of_counts,
)
from batchinf_assets.evaluation.bootstrap import LOG_LOSS_EPSILON, Floats, ScoredLabels
from batchinf_assets.evaluation.calibration import (
    CalibrationBin,
    calibration_curve,
    prediction_curve,
)
from batchinf_assets.evaluation.estimate import estimated_metrics
from batchinf_assets.evaluation.figures import Interval, Metrics
from batchinf_assets.evaluation.multiclass import ClassifiedCells, MulticlassMetrics
from batchinf_assets.evaluation.regression import RegressionMetrics
from batchinf_assets.evaluation.score_counts import SCHEMA, counted_scores, pooled_scores
from batchinf_assets.evaluation.segments import (
    SegmentMetrics,
    binary_by_segment,
    multiclass_by_segment,
    regression_by_segment,
)
from batchinf_assets.evaluation_spec import Loss
from batchinf_assets.scoring.said import score_matrix
from batchinf_assets.spec import Metric, PipelineSpec

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

    def pooled(self, windows: Sequence[pa.Table]) -> Metrics:
        """Measure what was kept of several windows as if it were one."""
        ...

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:
        """Return predicted against realised; empty where scores are no probabilities."""
        ...

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:
        """Estimate metrics from nothing but scores; empty where nothing can be estimated."""
        ...

    def paired(self, labels: Labels, scores: Floats) -> Resampled:
        """Return rows to draw resamples of, in the order given."""
        ...

    def why_undefined(self, metric: Metric, name: str, labels: Labels, scores: Floats) -> str:
        """Say why a metric of a model of this name is undefined on these rows."""
        ...


def task_of(spec: PipelineSpec) -> Task:
    """Return what a pipeline's predictions are measured by."""
    match spec.prediction.kind:
        case "binary":
            return BinaryTask(decision=spec.golden.decision)
        case "regression":
            return RegressionTask(quantile=spec.prediction.quantile)
        case "multiclass":
            return MulticlassTask(classes=spec.prediction.classes)


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

    def pooled(self, windows: Sequence[pa.Table]) -> BinaryMetrics:
        """Measure the counts of several windows as if they were one."""
        counts = pooled_scores(windows, decision=self.decision)
        return binary_of_counts(counts, decision=self.decision)

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:
        """Return the calibration curve; empty where a score is no probability."""
        return calibration_curve(kept.rows)

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:
        """Estimate what calibrated scores promise."""
        return estimated_metrics(histogram, decision=self.decision)

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

    def pooled(self, windows: Sequence[pa.Table]) -> RegressionMetrics:
        """Measure the sums of several windows as if they were one."""
        return regression.regression_of_blocks(windows, quantile=self.quantile)

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:
        """Return predicted against realised numbers, by deciles of the predictions."""
        return kept.curve

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:  # noqa: ARG002
        """Return nothing: how far off a number is cannot be told from it."""
        return {}

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

    def pooled(self, windows: Sequence[pa.Table]) -> MulticlassMetrics:
        """Measure the counts of several windows as if they were one."""
        return multiclass.multiclass_of_cells(windows, self.classes)

    def curve(self, kept: Kept) -> tuple[CalibrationBin, ...]:  # noqa: ARG002
        """Return nothing: a curve is of one probability."""
        return ()

    def estimated(self, histogram: Sequence[int]) -> dict[str, float | None]:  # noqa: ARG002
        """Return nothing: what is counted of scores is the largest probability alone."""
        return {}

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
