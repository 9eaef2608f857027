"""Quality of predictions of a numeric label: error, bias and explained variance.

The figures of classes are in `evaluation.binary` and `evaluation.multiclass`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.evaluation.bootstrap import (
    MOST_CELLS,
    SEED,
    Floats,
    ratio,
    resampled_figures,
)
from batchinf_assets.evaluation.figures import Interval, Metrics
from batchinf_assets.evaluation.intervals import bootstrap_interval
from batchinf_assets.lake.query import query, sql_beside

RESIDUAL_BLOCKS_SQL = sql_beside(__file__, "sql/residual_blocks.sql")
REGRESSION_SQL = sql_beside(__file__, "sql/regression.sql")

Column = pa.Array | pa.ChunkedArray

Error = Literal["mae", "rmse", "r_squared", "quantile_loss", "bias"]

ERRORS: tuple[Error, ...] = ("mae", "rmse", "r_squared", "quantile_loss", "bias")

EQUAL_LABELS = 1e-12
"""Share of the labels' squares below which a resample's spread is rounding."""


@dataclass(frozen=True, kw_only=True)
class RegressionMetrics(Metrics):
    """Quality of predictions of a number; an undefined figure is None, never 0.

    An error is prediction minus label. Without rows, and where a label or prediction is missing,
    NaN, infinite or too large to be squared, every figure is None.

    Attributes:
        quantile: The quantile of the quantile loss.
        mae: Mean absolute error.
        rmse: Root of the mean squared error.
        r_squared: 1 - squared errors / squared distances of the labels from their mean; None where
            all labels are equal.
        quantile_loss: Mean of quantile * -error where that is positive, else (1 - quantile) * error
            (Koenker and Bassett 1978); half the mean absolute error for the median.
        bias: Mean error.
    """

    names: ClassVar[tuple[str, ...]] = ERRORS

    quantile: float
    mae: float | None
    rmse: float | None
    r_squared: float | None
    quantile_loss: float | None
    bias: float | None


def regression_metrics(
    labels: Column,
    predictions: Column,
    *,
    quantile: float = 0.5,
    intervals: bool = True,
) -> RegressionMetrics:
    """Measure predictions against labels, equal to scikit-learn's metrics to 1e-9.

    Intervals are percentile intervals of resamples. Above `MOST_CELLS` rows these draw that many
    blocks of equally many rows, which chance put together, instead of the rows.

    Args:
        labels: Numbers, n.
        predictions: Numbers, n.
        quantile: Of the quantile loss, above 0 and below 1.
        intervals: Whether to measure them too.

    Raises:
        ValueError: Labels and predictions differ in length, or the quantile is outside 0 to 1.
    """
    groups = pa.array(np.zeros(len(labels), np.int64))
    return regression_by_group(
        labels, predictions, groups, 1, quantile=quantile, intervals=intervals
    )[0]


def regression_by_group(
    labels: Column,
    predictions: Column,
    groups: Column,
    number: int,
    *,
    quantile: float = 0.5,
    intervals: bool = True,
) -> list[RegressionMetrics]:
    """Measure each group of rows by itself, as `regression_metrics` would.

    Args:
        labels: Numbers, n.
        predictions: Numbers, n.
        groups: The group of each row, from 0 to below the number, n.
        number: How many groups there are; one without rows is measured too.
        quantile: Of the quantile loss, above 0 and below 1.
        intervals: Whether to measure them too.

    Raises:
        ValueError: The three differ in length, or the quantile is outside 0 to 1.
    """
    if not len(labels) == len(predictions) == len(groups) or not 0 < quantile < 1:
        raise ValueError(
            f"{len(labels)} labels for {len(predictions)} predictions in {len(groups)} places "
            f"at quantile {quantile:g}"
        )
    paired = _in_blocks(_numbers(labels), _numbers(predictions), groups.to_numpy())
    blocks = query(RESIDUAL_BLOCKS_SQL, {"paired": paired}, {"quantile": quantile})
    return _measured(blocks, number, quantile=quantile, intervals=intervals)


def _measured(
    blocks: pa.Table, number: int, *, quantile: float, intervals: bool
) -> list[RegressionMetrics]:
    segments = pa.table({"segment": np.arange(number)})
    rows = query(REGRESSION_SQL, {"blocks": blocks, "segments": segments}).to_pylist()
    ends = np.searchsorted(blocks.column("segment").to_numpy(), np.arange(number + 1)).tolist()
    return [
        RegressionMetrics(
            rows=row["rows"],
            quantile=quantile,
            **{name: row[name] for name in ERRORS},
            intervals=_intervals(row, blocks.slice(start, end - start)) if intervals else {},
        )
        for row, (start, end) in zip(rows, pairwise(ends), strict=True)
    ]


def _numbers(column: Column) -> Floats:
    filled = pc.fill_null(column.cast(pa.float64(), safe=False), math.nan)
    return np.asarray(filled.to_numpy(zero_copy_only=False)) + 0.0


def _in_blocks(labels: Floats, predictions: Floats, groups: npt.NDArray[np.int64]) -> pa.Table:
    order = np.lexsort((predictions, labels, groups))
    return pa.table(
        {
            "segment": groups[order],
            "label": labels[order],
            "prediction": predictions[order],
            "block": np.concatenate(
                [np.empty(0, np.int64), *(_blocks(rows) for rows in np.bincount(groups).tolist())]
            ),
        }
    )


def _blocks(rows: int) -> npt.NDArray[np.int64]:
    if rows <= MOST_CELLS:
        return np.arange(rows)
    return np.random.default_rng(SEED).permutation(rows) % MOST_CELLS


def _intervals(row: Mapping[str, Any], blocks: pa.Table) -> dict[str, Interval | None]:
    has_spread = blocks.num_rows > 1
    names: list[Error] = [name for name in ERRORS if has_spread and row[name] is not None]
    drawn = _resampled(blocks, names) if names else {}
    return {
        name: bootstrap_interval(
            row[name],
            drawn[name],
            lowest=-math.inf if name in ("bias", "r_squared") else 0.0,
            highest=1.0 if name == "r_squared" else math.inf,
        )
        if name in drawn
        else None
        for name in ERRORS
    }


def _resampled(blocks: pa.Table, names: Sequence[Error]) -> dict[Error, Floats]:
    sums = {name: blocks.column(name).to_numpy().astype(np.float64) for name in blocks.column_names}
    once_each = np.ones(blocks.num_rows, np.int64)
    return resampled_figures(_BlockSums(sums=sums).resampled, once_each, names)


@dataclass(frozen=True, kw_only=True, eq=False)
class _BlockSums:
    """Sums over blocks by name, each (blocks,)."""

    sums: Mapping[str, Floats]

    def resampled(self, metric: Error, counts: Floats) -> Floats:
        """Measure resamples: counts (resamples, blocks) to the metric (resamples,)."""
        rows = counts @ self.sums["rows"]
        match metric:
            case "mae":
                return ratio(counts @ self.sums["absolute_errors"], rows)
            case "rmse":
                return np.sqrt(ratio(counts @ self.sums["squared_errors"], rows))
            case "quantile_loss":
                return ratio(counts @ self.sums["quantile_losses"], rows)
            case "bias":
                return ratio(counts @ self.sums["errors"], rows)
            case "r_squared":
                return self._r_squared(counts, rows)

    def _r_squared(self, counts: Floats, rows: Floats) -> Floats:
        squares = counts @ self.sums["squared_labels"]
        spread = squares - (counts @ self.sums["labels"]) ** 2 / rows
        spread[spread <= EQUAL_LABELS * squares] = 0
        return 1 - ratio(counts @ self.sums["squared_errors"], spread)
