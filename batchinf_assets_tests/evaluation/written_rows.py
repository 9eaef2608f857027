"""Metrics for tests of rows, and the rows read back."""

from __future__ import annotations

import pyarrow as pa

from batchinf_assets.evaluation.metrics.binary import FIGURES, BinaryMetrics
from batchinf_assets.evaluation.metrics.figures import Interval


def metrics(**figures: float | None) -> BinaryMetrics:
    """Metrics over nine rows, of which only the named figures are defined."""
    return BinaryMetrics(
        rows=9,
        positives=4,
        intervals={"auroc": Interval(low=0.6, high=0.8)} if "auroc" in figures else {},
        **{name: figures.get(name) for name in FIGURES},
    )


METRICS = metrics(auroc=0.7, brier=0.2)


def rows_of(table: pa.Table, **where: object) -> list[dict]:
    """The rows in which these columns have these values, without what is null."""
    return [
        {name: value for name, value in row.items() if value is not None}
        for row in table.to_pylist()
        if all(row[name] == value for name, value in where.items())
    ]
