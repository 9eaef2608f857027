"""What is held of paired rows until all have been seen: scores, the label and the segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.evaluation.comparison.deltas import LargestDelta, LargestDeltas
from batchinf_assets.evaluation.comparison.labels import Labels
from batchinf_assets.evaluation.comparison.pairs import scores_of
from batchinf_assets.spec.pipeline import PipelineSpec

Booleans = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldRows:
    """Rows that both sides have, in the order in which they came.

    Attributes:
        a: Scores of the one side, (rows,); of several classes (rows, classes).
        b: Scores of the other, of the same shape.
        labels: Numbers, true and false as 1 and 0, a class as its place, or `UNKNOWN`, (rows,).
        segments: The columns to report by, as b has them.
        largest: The rows that changed most.
    """

    a: Floats
    b: Floats
    labels: Labels
    segments: pa.Table
    largest: tuple[LargestDelta, ...]

    @classmethod
    def none(cls, classes: int = 0) -> HeldRows:
        """Return no rows, of so many classes; 0 where a row has one score."""
        nothing = np.empty((0, classes) if classes else 0)
        return cls(a=nothing, b=nothing, labels=np.empty(0), segments=pa.table({}), largest=())

    @property
    def labelled(self) -> HeldRows:
        """Those whose label is known."""
        return self.of(~np.isnan(self.labels))

    def of(self, chosen: Booleans) -> HeldRows:
        """Return the rows of these flags, (rows,), without their segments."""
        return HeldRows(
            a=self.a[chosen],
            b=self.b[chosen],
            labels=self.labels[chosen],
            segments=pa.table({}),
            largest=(),
        )


class RowHolder:
    """Collects paired rows: 8 bytes of each for its label and for each score, and its segments.

    Args:
        key: The key columns.
        segments: The columns to report by.
        classes: Names of several classes.
    """

    def __init__(
        self, key: Sequence[str], segments: Sequence[str], classes: Sequence[str] = ()
    ) -> None:
        self._segments = tuple(segments)
        self._parts = [HeldRows.none(len(classes))]
        self._largest = LargestDeltas(key, classes)

    def add(self, a: pa.Table, b: pa.Table, labels: Labels) -> None:
        """Take the next pairs: key and `SCORE` of both, and the segments of b."""
        self._largest.add(a, b)
        self._parts.append(
            HeldRows(
                a=scores_of(a),
                b=scores_of(b),
                labels=labels,
                segments=pa.table({name: _column(b, name) for name in self._segments}),
                largest=(),
            )
        )

    def held(self) -> HeldRows:
        """Return all of them."""
        return joined(self._parts, self._largest.rows())


def joined(parts: Sequence[HeldRows], largest: Sequence[LargestDelta]) -> HeldRows:
    """Put rows together, at least one part, the most changed ones given."""
    return HeldRows(
        a=np.concatenate([part.a for part in parts]),
        b=np.concatenate([part.b for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        segments=_stacked([part.segments for part in parts if part.segments.num_columns]),
        largest=tuple(largest),
    )


def segment_columns(spec: PipelineSpec) -> tuple[str, ...]:
    """Return every feature that is declared to report by, wherever, each once.

    Where none is, those of strings and bools are taken.
    """
    declared = dict.fromkeys(
        (
            *spec.golden.segments,
            *spec.performance.segments,
            *spec.model.promotion.canary.segments,
        )
    )
    kinds = {name: column.type for name, column in spec.features.columns.items()}
    return tuple(declared) or tuple(n for n, kind in kinds.items() if kind in ("string", "bool"))


def _stacked(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default") if tables else pa.table({})


def _column(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column without dictionaries; nulls where an earlier declaration had it not."""
    if name not in rows.column_names:
        return pa.chunked_array([pa.nulls(rows.num_rows)])
    column = rows.column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return column.cast(kind)
