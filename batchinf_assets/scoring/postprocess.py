"""Post-processing: the pipeline's row-wise SQL over the scored rows of one shard."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.errors import FeatureSqlFailed
from batchinf_assets.lake.query import query, refusal_text
from batchinf_assets.scoring.said import Scores, said_columns
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.prediction import PredictionSpec


def scored_rows(features: pa.Table, scores: Scores, prediction: PredictionSpec) -> pa.Table:
    """Put the scores beside key and features, as post-processing SQL sees them in `scored`.

    Args:
        features: Key and features.
        scores: What the model said, as `scoring.said` has it.
        prediction: Names the columns.
    """
    for name, values in said_columns(scores, prediction).items():
        features = features.append_column(name, values)
    return features


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


def check_score_kept(rows: pa.Table, scores: Scores, spec: PipelineSpec) -> CheckResult:
    """Check that every column of the model is still what it said, row by row.

    Golden metrics judge the model's score; a score changed afterwards would reach consumers
    unjudged. Lost or invented rows are for `row_conservation` to name.

    Args:
        rows: Prediction rows of one shard, sorted by key.
        scores: What the model said, in key order, as `scoring.said` has it.
        spec: The pipeline.
    """
    said = said_columns(scores, spec.prediction) if len(scores) == rows.num_rows else {}
    violations = [
        Violation(
            column=column,
            rule="the model's own score: give what post-processing makes of it another name",
            count=broken.num_rows,
            samples=sample_keys(broken, spec.source.key),
        )
        for column, values in said.items()
        if (broken := rows.filter(_changed(rows.column(column), values))).num_rows
    ]
    return CheckResult(
        name="contract",
        asset="predictions",
        passed=not violations,
        violations=tuple(violations),
    )


def _changed(found: pa.ChunkedArray, said: pa.Array) -> pa.ChunkedArray:
    """Tell where values differ, a missing one from all."""
    return pc.fill_null(pc.not_equal(found, said), fill_value=True)
