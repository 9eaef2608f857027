"""Labelled rows counted by score: what the figures of a binary label are made of.

Where the counts of a window are kept is in `realised.labelled_scores`.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from batchinf_assets.evaluation.statements import statement
from batchinf_assets.lake.query import query

SCHEMA = pa.schema(
    [
        pa.field("score", pa.float64()),
        pa.field("positives", pa.int64(), nullable=False),
        pa.field("negatives", pa.int64(), nullable=False),
    ]
)

MOST_SCORES = 65_536
"""Different scores that are kept as they are. More are put together: a row's score then moves by
less than 1 / 65,536, and so do the metrics made of it."""

COUNTED_SQL = """
    SELECT
        score,
        count(*) FILTER (WHERE label) AS positives,
        count(*) FILTER (WHERE NOT label) AS negatives
    FROM labelled
    GROUP BY 1
    ORDER BY 1
"""
COARSENED_SQL = statement("coarsened.sql")

Column = pa.Array | pa.ChunkedArray


def counted_scores(labels: Column, scores: Column, *, decision: float) -> pa.Table:
    """Count labelled rows by score.

    Args:
        labels: Booleans, n.
        scores: Numbers, n.
        decision: The score that counts as positive; nothing moves across it.

    Returns:
        Rows of `SCHEMA`, by score.
    """
    labelled = pa.table({"label": labels, "score": scores})
    return _bounded(query(COUNTED_SQL, {"labelled": labelled}), decision)


def pooled_scores(windows: Iterable[pa.Table], *, decision: float) -> pa.Table:
    """Put the counts of several windows together: rows of `SCHEMA`, by score."""
    counts = pa.concat_tables([SCHEMA.empty_table(), *windows])
    summed = counts.group_by("score").aggregate([("positives", "sum"), ("negatives", "sum")])
    return _bounded(summed.rename_columns(SCHEMA.names).sort_by("score"), decision)


def _bounded(counts: pa.Table, decision: float) -> pa.Table:
    if counts.num_rows > MOST_SCORES:
        parameters: dict[str, object] = {"cells": MOST_SCORES, "decision": decision}
        counts = query(COARSENED_SQL, {"counted": counts}, parameters)
    return counts.cast(SCHEMA)
