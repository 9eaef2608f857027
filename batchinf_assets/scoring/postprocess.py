"""Post-processing: the pipeline's row-wise SQL over the scored rows of one shard."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.lake.query import query, refusal_text
from batchinf_assets.spec import Pipeline, PipelineSpec


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
            f"{spec.name}/{spec.postprocess.sql}: {refusal_text(error)}.",
            next_step="It may read only `scored`: key, features and the score.",
        ) from error


def check_score_kept(rows: pa.Table, scores: np.ndarray, spec: PipelineSpec) -> CheckResult:
    """Check that the score column is still what the model said, row by row.

    Golden metrics judge the model's score; a score changed afterwards would reach consumers
    unjudged. Lost or invented rows are for `row_conservation` to name.

    Args:
        rows: Prediction rows of one shard, sorted by key.
        scores: What the model said, in key order, float64, shape (rows,).
        spec: The pipeline.
    """
    column = spec.prediction.column
    found = np.asarray(rows.column(column))
    changed = found != scores if len(found) == len(scores) else np.zeros(len(found), dtype=bool)
    broken = rows.filter(pa.array(changed))
    rule = "the model's own score: give what post-processing makes of it another name"
    violation = Violation(
        column=column,
        rule=rule,
        count=broken.num_rows,
        samples=sample_keys(broken, spec.source.key),
    )
    return CheckResult(
        name="contract",
        asset="predictions",
        passed=broken.num_rows == 0,
        violations=(violation,) if broken.num_rows else (),
    )
