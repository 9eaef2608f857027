"""How the features and scores of two sides are spread, by the bins of one model's profile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.comparison.class_drift import furthest_first
from batchinf_assets.evaluation.comparison.pairs import SCORE, scores_of
from batchinf_assets.evaluation.drift.distances import Difference, differences
from batchinf_assets.registry.profile import Profile, Values
from batchinf_assets.scoring.observed import observe
from batchinf_assets.scoring.said import leading_scores

Counts = dict[str, npt.NDArray[np.int64]]


@dataclass
class Distributions:
    """Counts both sides of a stream by the same frozen bins.

    Attributes:
        profile: The bins.
        score: What the profile calls the score; of several classes it is the largest one.
    """

    profile: Profile
    score: str
    _a: Counts = field(default_factory=dict[str, npt.NDArray[np.int64]])
    _b: Counts = field(default_factory=dict[str, npt.NDArray[np.int64]])

    def add_a(self, *tables: pa.Table) -> None:
        """Count the next rows of the one side: features that it has, and `SCORE`."""
        self._count(self._a, tables)

    def add_b(self, *tables: pa.Table) -> None:
        """Count the next rows of the other side."""
        self._count(self._b, tables)

    def differences(self) -> tuple[Difference, ...]:
        """Hold b against a, the subject that moved furthest first.

        Both sides are mostly the same rows, so what the measures say of chance does not hold.
        """
        known = [name for name in self.profile.subjects if name in self._a and name in self._b]
        references = {
            name: self.profile.subjects[name].with_counts(self._a[name].tolist()) for name in known
        }
        found = differences({name: self._b[name].tolist() for name in known}, references)
        return furthest_first(found.values())

    def _count(self, counts: Counts, tables: tuple[pa.Table, ...]) -> None:
        for rows in tables:
            for name, found in observe(self.profile, self._columns(rows)).items():
                counts[name] = counts.get(name, np.zeros_like(found)) + found

    def _columns(self, rows: pa.Table) -> Mapping[str, Values]:
        columns = {name: rows.column(name) for name in rows.column_names if name != SCORE}
        return {**columns, self.score: pa.chunked_array([leading_scores(scores_of(rows))])}
