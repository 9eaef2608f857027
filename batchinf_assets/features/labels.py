"""Outcomes of a window as they landed, and the labels that the declared condition gives them."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from batchinf_assets.checks import quoted as quoted_text
from batchinf_assets.contracts.columns import ANY_LAYOUT, check_columns, conform
from batchinf_assets.errors import FeatureSqlFailed, InvalidSpec
from batchinf_assets.lake.query import query, quoted, refusal_text
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import landing_of, require_passed
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.source import OutcomesSpec
from batchinf_assets.windows import Window

LABEL = "label"
_NAMED = 5
KNOWN_AT = "_known_at"
"""When the outcome that gave the label became known; declared names start with a letter."""

LABEL_TYPES: Mapping[str, str] = {"bool": "BOOLEAN", "float64": "DOUBLE", "string": "VARCHAR"}
"""What DuckDB calls the types of labels."""

IS_LABEL: Mapping[str, str] = {
    "bool": "_label IS NOT NULL",
    "float64": "isfinite(_label)",
    "string": "_label IS NOT NULL",
}
"""Which values of them are labels."""


def require_outcomes(spec: PipelineSpec) -> OutcomesSpec:
    """Return the declared outcomes.

    Raises:
        InvalidSpec: There are none, so nothing can be learned or measured.
    """
    if spec.outcomes is None:
        raise InvalidSpec(
            f"Pipeline {spec.name} declares no outcomes.",
            next_step="Add an `outcomes` section to its defs.yaml.",
        )
    return spec.outcomes


def landed_outcomes(
    project: Project, spec: PipelineSpec, window: Window
) -> tuple[FileRecord, pa.Table]:
    """Read the outcomes that landed for a window.

    Raises:
        InvalidSpec: The pipeline declares none.
        LandedFileMissing: They have not landed.
        LandedFileUnreadable: The file is empty, truncated or corrupt.
        WindowRefused: A declared column is missing or has another type.
    """
    outcomes = require_outcomes(spec)
    landed = landing_of(project).read(
        outcomes.files, window, limits=spec.source.limits, columns=outcomes.columns
    )
    schema = check_columns(landed.rows, outcomes.columns, asset="performance", accept=ANY_LAYOUT)
    name = landed.record.path
    require_passed([schema], spec.name, window, part=name, source=name)
    return landed.record, conform(landed.rows, outcomes.columns)


def label_rows(spec: PipelineSpec, outcomes: pa.Table) -> pa.Table:
    """Label outcomes by the declared condition.

    Of several outcomes of one key the one known last counts, so a correction replaces what it
    corrects. Outcomes whose condition is NULL, or no finite number, have no label and are
    left out.

    Args:
        spec: Declares key and condition.
        outcomes: Rows with the declared outcome columns.

    Returns:
        The key columns and a `label` of the declared kind; keys unique.

    Raises:
        FeatureSqlFailed: DuckDB refuses the condition.
    """
    return timed_labels(spec, outcomes).drop_columns([KNOWN_AT])


def timed_labels(spec: PipelineSpec, outcomes: pa.Table) -> pa.Table:
    """Label outcomes as `label_rows` does, and say when each became known.

    Returns:
        The key columns, a `label` of the declared kind and the time `KNOWN_AT`, null where nobody
        knows; keys unique.

    Raises:
        FeatureSqlFailed: DuckDB refuses the condition.
    """
    declared = require_outcomes(spec)
    try:
        found = query(_labelling_sql(spec, declared), {"outcomes": outcomes})
    except duckdb.Error as error:
        raise FeatureSqlFailed(
            f"Pipeline {spec.name}, outcomes.label '{declared.label}': {refusal_text(error)}.",
            next_step="Correct it in defs.yaml: a condition, or of a regression a number, over "
            "outcomes.columns.",
        ) from error
    unknown = undeclared_classes(found.column(LABEL), spec)
    if unknown:
        raise FeatureSqlFailed(
            f"Pipeline {spec.name}, outcomes.label '{declared.label}': gives {unknown}, none of "
            f"prediction.classes ({', '.join(spec.prediction.classes)}).",
            next_step="Correct it in defs.yaml: one of the classes, or NULL where there is no "
            "label.",
        )
    return found


def undeclared_classes(labels: pa.ChunkedArray, spec: PipelineSpec) -> str:
    """Name labels that are none of the declared classes, the first few; of other kinds none."""
    if not spec.prediction.classes:
        return ""
    found = {str(name) for name in labels.unique().to_pylist()} - {*spec.prediction.classes}
    return ", ".join(quoted_text(name) for name in sorted(found)[:_NAMED])


def _labelling_sql(spec: PipelineSpec, declared: OutcomesSpec) -> str:
    """Compose the query; the condition ends at a line of its own, should it end in a comment.

    Declared names start with a letter, so `_label` is free.
    """
    key = ", ".join(quoted(name) for name in spec.source.key)
    known_at, is_label = quoted(declared.known_at), IS_LABEL[spec.prediction.of.label]
    return f"""
        WITH labels AS (
            SELECT {key}, {known_at} AS {KNOWN_AT}, CAST((
                {declared.label}
            ) AS {LABEL_TYPES[spec.prediction.of.label]}) AS _label
            FROM outcomes
            QUALIFY row_number() OVER (
                PARTITION BY {key} ORDER BY {known_at} DESC NULLS LAST, _label
            ) = 1
        )
        SELECT {key}, _label AS {LABEL}, {KNOWN_AT} FROM labels WHERE {is_label}
    """  # noqa: S608 - the names are quoted, the condition is the pipeline's own code
