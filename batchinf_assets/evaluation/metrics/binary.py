"""Quality of the scores of a binary label: nine figures, each with its interval.

`metrics.segments` measures the same by segment, `metrics.bootstrap` draws the resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.evaluation.metrics.bootstrap import (
    CALIBRATION_BINS,
    LOG_LOSS_EPSILON,
    Floats,
    resampled_figures,
)
from batchinf_assets.evaluation.metrics.figures import Interval, Metrics
from batchinf_assets.evaluation.metrics.intervals import (
    auroc_interval,
    bootstrap_interval,
    strayed_interval,
    wilson_interval,
)
from batchinf_assets.evaluation.metrics.score_cells import ScoreCells, score_cells
from batchinf_assets.evaluation.statements import statement
from batchinf_assets.lake.query import query, query_records
from batchinf_assets.spec.evaluation import Loss, Quality

BY_SCORE_SQL = statement("by_score.sql")
BINARY_SQL = statement("binary.sql")

FIGURES: tuple[Quality | Loss, ...] = (
    "precision",
    "recall",
    "f1",
    "accuracy",
    "auroc",
    "average_precision",
    "log_loss",
    "brier",
    "calibration_error",
)

BOOTSTRAPPED: tuple[Quality | Loss, ...] = (
    "f1",
    "average_precision",
    "log_loss",
    "brier",
    "calibration_error",
)

LEAST_OF_A_CLASS = 10
"""Fewer positives or negatives say nothing of how the classes are told apart: the intervals of
`BETWEEN_CLASSES` are too narrow then."""

BETWEEN_CLASSES: tuple[Quality | Loss, ...] = ("auroc", "average_precision", "f1")

HIGHEST: Mapping[str, float] = {"log_loss": math.inf}
"""What a figure can be at most, where that is not 1."""

Column = pa.Array | pa.ChunkedArray


@dataclass(frozen=True, kw_only=True)
class BinaryMetrics(Metrics):
    """Quality of the scores of a binary label; an undefined figure is None, never 0.

    Attributes:
        positives: Rows whose label is true.
        precision: Share of positives among rows with score >= decision; None if there are none.
        recall: Share of positives with score >= decision; None without positives.
        f1: Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); None if there is
            neither a positive nor a score >= decision.
        accuracy: Share of rows on their label's side of the decision; None without rows.
        auroc: Chance that a positive scores above a negative, ties half; None with one class only.
        average_precision: Sum over the distinct scores, from above, of the recall that each adds
            times the precision there, without interpolation; None without positives.
        log_loss: Mean negative log likelihood in nats; None if a score is outside 0 to 1.
        brier: Mean squared distance of score and label; None if a score is outside 0 to 1.
        calibration_error: Expected calibration error: the mean, weighted by rows, of the distance
            between mean score and share of positives over `CALIBRATION_BINS` bins of equal width,
            lower ends included; None if a score is outside 0 to 1.
    """

    names: ClassVar[tuple[str, ...]] = FIGURES

    positives: int
    precision: float | None
    recall: float | None
    f1: float | None
    accuracy: float | None
    auroc: float | None
    average_precision: float | None
    log_loss: float | None
    brier: float | None
    calibration_error: float | None

    @property
    def counts(self) -> dict[str, int]:
        """Positives among the rows."""
        return {"positives": self.positives}

    def tells(self, name: str) -> bool:
        """Whether there are enough rows of both classes for a figure that is about both."""
        needs_both = name in BETWEEN_CLASSES or self.figures[name] is None
        rarer = min(self.positives, self.rows - self.positives)
        return not needs_both or rarer >= LEAST_OF_A_CLASS


def binary_metrics(
    labels: Column, scores: Column, *, decision: float, intervals: bool = True
) -> BinaryMetrics:
    """Measure scores against labels, equal to scikit-learn's metrics to 1e-9.

    AUROC is the Mann-Whitney statistic with average ranks for ties (Hanley and McNeil 1982), the
    Brier score is Brier's (1950) for one class. A missing or NaN label or score leaves every figure
    undefined. The same rows in any order give the same bits.

    Precision, recall and accuracy have the interval of Wilson, AUROC that of DeLong, the others
    percentiles of 1,000 resamples with a fixed seed, from two rows on; that of the calibration
    error, which noise makes larger, reaches as far as resamples stray. Up to `MOST_CELLS` distinct
    scores these draw from the rows themselves, above from `SCORE_GROUPS` groups of neighbouring
    scores: what scores differ by within a group is then no part of the spread.

    Args:
        labels: Booleans, n.
        scores: Probabilities of true, n.
        decision: The score that counts as positive, itself included.
        intervals: Whether to measure them too.

    Raises:
        pa.ArrowInvalid: Labels and scores differ in length.
    """
    groups = pa.array(np.zeros(len(labels), np.int32))
    return binary_by_group(labels, scores, groups, 1, decision=decision, intervals=intervals)[0]


def binary_of_counts(sets: Sequence[pa.Table], *, decision: float) -> list[BinaryMetrics]:
    """Measure sets of rows that were counted by score, each as `binary_metrics` would its rows.

    Args:
        sets: Columns `score` (float64), `positives` and `negatives` (int64); each score once in a
            set.
        decision: The score that counts as positive, itself included.
    """
    places = np.repeat(np.arange(len(sets), dtype=np.int32), [each.num_rows for each in sets])
    counts = pa.concat_tables(sets)
    by_score = pa.table(
        {
            "segment": pa.array(places),
            "score": counts.column("score"),
            "rows": pc.add(counts.column("positives"), counts.column("negatives")),
            "positives": counts.column("positives"),
            "negatives": counts.column("negatives"),
        }
    )
    return _measured(by_score, len(sets), decision=decision, intervals=True)


def binary_by_group(
    labels: Column, scores: Column, groups: Column, number: int, *, decision: float, intervals: bool
) -> list[BinaryMetrics]:
    """Measure each group of rows by itself, as `binary_metrics` would.

    Args:
        labels: Booleans, n.
        scores: Probabilities of true, n.
        groups: The group of each row, from 0 to below the number, n.
        number: How many groups there are; one without rows is measured too.
        decision: The score that counts as positive, itself included.
        intervals: Whether to measure them too.

    Raises:
        pa.ArrowInvalid: The three differ in length.
    """
    scored = pa.table(
        {
            "segment": groups,
            "label": labels.cast(pa.bool_()),
            "score": scores.cast(pa.float64(), safe=False),
        }
    )
    by_score = query(BY_SCORE_SQL, {"scored": scored})
    return _measured(by_score, number, decision=decision, intervals=intervals)


def _measured(
    by_score: pa.Table, number: int, *, decision: float, intervals: bool
) -> list[BinaryMetrics]:
    tables = {"by_score": by_score, "segments": pa.table({"segment": np.arange(number)})}
    measured = query_records(BINARY_SQL, tables, _parameters(decision))
    found = _intervals(by_score, measured, decision) if intervals else [{}] * number
    return [
        BinaryMetrics(
            **{name: row[name] for name in ("rows", "positives", *FIGURES)}, intervals=own
        )
        for row, own in zip(measured, found, strict=True)
    ]


def _intervals(
    by_score: pa.Table, measured: Sequence[Mapping[str, Any]], decision: float
) -> Iterator[dict[str, Interval | None]]:
    drawn = {place: names for place, row in enumerate(measured) if (names := _drawn(row))}
    cells = dict(zip(drawn, score_cells(by_score, [*drawn], decision=decision), strict=True))
    for place, row in enumerate(measured):
        found = _closed(row)
        if place in drawn:
            found |= _bootstrapped(row, cells[place], drawn[place])
        yield {name: found.get(name) for name in FIGURES}


def _drawn(row: Mapping[str, Any]) -> list[Quality | Loss]:
    """Return the figures whose interval is one of resamples."""
    return [name for name in BOOTSTRAPPED if row["rows"] > 1 and row[name] is not None]


def _closed(row: Mapping[str, Any]) -> dict[str, Interval | None]:
    positives, negatives = row["positives"], row["rows"] - row["positives"]
    return {
        "precision": wilson_interval(row["precision"], row["predicted"]),
        "recall": wilson_interval(row["recall"], positives),
        "accuracy": wilson_interval(row["accuracy"], row["rows"]),
        "auroc": auroc_interval(
            row["auroc"], row["auroc_variance"], positives=positives, negatives=negatives
        ),
    }


def _bootstrapped(
    row: Mapping[str, Any], cells: ScoreCells, names: Sequence[Quality | Loss]
) -> dict[str, Interval | None]:
    scored, once = cells.scored, cells.weights[np.newaxis].astype(np.float64)

    def measured(name: Quality | Loss, counts: Floats) -> Floats:
        if name == "calibration_error":
            return scored.calibration_strays(counts, once)
        # Grouped scores count as ties: that moves the level of a figure, hardly its spread.
        return scored.resampled(name, counts) + (row[name] - scored.resampled(name, once))

    return {
        name: (strayed_interval if name == "calibration_error" else bootstrap_interval)(
            row[name], drawn, highest=HIGHEST.get(name, 1.0)
        )
        for name, drawn in resampled_figures(measured, cells.weights, names).items()
    }


def _parameters(decision: float) -> dict[str, object]:
    return {"decision": decision, "epsilon": LOG_LOSS_EPSILON, "bins": CALIBRATION_BINS}
