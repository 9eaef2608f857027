"""Quality of predictions of a numeric label: error, bias and explained variance.

The figures of classes are in `metrics.binary` and `metrics.multiclass`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.evaluation.metrics.bootstrap import (
    MOST_CELLS,
    SEED,
    Floats,
    ratio,
    resampled_figures,
    weighted_sums,
)
from batchinf_assets.evaluation.metrics.figures import Interval, Metrics
from batchinf_assets.evaluation.metrics.intervals import bootstrap_interval
from batchinf_assets.evaluation.statements import statement
from batchinf_assets.lake.query import query, query_records
from batchinf_assets.spec.evaluation import Error, Fit, Lean, Metric

RESIDUAL_BLOCKS_SQL = statement("residual_blocks.sql")
REGRESSION_SQL = statement("regression.sql")

Column = pa.Array | pa.ChunkedArray

Figure = Fit | Error | Lean

FIGURES: tuple[Figure, ...] = ("mae", "rmse", "r_squared", "quantile_loss", "bias")

BLOCKS_SCHEMA = pa.schema(
    [
        pa.field("block", pa.int64(), nullable=False),
        pa.field("origin", pa.float64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        *(
            pa.field(name, pa.float64(), nullable=False)
            for name in ("over", "under", "squared_errors", "labels", "squared_labels")
        ),
    ]
)
"""Sums over blocks of rows, as `sql/residual_blocks.sql` makes them."""

SUMMED = ("rows", "over", "under", "squared_errors", "labels", "squared_labels")

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

    names: ClassVar[tuple[str, ...]] = FIGURES

    quantile: float
    mae: float | None
    rmse: float | None
    r_squared: float | None
    quantile_loss: float | None
    bias: float | None

    def tells(self, name: str) -> bool:
        """Whether labels differ, without which no variance can be explained."""
        return name != "r_squared" or self.r_squared is not None or self.mae is None


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
    blocks = query(RESIDUAL_BLOCKS_SQL, {"paired": paired})
    return _measured(blocks, number, quantile=quantile, intervals=intervals)


def residual_blocks(labels: Column, predictions: Column) -> pa.Table:
    """Sum up labelled predictions so that they can be measured again, alone or with others.

    Args:
        labels: Numbers, n.
        predictions: Numbers, n.

    Returns:
        Rows of `BLOCKS_SCHEMA`, one per row up to `MOST_CELLS` of them, that many above.
    """
    groups = np.zeros(len(labels), np.int64)
    paired = _in_blocks(_numbers(labels), _numbers(predictions), groups)
    blocks = query(RESIDUAL_BLOCKS_SQL, {"paired": paired})
    return blocks.select(BLOCKS_SCHEMA.names).cast(BLOCKS_SCHEMA)


def regression_of_blocks(windows: Sequence[pa.Table], *, quantile: float) -> RegressionMetrics:
    """Measure what was summed up of several windows as if it were one.

    Args:
        windows: Rows of `BLOCKS_SCHEMA` of each.
        quantile: Of the quantile loss, above 0 and below 1.
    """
    blocks = _from_one_origin(pa.concat_tables([BLOCKS_SCHEMA.empty_table(), *windows]))
    return _measured(blocks, 1, quantile=quantile, intervals=True)[0]


def _from_one_origin(blocks: pa.Table) -> pa.Table:
    """Count labels from the mean of all, and put blocks together where there are too many."""
    found = {name: blocks.column(name).to_numpy().astype(np.float64) for name in SUMMED}
    origins = blocks.column("origin").to_numpy()
    mean = float(np.average(origins, weights=found["rows"])) if len(origins) else 0.0
    moved = origins - mean
    found["squared_labels"] += 2 * moved * found["labels"] + found["rows"] * moved**2
    found["labels"] += found["rows"] * moved
    together = _blocks(len(moved))
    number = int(together.max(initial=-1)) + 1
    sums = {name: np.bincount(together, own, number) for name, own in found.items()}
    return pa.table(
        {
            "segment": np.zeros(number, np.int64),
            "block": np.arange(number),
            **sums,
            "rows": sums["rows"].astype(np.int64),
        }
    )


def _measured(
    blocks: pa.Table, number: int, *, quantile: float, intervals: bool
) -> list[RegressionMetrics]:
    segments = pa.table({"segment": np.arange(number)})
    rows = query_records(
        REGRESSION_SQL, {"blocks": blocks, "segments": segments}, {"quantile": quantile}
    )
    ends = np.searchsorted(blocks.column("segment").to_numpy(), np.arange(number + 1)).tolist()
    return [
        RegressionMetrics(
            rows=row["rows"],
            quantile=quantile,
            **{name: row[name] for name in FIGURES},
            intervals=_intervals(row, blocks.slice(start, end - start), quantile)
            if intervals
            else {},
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


def _intervals(
    row: Mapping[str, Any], blocks: pa.Table, quantile: float
) -> dict[str, Interval | None]:
    has_spread = blocks.num_rows > 1
    names: list[Figure] = [name for name in FIGURES if has_spread and row[name] is not None]
    drawn = _resampled(blocks, names, quantile) if names else {}
    return {
        name: bootstrap_interval(
            row[name],
            drawn[name],
            lowest=-math.inf if name in ("bias", "r_squared") else 0.0,
            highest=1.0 if name == "r_squared" else math.inf,
        )
        if name in drawn
        else None
        for name in FIGURES
    }


def _resampled(blocks: pa.Table, names: Sequence[Figure], quantile: float) -> dict[Figure, Floats]:
    sums = {name: blocks.column(name).to_numpy().astype(np.float64) for name in blocks.column_names}
    once_each = np.ones(blocks.num_rows, np.int64)
    return resampled_figures(ResidualSums(sums=sums, quantile=quantile).resampled, once_each, names)


@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualSums:
    """Sums over blocks, to be measured on many resamples of them at once.

    Attributes:
        sums: By name, as `residual_blocks` has them, each (blocks,).
        quantile: Of the quantile loss.
    """

    sums: Mapping[str, Floats]
    quantile: float

    @classmethod
    def of(cls, labels: Floats, predictions: Floats, *, quantile: float) -> ResidualSums:
        """Make a block of every row, in the order given; both (n,)."""
        errors, labels = predictions - labels, labels - labels.mean()
        sums = {
            "rows": np.ones(len(labels)),
            "over": np.maximum(errors, 0),
            "under": np.maximum(-errors, 0),
            "squared_errors": errors**2,
            "labels": labels,
            "squared_labels": labels**2,
        }
        return cls(sums=sums, quantile=quantile)

    def resampled(self, metric: Metric, counts: Floats) -> Floats:
        """Measure resamples; NaN where the metric is undefined, or none of a numeric label.

        Args:
            metric: What to measure.
            counts: How often each resample holds each block, (resamples, blocks).

        Returns:
            The metric by resample, (resamples,).
        """
        rows, over, under = (
            weighted_sums(counts, self.sums[name]) for name in ("rows", "over", "under")
        )
        match metric:
            case "mae":
                return ratio(over + under, rows)
            case "rmse":
                return np.sqrt(ratio(weighted_sums(counts, self.sums["squared_errors"]), rows))
            case "quantile_loss":
                return ratio(self.quantile * under + (1 - self.quantile) * over, rows)
            case "bias":
                return ratio(over - under, rows)
            case "r_squared":
                return self._r_squared(counts, rows)
            case _:
                return np.full(len(counts), np.nan)

    def _r_squared(self, counts: Floats, rows: Floats) -> Floats:
        squares = weighted_sums(counts, self.sums["squared_labels"])
        spread = squares - weighted_sums(counts, self.sums["labels"]) ** 2 / rows
        spread[spread <= EQUAL_LABELS * squares] = 0
        return 1 - ratio(weighted_sums(counts, self.sums["squared_errors"]), spread)
