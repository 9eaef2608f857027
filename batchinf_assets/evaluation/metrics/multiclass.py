"""Quality of class probabilities: accuracy, F1, log loss and the confusion matrix.

The figures of a binary label are in `metrics.binary`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.evaluation.metrics.bootstrap import (
    LOG_LOSS_EPSILON,
    MOST_CELLS,
    SCORE_GROUPS,
    Floats,
    ratio,
    resampled_figures,
    weighted_sums,
)
from batchinf_assets.evaluation.metrics.figures import Cell, Interval, Metrics
from batchinf_assets.evaluation.metrics.intervals import bootstrap_interval, wilson_interval
from batchinf_assets.evaluation.statements import statement
from batchinf_assets.lake.query import query, query_records
from batchinf_assets.spec.evaluation import Metric

BY_LOSS_SQL = statement("by_loss.sql")
MULTICLASS_SQL = statement("multiclass.sql")
LOSS_CELLS_SQL = statement("loss_cells.sql")

Resampled = Literal["macro_f1", "weighted_f1", "log_loss"]
Figure = Literal["accuracy"] | Resampled

RESAMPLED: tuple[Resampled, ...] = ("macro_f1", "weighted_f1", "log_loss")

FIGURES: tuple[Figure, ...] = ("accuracy", *RESAMPLED)

CELLS_SCHEMA = pa.schema(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("loss", pa.float64(), nullable=False),
        pa.field("probable", pa.bool_(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)
"""Labelled rows by label, prediction and log loss, as `sql/by_loss.sql` counts them."""

Column = pa.Array | pa.ChunkedArray
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MulticlassMetrics(Metrics):
    """Quality of class probabilities; an undefined figure is None, never 0.

    Attributes:
        classes: Those with a probability in their order, then labels that have none, sorted.
        confusion: Rows by label, then by prediction, each in the order of classes; None where
            accuracy is.
        accuracy: Share of rows whose label has the largest probability, the first of several;
            None without rows.
        macro_f1: Mean F1 score of the classes that occur among labels or predictions.
        weighted_f1: Mean F1 score of the classes, weighted by the rows that have them as label.
        log_loss: Mean negative log likelihood in nats; None if the probabilities of a row are not
            within 0 to 1, or are 1e-6 or more away from 1 together, or lack its label.
    """

    names: ClassVar[tuple[str, ...]] = FIGURES

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    accuracy: float | None
    macro_f1: float | None
    weighted_f1: float | None
    log_loss: float | None

    @property
    def cells(self) -> Iterator[Cell]:
        """The cells of the confusion matrix, row by row."""
        for label, row in zip(self.classes, self.confusion or (), strict=False):
            for predicted, rows in zip(self.classes, row, strict=True):
                yield Cell(label=label, predicted=predicted, rows=rows)


def multiclass_metrics(
    labels: Column, probabilities: pa.Table, *, intervals: bool = True
) -> MulticlassMetrics:
    """Measure class probabilities against labels, equal to scikit-learn's metrics to 1e-9.

    A missing label, or a missing or NaN probability, leaves every figure undefined. Accuracy has
    Wilson's interval, the others the percentile interval of resamples.

    Args:
        labels: Names of classes, n.
        probabilities: A column for each class, under its name; n rows.
        intervals: Whether to measure them too.

    Raises:
        ValueError: There is no class, or labels and probabilities differ in length.
    """
    groups = pa.array(np.zeros(len(labels), np.int64))
    return multiclass_by_group(labels, probabilities, groups, 1, intervals=intervals)[0]


def multiclass_by_group(
    labels: Column, probabilities: pa.Table, groups: Column, number: int, *, intervals: bool = True
) -> list[MulticlassMetrics]:
    """Measure each group of rows by itself, as `multiclass_metrics` would.

    A label without a probability is a class of every group.

    Args:
        labels: Names of classes, n.
        probabilities: A column for each class, under its name; n rows.
        groups: The group of each row, from 0 to below the number, n.
        number: How many groups there are; one without rows is measured too.
        intervals: Whether to measure them too.

    Raises:
        ValueError: There is no class, or the three differ in length.
    """
    texts, known = labels.cast(pa.string()), probabilities.column_names
    if not known or not len(texts) == probabilities.num_rows == len(groups):
        raise ValueError(
            f"{len(texts)} labels for {probabilities.num_rows} rows of probabilities of "
            f"{len(known)} classes in {len(groups)} places"
        )
    classes = (*known, *sorted({str(name) for name in pc.unique(texts.drop_null())} - {*known}))
    classified = pa.table(
        {"segment": groups, "label": texts, "probabilities": _rows(probabilities)}
    )
    parameters: dict[str, object] = {"classes": list(classes), "epsilon": LOG_LOSS_EPSILON}
    by_loss = query(BY_LOSS_SQL, {"classified": classified}, parameters)
    return _measured(by_loss, classes, number, intervals=intervals)


def classified_cells(labels: Column, probabilities: pa.Table) -> pa.Table:
    """Count labelled predictions so that they can be measured again, alone or with others.

    Args:
        labels: Names of classes that have a probability, n.
        probabilities: A column for each class, under its name; n rows.

    Returns:
        Rows of `CELLS_SCHEMA`.
    """
    classes = probabilities.column_names
    classified = pa.table(
        {
            "segment": np.zeros(len(labels), np.int64),
            "label": labels.cast(pa.string()),
            "probabilities": _rows(probabilities),
        }
    )
    parameters: dict[str, object] = {"classes": classes, "epsilon": LOG_LOSS_EPSILON}
    by_loss = query(BY_LOSS_SQL, {"classified": classified}, parameters)
    names, columns = pa.array(classes, pa.string()), dict[str, pa.ChunkedArray]()
    for name in CELLS_SCHEMA.names:
        column = by_loss.column(name)
        columns[name] = pc.take(names, column) if name in ("label", "predicted") else column
    order = [(name, "ascending") for name in CELLS_SCHEMA.names]
    return pa.table(columns).cast(CELLS_SCHEMA).sort_by(order)


def multiclass_of_cells(windows: Sequence[pa.Table], classes: tuple[str, ...]) -> MulticlassMetrics:
    """Measure what was counted of several windows as if it were one.

    Args:
        windows: Rows of `CELLS_SCHEMA` of each.
        classes: The classes of now; a row with another one leaves the figures undefined.
    """
    cells = pa.concat_tables([CELLS_SCHEMA.empty_table(), *windows])
    names = pa.array(classes, pa.string())
    coded = {
        name: pc.index_in(column, value_set=names).cast(pa.int64())
        if name in ("label", "predicted")
        else column
        for name, column in zip(cells.column_names, cells.columns, strict=True)
    }
    by_loss = pa.table({"segment": np.zeros(cells.num_rows, np.int64), **coded})
    return _measured(by_loss, classes, 1, intervals=True)[0]


def _measured(
    by_loss: pa.Table, classes: tuple[str, ...], number: int, *, intervals: bool
) -> list[MulticlassMetrics]:
    tables = {"by_loss": by_loss, "segments": pa.table({"segment": np.arange(number)})}
    rows = query_records(MULTICLASS_SQL, tables)
    found = _intervals(by_loss, rows, len(classes)) if intervals else [{}] * number
    return [
        MulticlassMetrics(
            rows=row["rows"],
            classes=classes,
            confusion=_matrix(row["cells"], len(classes)),
            **{name: row[name] for name in FIGURES},
            intervals=own,
        )
        for row, own in zip(rows, found, strict=True)
    ]


def _rows(probabilities: pa.Table) -> pa.FixedSizeListArray:
    columns = [
        pc.fill_null(column.cast(pa.float64(), safe=False), math.nan).to_numpy()
        for column in probabilities.columns
    ]
    matrix = np.stack(columns, axis=1)
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), len(columns))


def _matrix(
    cells: Sequence[Mapping[str, int]] | None, classes: int
) -> tuple[tuple[int, ...], ...] | None:
    if cells is None:
        return None
    rows = {(cell["label"], cell["predicted"]): cell["rows"] for cell in cells}
    return tuple(
        tuple(rows.get((label, predicted), 0) for predicted in range(classes))
        for label in range(classes)
    )


def _intervals(
    by_loss: pa.Table, measured: Sequence[Mapping[str, Any]], classes: int
) -> Iterator[dict[str, Interval | None]]:
    grouping: dict[str, object] = {"most": MOST_CELLS, "groups": SCORE_GROUPS}
    cells = query(LOSS_CELLS_SQL, {"by_loss": by_loss}, grouping)
    ends = np.searchsorted(cells.column("segment").to_numpy(), np.arange(len(measured) + 1))
    for row, (start, end) in zip(measured, pairwise(ends.tolist()), strict=True):
        yield {
            "accuracy": wilson_interval(row["accuracy"], row["rows"]),
            **_bootstrapped(row, cells.slice(start, end - start), classes),
        }


def _bootstrapped(
    row: Mapping[str, Any], table: pa.Table, classes: int
) -> dict[str, Interval | None]:
    found: dict[str, Interval | None] = dict.fromkeys(RESAMPLED)
    names: list[Resampled] = [name for name in RESAMPLED if row[name] is not None]
    if row["rows"] < 2 or not names:
        return found
    cells = ClassifiedCells(
        labels=table.column("label").to_numpy(),
        predicted=table.column("predicted").to_numpy(),
        log_losses=table.column("log_loss").to_numpy(),
        classes=classes,
    )
    for name, drawn in resampled_figures(
        cells.resampled, table.column("rows").to_numpy(), names
    ).items():
        highest = math.inf if name == "log_loss" else 1.0
        found[name] = bootstrap_interval(row[name], drawn, highest=highest)
    return found


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifiedCells:
    """Cells of labelled predictions, to be measured on many resamples of them at once.

    Attributes:
        labels: Place of the label among the classes, (cells,).
        predicted: Place of the predicted class, (cells,).
        log_losses: Mean log loss, (cells,).
        classes: How many there are.
    """

    labels: Codes
    predicted: Codes
    log_losses: Floats
    classes: int

    def resampled(self, metric: Metric, counts: Floats) -> Floats:
        """Measure resamples; NaN where the metric is undefined, or none of several classes.

        Args:
            metric: What to measure.
            counts: How often each resample holds each cell, (resamples, cells).

        Returns:
            The metric by resample, (resamples,).
        """
        rows = counts.sum(axis=1)
        if metric not in FIGURES:
            return np.full(len(counts), np.nan)
        if metric == "accuracy":
            return ratio(
                weighted_sums(counts, (self.labels == self.predicted).astype(np.float64)), rows
            )
        if metric == "log_loss":
            return ratio(weighted_sums(counts, self.log_losses), rows)
        true = weighted_sums(counts, self._is(self.labels))
        said = weighted_sums(counts, self._is(self.predicted))
        hits = weighted_sums(counts, self._is(self.labels) * self._is(self.predicted))
        occurring = true + said > 0
        f1 = np.divide(2 * hits, true + said, out=np.zeros_like(hits), where=occurring)
        if metric == "macro_f1":
            return ratio(f1.sum(axis=1), occurring.sum(axis=1).astype(np.float64))
        return ratio((f1 * true).sum(axis=1), rows)

    def _is(self, codes: Codes) -> Floats:
        return (codes[:, np.newaxis] == np.arange(self.classes)).astype(np.float64)
