"""A revision's id: same inputs, same id, so doing it again is a no-op."""

from __future__ import annotations

from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.manifest import CodeRecord, SettingsRecord
from batchinf_assets.spec import Pipeline


def revision_id(
    *,
    snapshot: str,
    features: str,
    definition: str,
    model: str,
    settings: SettingsRecord,
    code: CodeRecord,
) -> str:
    """Digest everything that decides the output.

    Args:
        snapshot: Content digest of the snapshot.
        features: Content digest of the feature rows; covers the reference data they were made from.
        definition: Digest of the feature definition.
        model: Digest of the model artifact.
        settings: Scoring and post-processing settings.
        code: The code that scores and the libraries under it.

    Returns:
        The first 16 hex digits of a SHA-256.
    """
    document = {
        "snapshot": snapshot,
        "features": features,
        "definition": definition,
        "model": model,
        "settings": settings.model_dump(mode="json"),
        "code": [code.source, code.python, code.libraries],
    }
    return json_sha256(document)[:16]


def scoring_settings(pipeline: Pipeline) -> SettingsRecord:
    """Collect the declared settings that decide the output's bytes."""
    columns = {name: column.type for name, column in pipeline.spec.prediction_table.items()}
    declared = {"sql": pipeline.postprocess_sql, "columns": columns}
    return SettingsRecord(
        prediction_column=pipeline.spec.prediction.column,
        shard_rows=pipeline.spec.shard_rows,
        postprocess=json_sha256(declared),
    )
