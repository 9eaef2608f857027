"""Post-processing: the pipeline's row-wise SQL over the scored rows of one shard."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.lake.query import query
from batchinf_assets.spec import Pipeline


def scored_rows(features: pa.Table, scores: np.ndarray, score_column: str) -> pa.Table:
    """Put the scores beside key and features, as post-processing SQL sees them in `scored`.

    Args:
        features: Key and features.
        scores: float64, shape (rows,).
        score_column: The declared prediction column.
    """
    return features.append_column(score_column, pa.array(scores, pa.float64()))


def postprocess(pipeline: Pipeline, scored: pa.Table) -> pa.Table:
    """Turn scored rows into prediction rows, in any order.

    Raises:
        FeatureSqlFailed: DuckDB refused the SQL.
    """
    spec = pipeline.spec
    if spec.postprocess is None or pipeline.postprocess_sql is None:
        return scored.select(list(spec.prediction_table))
    try:
        return query(pipeline.postprocess_sql, {"scored": scored})
    except duckdb.Error as error:
        raise FeatureSqlFailed(
            f"{spec.name}/{spec.postprocess.sql}: {' '.join(str(error).split())}.",
            next_step="It may read only `scored`: key, features and the score.",
        ) from error
