"""The training reference profile: how every feature and the score were spread when a model learned.

It is frozen at registration and bound by the artifact's digest; `drift.measure` reads it, and
`drift.sketches` keeps later windows by the same bins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, ValidationError, model_validator

from batchinf_assets.errors import InvalidSpec, ModelRefused, Refusal
from batchinf_assets.lake.digest import canonical_json, json_sha256
from batchinf_assets.registry.bins import (
    Binned,
    CategoryCounts,
    FrozenModel,
    NumericBins,
    Reference,
    Values,
    floats,
)
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets.spec.contract import NUMERIC, FeatureSpec

QUANTILES = (0.01, 0.05, *(tenths / 10 for tenths in range(1, 10)), 0.95, 0.99)
"""Where a number is cut: at its deciles, and closer in the tails, where drift shows first."""

MAX_CATEGORIES = 200


class Profile(FrozenModel):
    """How every subject was spread over the training rows.

    Attributes:
        version: 2 where it is known how the training windows differ, otherwise 1.
        rows: Training rows; each subject's counts add up to it.
        subjects: Reference by feature name, and by the score column's name.
        window_spreads: How the training windows differ, by subject; None where that is not known.
    """

    version: Literal[1, 2] = 1
    rows: int = Field(ge=1)
    subjects: Mapping[str, Reference]
    window_spreads: Mapping[str, WindowSpread] | None = None

    @model_validator(mode="after")
    def _every_row_is_counted(self) -> Profile:
        for name, reference in self.subjects.items():
            if sum(reference.bin_counts) != self.rows:
                raise ValueError(f"the counts of '{name}' do not add up to {self.rows} rows")
        return self

    @model_validator(mode="after")
    def _the_version_says_whether_windows_are_known(self) -> Profile:
        if (self.version == 2) != bool(self.window_spreads):
            raise ValueError("version 2, and no other, says how windows differ")
        if unknown := sorted(set(self.window_spreads or ()) - set(self.subjects)):
            raise ValueError(f"'{unknown[0]}' has windows and no counts")
        return self

    def with_windows(self, spreads: Mapping[str, WindowSpread]) -> Profile:
        """Return the same bins and counts, and how the windows differ that were counted."""
        if not spreads:
            return self
        return Profile(
            version=2, rows=self.rows, subjects=self.subjects, window_spreads=dict(spreads)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of what it says: rows counted by profiles of one digest are in the same bins."""
        return json_sha256(self.model_dump(exclude_none=True))

    def observe(self, columns: Mapping[str, Values]) -> dict[str, list[int]]:
        """Count rows by bin number, for every subject that has a column."""
        return {
            name: reference.observe(columns[name]).tolist()
            for name, reference in self.subjects.items()
            if name in columns
        }

    def to_json(self) -> str:
        """Write canonical JSON: equal profiles give equal text, floats read back exactly."""
        return canonical_json(self.model_dump(exclude_none=True)).decode()

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

    Edges are `QUANTILES` by the inverse of the empirical distribution function (Hyndman and Fan
    1996, definition 1), so each is a value that occurred. A feature that was constant in training
    also gets an edge right below its value: otherwise a fall would not be seen.

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
    subjects: dict[str, Binned] = {
        name: numeric_bins(features.column(name))
        if column.type in NUMERIC
        else _categorical(features.column(name))
        for name, column in columns.items()
    }
    score_values = pa.array(scores) if isinstance(scores, np.ndarray) else scores
    return Profile(
        rows=features.num_rows, subjects={**subjects, score_column: numeric_bins(score_values)}
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


def numeric_bins(values: Values) -> NumericBins:
    """Cut numbers as `build_profile` says, and count them."""
    numbers = floats(values)
    edges = _edges(numbers)
    empty = NumericBins(edges=tuple(edges.tolist()), counts=(0,) * (len(edges) + 1), missing=0)
    counted = empty.with_counts(empty.observe(pa.array(numbers)).tolist())
    return counted.model_copy(update=_spread(numbers))


def _edges(numbers: np.ndarray) -> np.ndarray:
    present = numbers[~np.isnan(numbers)]
    if not len(present):
        return np.empty(0)
    edges = np.unique(np.quantile(present, QUANTILES, method="inverted_cdf"))
    edges = edges[np.isfinite(edges)]
    if len(edges) == 1 and np.all(present == edges[0]):
        return np.concatenate([np.nextafter(edges, -np.inf), edges])
    return edges


def _spread(numbers: np.ndarray) -> dict[str, float | None]:
    finite = np.sort(numbers[np.isfinite(numbers)])  # in order, so that rows may come in any
    if not len(finite):
        return {}
    low, high = float(finite[0]) + 0.0, float(finite[-1]) + 0.0  # -0.0 and 0.0 sort either way
    if low == high:
        return {"low": low, "high": high, "mean": low, "deviation": 0.0}
    with np.errstate(over="ignore", invalid="ignore"):
        found = {"low": low, "high": high, "mean": finite.mean(), "deviation": finite.std()}
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


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
