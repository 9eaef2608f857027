"""The scores of a published revision, looked up by key and features while a corrected one is made.

The score of a row depends on its features, the model and the code alone: `scoring.scorer` asks that
of every scorer. Which revision may be looked up, and when, is in `scoring.correction`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.matching import Rows, chosen_rows, match_rows, rows_within, same_rows
from batchinf_assets.lake.order import KeySpan
from batchinf_assets.lake.row_groups import RowGroups
from batchinf_assets.scoring.said import Scores


@dataclass(frozen=True, kw_only=True)
class ScoredGroup:
    """A row group of features that was scored, and the row group of its predictions.

    Attributes:
        span: First and last key of its rows.
        features: The file of the features.
        feature_group: The row group in it.
        predictions: The file of the predictions.
        prediction_group: The row group in it.
    """

    span: KeySpan
    features: RowGroups
    feature_group: int
    predictions: RowGroups
    prediction_group: int


@dataclass(frozen=True, kw_only=True)
class EarlierScores:
    """The scores of a published revision, by key and features; used by several threads at once.

    Attributes:
        groups: Its row groups, in key order.
        key: The key columns.
        inputs: The features.
        given: The columns that hold what the model gave.
    """

    groups: tuple[ScoredGroup, ...]
    key: tuple[str, ...]
    inputs: tuple[str, ...]
    given: tuple[str, ...]

    def of(self, features: pa.Table) -> tuple[Scores, npt.NDArray[np.bool_]]:
        """Look up the scores of rows that were scored with the same features.

        Reads the row groups alone that the keys reach into, one at a time. A group that cannot be
        read any more has no scores.

        Args:
            features: Key and features, ascending by key.

        Returns:
            The scores as `scoring.said` has them, and which rows are known, shape (rows,); others
            are 0.
        """
        scores = np.zeros((features.num_rows, len(self.given)))
        known = np.zeros(features.num_rows, dtype=np.bool_)
        for group in self._reached(KeySpan.of(features.select(list(self.key)))):
            start, end = rows_within(features, group.span, self.key)
            try:
                rows, found = self._equal_rows(group, features.slice(start, end - start))
            except ManifestInvalid:  # damaged since it was verified
                continue
            scores[start + rows], known[start + rows] = found, True
        return scores if len(self.given) > 1 else scores[:, 0], known

    def _reached(self, span: KeySpan) -> Iterator[ScoredGroup]:
        if span.rows:
            first = bisect_left(self.groups, span.first, key=lambda group: group.span.last)
            for group in self.groups[first:]:
                if group.span.first > span.last:
                    return
                yield group

    def _equal_rows(self, group: ScoredGroup, rows: pa.Table) -> tuple[Rows, Scores]:
        """Return which rows were scored with the same features, and their scores."""
        (before,) = group.features.read([group.feature_group], [*self.key, *self.inputs])
        (scored,) = group.predictions.read([group.prediction_group], [*self.key, *self.given])
        if scored.num_rows != before.num_rows or not same_rows(scored, before, self.key).all():
            raise ManifestInvalid(
                f"{group.predictions.place} does not hold the rows of {group.features.place}.",
                next_step="Find out who changed it.",
            )
        old, new = match_rows(before, rows, self.key)
        equal = same_rows(chosen_rows(before, old), chosen_rows(rows, new), self.inputs)
        given = (scored.column(name).to_numpy() for name in self.given)
        scores = np.column_stack([column.astype(np.float64) for column in given])
        return new[equal], scores[old[equal]]
