"""A revision's id: same inputs, same id, so doing it again is a no-op."""

from __future__ import annotations

from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord
from batchinf_assets.manifest.means import CodeRecord, SettingsRecord
from batchinf_assets.spec.load import Pipeline


def revision_id(
    *,
    snapshot: SnapshotRecord,
    features: FeaturesRecord,
    model: str,
    settings: SettingsRecord,
    code: CodeRecord,
) -> str:
    """Digest everything that decides the output, and which rows are in it.

    Of snapshot and features count the content digests, the definition, the contracts that rows
    were judged by, and what was said of those that were set aside. The features' content covers
    the reference data that they were made from.

    Args:
        snapshot: The frozen source rows.
        features: The model's input.
        model: Digest of the model artifact.
        settings: Scoring and post-processing settings.
        code: The code that scores and the libraries under it.

    Returns:
        The first 16 hex digits of a SHA-256.
    """
    judged = {
        "contract": snapshot.contract,
        "rejected": snapshot.rejected,
        "features_contract": features.contract,
        "features_rejected": features.rejected,
    }
    document = {
        "snapshot": snapshot.digest,
        "features": features.digest,
        "definition": features.definition,
        "model": model,
        "settings": settings.model_dump(mode="json"),
        "code": [code.source, code.python, code.libraries],
        # Left out where not known: so earlier revisions keep the ids that they were published with.
        **{name: digest for name, digest in judged.items() if digest is not None},
    }
    return json_sha256(document)[:16]


def derived_revision(manifest: Manifest) -> str:
    """Return the id that a manifest's own contents give."""
    return revision_id(
        snapshot=manifest.snapshot,
        features=manifest.features,
        model=manifest.model.digest,
        settings=manifest.settings,
        code=manifest.code,
    )


def scored_by(manifest: Manifest, code: CodeRecord, shard_rows: int) -> Manifest:
    """Return a manifest of the same inputs, model and post-processing, scored by other code.

    Args:
        manifest: What was scored.
        code: The other code.
        shard_rows: Into how many rows it cuts, which changes the files and no score.
    """
    settings = manifest.settings.model_copy(update={"shard_rows": shard_rows})
    return manifest.model_copy(update={"code": code, "settings": settings})


def scoring_settings(pipeline: Pipeline) -> SettingsRecord:
    """Collect the declared settings that decide the output's bytes."""
    columns = {name: column.type for name, column in pipeline.spec.prediction_table.items()}
    declared: dict[str, object] = {"sql": pipeline.postprocess_sql, "columns": columns}
    if pipeline.spec.prediction.classes:  # their order decides ties
        declared["classes"] = pipeline.spec.prediction.classes
    return SettingsRecord(
        prediction_column=pipeline.spec.prediction.score,
        shard_rows=pipeline.spec.shard_rows,
        postprocess=json_sha256(declared),
    )
