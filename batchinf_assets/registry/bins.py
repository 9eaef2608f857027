"""Bins that were frozen when a model learned, and rows counted by them.

Which bins a model has, is decided in `registry.profile`; a faster count of floats is in
`scoring.observed`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

Values = pa.Array | pa.ChunkedArray

Count = Annotated[int, Field(ge=0)]


class FrozenModel(BaseModel):
    """A stored value: nothing undeclared, nothing infinite, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NumericBins(FrozenModel):
    """Counts of a number between frozen edges: of the training rows, or of others by their bins.

    Bin i counts edges[i-1] < x <= edges[i]; the first bin is open below, the last one above.

    Attributes:
        edges: Interior edges, strictly increasing; values that occurred in training.
        counts: Rows per bin, one more than edges.
        missing: Rows that were null or NaN.
        low: Smallest finite training value; None, as the next three, where there was none or
            where it cannot be written, and in profiles of earlier versions.
        high: Largest finite training value.
        mean: Mean of the finite training values.
        deviation: Their standard deviation, divisor n; 0 of a constant.
    """

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    missing: Count
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _counts_fit_the_edges(self) -> NumericBins:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must increase strictly")
        return self

    @model_validator(mode="after")
    def _edges_lie_between_the_ends(self) -> NumericBins:
        if self.low is None or self.high is None or not self.deviation or not self.edges:
            return self  # the lower edge of a constant lies right below it
        if not self.low <= self.edges[0] <= self.edges[-1] <= self.high:
            raise ValueError("edges must lie between low and high")
        return self

    @property
    def bin_counts(self) -> tuple[int, ...]:
        """Rows by bin number; the last bin is missing."""
        return (*self.counts, self.missing)

    def with_counts(self, bin_counts: Sequence[int]) -> NumericBins:
        """Return the same bins with other rows in them, given as `bin_counts` gives them.

        Raises:
            ValueError: There are more or fewer counts than bins.
        """
        _require_one_each(bin_counts, self.bin_counts)
        *counts, missing = bin_counts
        return self.model_copy(update={"counts": tuple(counts), "missing": missing})

    def observe(self, values: Values) -> np.ndarray:
        """Count values by bin number: int64, as long as `bin_counts`."""
        numbers = comparable_numbers(values)
        present = len(numbers) - int(np.count_nonzero(np.isnan(numbers)))
        edges = self.comparable_edges(numbers.dtype)
        at_most = [int(np.count_nonzero(numbers <= edge)) for edge in edges]
        return np.diff([0, *at_most, present, len(numbers)])

    def comparable_edges(self, type_: np.dtype) -> np.ndarray:
        """Return the edges in the type of numbers, so that comparing does not widen every number.

        x <= edge for a float32 x exactly where x <= the largest float32 that is not above the edge.
        """
        edges = np.asarray(self.edges, dtype=np.float64)
        if type_ != np.float32:
            return edges
        with np.errstate(over="ignore"):
            narrow = edges.astype(np.float32)
        return np.where(narrow > edges, np.nextafter(narrow, np.float32(-np.inf)), narrow)


class CategoryCounts(FrozenModel):
    """Counts of a string or bool, the most frequent categories of training one by one.

    Attributes:
        counts: Rows by category; bools are the categories `true` and `false`.
        other: Rows of all remaining categories.
        missing: Rows that were null.
    """

    kind: Literal["categorical"] = "categorical"
    counts: Mapping[str, Count]
    other: Count
    missing: Count

    @property
    def bin_counts(self) -> tuple[int, ...]:
        """Rows by bin number: categories by name, then other, then missing."""
        return (*(self.counts[name] for name in sorted(self.counts)), self.other, self.missing)

    def with_counts(self, bin_counts: Sequence[int]) -> CategoryCounts:
        """Return the same bins with other rows in them, given as `bin_counts` gives them.

        Raises:
            ValueError: There are more or fewer counts than bins.
        """
        _require_one_each(bin_counts, self.bin_counts)
        *counts, other, missing = bin_counts
        named = dict(zip(sorted(self.counts), counts, strict=True))
        return self.model_copy(update={"counts": named, "other": other, "missing": missing})

    def observe(self, values: Values) -> np.ndarray:
        """Count values by bin number: int64, as long as `bin_counts`; unseen is other."""
        texts = values.cast(pa.string())
        found = pc.index_in(texts, value_set=pa.array(sorted(self.counts), pa.string()))
        known = np.asarray(found.drop_null().to_numpy(zero_copy_only=False), dtype=np.int64)
        counts = np.bincount(known, minlength=len(self.counts))
        other = len(texts) - len(known) - texts.null_count
        return np.concatenate([counts, [other, texts.null_count]])


Binned = NumericBins | CategoryCounts

Reference = Annotated[Binned, Field(discriminator="kind")]


def _require_one_each(counts: Sequence[int], bins: Sequence[int]) -> None:
    if len(counts) != len(bins):
        raise ValueError(f"{len(counts)} counts for {len(bins)} bins")


def comparable_numbers(values: Values) -> np.ndarray:
    """Return float32 without nulls as it is, anything else as float64, null as NaN."""
    if values.type == pa.float32() and not values.null_count:
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return floats(values)


def floats(values: Values) -> np.ndarray:
    """Return numbers as float64, null as NaN."""
    numbers = pc.fill_null(values.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(numbers.to_numpy(zero_copy_only=False))
