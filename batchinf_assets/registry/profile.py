"""The training reference profile: how every feature and the score were spread when a model learned.

It is frozen at registration and bound by the artifact's digest; `evaluation.drift` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from batchinf_assets.contract_spec import NUMERIC, FeatureSpec
from batchinf_assets.errors import InvalidSpec, ModelRefused, Refusal
from batchinf_assets.lake.digest import canonical_json

Values = pa.Array | pa.ChunkedArray

CUT_POINTS = 9
MAX_CATEGORIES = 200

Count = Annotated[int, Field(ge=0)]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NumericBins(_Frozen):
    """Training counts of a number, cut at its deciles.

    Bin i counts edges[i-1] < x <= edges[i]; the first bin is open below, the last one above.

    Attributes:
        edges: Interior edges, strictly increasing; values that occurred in training.
        counts: Training rows per bin, one more than edges.
        missing: Training rows that were null or NaN.
    """

    kind: Literal["numeric"] = "numeric"
    edges: tuple[float, ...]
    counts: tuple[Count, ...]
    missing: Count

    @model_validator(mode="after")
    def _counts_fit_the_edges(self) -> NumericBins:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts")
        if any(low >= high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must increase strictly")
        return self

    @property
    def bin_counts(self) -> tuple[int, ...]:
        """Training rows by bin number; the last bin is missing."""
        return (*self.counts, self.missing)

    def observe(self, values: Values) -> np.ndarray:
        """Count values by bin number: int64, as long as `bin_counts`."""
        numbers = _numbers(values)
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


class CategoryCounts(_Frozen):
    """Training counts of a string or bool, the most frequent categories one by one.

    Attributes:
        counts: Training rows by category; bools are the categories `true` and `false`.
        other: Training rows of all remaining categories.
        missing: Training rows that were null.
    """

    kind: Literal["categorical"] = "categorical"
    counts: Mapping[str, Count]
    other: Count
    missing: Count

    @property
    def bin_counts(self) -> tuple[int, ...]:
        """Training rows by bin number: categories by name, then other, then missing."""
        return (*(self.counts[name] for name in sorted(self.counts)), self.other, self.missing)

    def observe(self, values: Values) -> np.ndarray:
        """Count values by bin number: int64, as long as `bin_counts`; unseen is other."""
        texts = values.cast(pa.string())
        found = pc.index_in(texts, value_set=pa.array(sorted(self.counts), pa.string()))
        known = np.asarray(found.drop_null().to_numpy(zero_copy_only=False), dtype=np.int64)
        counts = np.bincount(known, minlength=len(self.counts))
        other = len(texts) - len(known) - texts.null_count
        return np.concatenate([counts, [other, texts.null_count]])


Reference = Annotated[NumericBins | CategoryCounts, Field(discriminator="kind")]


class Profile(_Frozen):
    """How every subject was spread over the training rows.

    Attributes:
        rows: Training rows; each subject's counts add up to it.
        subjects: Reference by feature name, and by the score column's name.
    """

    version: Literal[1] = 1
    rows: int = Field(ge=1)
    subjects: Mapping[str, Reference]

    @model_validator(mode="after")
    def _every_row_is_counted(self) -> Profile:
        for name, reference in self.subjects.items():
            if sum(reference.bin_counts) != self.rows:
                raise ValueError(f"the counts of '{name}' do not add up to {self.rows} rows")
        return self

    def observe(self, columns: Mapping[str, Values]) -> dict[str, list[int]]:
        """Count rows by bin number, for every subject that has a column."""
        return {
            name: reference.observe(columns[name]).tolist()
            for name, reference in self.subjects.items()
            if name in columns
        }

    def to_json(self) -> str:
        """Write canonical JSON: equal profiles give equal text, floats read back exactly."""
        return canonical_json(self.model_dump()).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Profile:
        """Read what `to_json` wrote.

        Raises:
            ModelRefused: The text is no profile, or its counts contradict each other.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"]) or "document"
            raise ModelRefused(
                f"The model's reference profile is invalid at {where}: {problem['msg']}.",
                reason=Refusal.UNDESCRIBED,
                next_step="Register the model again: batchinf model register.",
            ) from error


def build_profile(
    features: pa.Table,
    scores: np.ndarray | Values,
    *,
    columns: Mapping[str, FeatureSpec],
    score_column: str,
) -> Profile:
    """Count the training rows per bin of each feature and of the score.

    Cut points are the deciles by the inverse of the empirical distribution function (Hyndman and
    Fan 1996, definition 1), so each is a value that occurred. A feature that was constant in
    training also gets an edge right below its value: otherwise a fall would not be seen.

    Args:
        features: Training rows: n, with at least the declared columns.
        scores: The model's scores on the same rows, n.
        columns: Declared features.
        score_column: Name of the score.

    Raises:
        ModelRefused: There are no training rows, or not one score per row.
        InvalidSpec: A feature has the score's name.
    """
    _check_profilable(features.num_rows, len(scores), columns, score_column)
    subjects: dict[str, NumericBins | CategoryCounts] = {
        name: _numeric(features.column(name))
        if column.type in NUMERIC
        else _categorical(features.column(name))
        for name, column in columns.items()
    }
    score_values = pa.array(scores) if isinstance(scores, np.ndarray) else scores
    return Profile(
        rows=features.num_rows, subjects={**subjects, score_column: _numeric(score_values)}
    )


def _check_profilable(
    rows: int, scores: int, columns: Mapping[str, FeatureSpec], score_column: str
) -> None:
    if rows == 0 or scores != rows:
        raise ModelRefused(
            f"A reference profile needs training rows with one score each; there are "
            f"{rows} rows and {scores} scores.",
            reason=Refusal.UNDESCRIBED,
            next_step="Check model.training.start and model.training.end in defs.yaml.",
        )
    if score_column in columns:
        raise InvalidSpec(
            f"'{score_column}' names both a feature and the score.",
            next_step="Rename prediction.column in defs.yaml.",
        )


def _numeric(values: Values) -> NumericBins:
    numbers = _floats(values)
    edges = _edges(numbers)
    empty = NumericBins(edges=tuple(edges.tolist()), counts=(0,) * (len(edges) + 1), missing=0)
    *counts, missing = empty.observe(pa.array(numbers)).tolist()
    return empty.model_copy(update={"counts": tuple(counts), "missing": missing})


def _edges(numbers: np.ndarray) -> np.ndarray:
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return np.empty(0)
    quantiles = np.arange(1, CUT_POINTS + 1) / (CUT_POINTS + 1)
    edges = np.unique(np.quantile(present, quantiles, method="inverted_cdf"))
    edges = edges[np.isfinite(edges)]
    if len(edges) == 1 and np.all(present == edges[0]):
        return np.concatenate([np.nextafter(edges, -np.inf), edges])
    return edges


def _categorical(values: Values) -> CategoryCounts:
    texts = values.cast(pa.string())
    counted = pc.value_counts(texts.drop_null()).to_pylist()
    counts = {str(entry["values"]): int(entry["counts"]) for entry in counted}
    by_frequency = sorted(counts, key=lambda name: (-counts[name], name))
    kept = sorted(by_frequency[:MAX_CATEGORIES])
    return CategoryCounts(
        counts={name: counts[name] for name in kept},
        other=sum(counts[name] for name in by_frequency[MAX_CATEGORIES:]),
        missing=texts.null_count,
    )


def _numbers(values: Values) -> np.ndarray:
    if values.type == pa.float32() and not values.null_count:
        return np.asarray(values.to_numpy(zero_copy_only=False))
    return _floats(values)


def _floats(values: Values) -> np.ndarray:
    numbers = pc.fill_null(values.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(numbers.to_numpy(zero_copy_only=False))
