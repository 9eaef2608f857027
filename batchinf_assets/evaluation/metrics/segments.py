"""Figures by segment: of the rows that share a value, or a range of values, of a column.

What the figures are is in `metrics.binary`, `multiclass` and `regression`; the canary of a
promotion parts its rows likewise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import quoted
from batchinf_assets.evaluation.metrics.binary import binary_by_group
from batchinf_assets.evaluation.metrics.figures import Metrics
from batchinf_assets.evaluation.metrics.multiclass import multiclass_by_group
from batchinf_assets.evaluation.metrics.regression import regression_by_group

Column = pa.Array | pa.ChunkedArray
Codes = npt.NDArray[np.int64]

ByGroup = Callable[[pa.Array, int], Sequence[Metrics]]
"""Measures each group of rows by itself: from the group of each row, and how many there are."""

MAX_SEGMENT_VALUES = 50

MISSING = "(missing)"


@dataclass(frozen=True, kw_only=True)
class SegmentMetrics:
    """What was measured on the rows of one segment.

    Attributes:
        column: The column that parts the rows.
        value: The value or range in words, unique within the column.
        metrics: Over at least one row; figures that these rows leave undefined are None.
    """

    column: str
    value: str
    metrics: Metrics


def binary_by_segment(
    labels: Column, scores: Column, segments: pa.Table, *, decision: float, intervals: bool = True
) -> list[SegmentMetrics]:
    """Measure the rows of each segment by themselves, as `binary_metrics` would.

    Args:
        labels: Booleans, n.
        scores: Probabilities of true, n.
        segments: The columns to part the rows by, as `metrics_by_segment` does.
        decision: The score that counts as positive, itself included.
        intervals: Whether to measure them too.

    Raises:
        pa.ArrowInvalid: The three differ in length.
    """

    def measure(groups: pa.Array, number: int) -> Sequence[Metrics]:
        return binary_by_group(
            labels, scores, groups, number, decision=decision, intervals=intervals
        )

    return metrics_by_segment(segments, measure)


def multiclass_by_segment(
    labels: Column, probabilities: pa.Table, segments: pa.Table, *, intervals: bool = True
) -> list[SegmentMetrics]:
    """Measure the rows of each segment by themselves, as `multiclass_metrics` would.

    Args:
        labels: Names of classes, n.
        probabilities: A column for each class, under its name; n rows.
        segments: The columns to part the rows by, as `metrics_by_segment` does.
        intervals: Whether to measure them too.

    Raises:
        ValueError: There is no class, or the three differ in length.
    """

    def measure(groups: pa.Array, number: int) -> Sequence[Metrics]:
        return multiclass_by_group(labels, probabilities, groups, number, intervals=intervals)

    return metrics_by_segment(segments, measure)


def regression_by_segment(
    labels: Column,
    predictions: Column,
    segments: pa.Table,
    *,
    quantile: float = 0.5,
    intervals: bool = True,
) -> list[SegmentMetrics]:
    """Measure the rows of each segment by themselves, as `regression_metrics` would.

    Args:
        labels: Numbers, n.
        predictions: Numbers, n.
        segments: The columns to part the rows by, as `metrics_by_segment` does.
        quantile: Of the quantile loss, above 0 and below 1.
        intervals: Whether to measure them too.

    Raises:
        ValueError: The three differ in length, or the quantile is outside 0 to 1.
    """

    def measure(groups: pa.Array, number: int) -> Sequence[Metrics]:
        return regression_by_group(
            labels, predictions, groups, number, quantile=quantile, intervals=intervals
        )

    return metrics_by_segment(segments, measure)


def metrics_by_segment(segments: pa.Table, measure: ByGroup) -> list[SegmentMetrics]:
    """Measure the rows of each segment by themselves.

    Args:
        segments: The columns to part the rows by, each by itself, as `segment_codes` does.
        measure: Measures the groups of as many rows.

    Returns:
        The segments that have rows, by column in the table's order; none of an empty table.
    """
    return [
        SegmentMetrics(column=column, value=value, metrics=metrics)
        for column in segments.column_names
        for value, metrics in _by_value(segments.column(column), measure)
    ]


def segment_codes(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    """Part rows by one column.

    Numbers are parted at their quartiles, NaN counting as missing; everything else by value, of
    which the `MAX_SEGMENT_VALUES` most frequent stand for themselves and the rest together. Missing
    is a segment of its own.

    Returns:
        The segments in words, safe to show, each once; and the place in it of each row's segment,
        (n,). Segments without rows may be among them.
    """
    names, codes = _quartiles(column) if is_number(column) else _values(column)
    return _told_apart([quoted(name) for name in names]), codes


def is_number(column: pa.ChunkedArray) -> bool:
    """Say whether a column is parted at its quartiles."""
    return pa.types.is_integer(column.type) or pa.types.is_floating(column.type)


def quartile_counts(columns: Sequence[pa.ChunkedArray]) -> list[dict[str | None, int]]:
    """Count the rows of several sets by the quartiles of all of them together.

    Args:
        columns: One column of each set, of one type.

    Returns:
        For each set its rows by range, None for missing; empty where the column is no number.
    """
    if not is_number(columns[0]):
        return []
    together = pa.chunked_array([chunk for column in columns for chunk in column.chunks])
    names, codes = segment_codes(together)
    parts = np.split(codes, np.cumsum([len(column) for column in columns])[:-1])
    shown = [None if name == MISSING else name for name in names]
    return [
        dict(zip(shown, np.bincount(part, minlength=len(names)).tolist(), strict=True))
        for part in parts
    ]


def segment_rows(column: pa.ChunkedArray) -> dict[str, int]:
    """Count the rows of each segment that `segment_codes` makes; only of those that have rows."""
    names, codes = segment_codes(column)
    counts = np.bincount(codes, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _by_value(column: pa.ChunkedArray, measure: ByGroup) -> Iterator[tuple[str, Metrics]]:
    names, codes = segment_codes(column)
    for name, metrics in zip(names, measure(pa.array(codes), len(names)), strict=True):
        if metrics.rows:
            yield name, metrics


def _quartiles(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    filled = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan"))
    numbers = np.asarray(filled.to_numpy())
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return [MISSING], np.zeros(len(numbers), dtype=np.int64)
    edges = np.unique(np.quantile(present, [0.25, 0.5, 0.75], method="inverted_cdf"))
    said = _said(edges.tolist())
    between = [f"above {a} up to {b}" for a, b in pairwise(said)]
    names = [f"up to {said[0]}", *between, f"above {said[-1]}", MISSING]
    bins = np.searchsorted(edges, numbers, side="left")
    return names, np.where(np.isnan(numbers), len(edges) + 1, bins).astype(np.int64)


def _said(edges: list[float]) -> list[str]:
    short = [f"{edge:g}" for edge in edges]
    return short if len({*short}) == len(short) else [repr(edge) for edge in edges]


def _values(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    texts = column.cast(pa.string())
    counted = pc.value_counts(texts.drop_null()).to_pylist()
    counts = {str(entry["values"]): int(entry["counts"]) for entry in counted}
    by_frequency = sorted(counts, key=lambda name: (-counts[name], name))
    kept = sorted(by_frequency[:MAX_SEGMENT_VALUES])
    found = pc.index_in(texts, value_set=pa.array(kept, pa.string())).fill_null(len(kept))
    codes = np.asarray(found.to_numpy()).astype(np.int64)
    is_missing = np.asarray(texts.is_null().to_numpy())
    names = [*kept, f"({len(counts) - len(kept)} other values)", MISSING]
    return names, np.where(is_missing, len(kept) + 1, codes)


def _told_apart(names: Iterable[str]) -> list[str]:
    """Number what reads the same: long values that were cut, or a value called `(missing)`."""
    seen = Counter[str]()
    told: list[str] = []
    for name in names:
        seen[name] += 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told
