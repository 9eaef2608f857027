"""The assets of a pipeline: each calls one function of the layers below and shows its result."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from batchinf_assets.attempts import Attempt
from batchinf_assets.features.build import build_features, features_table
from batchinf_assets.lake.digest import json_sha256
from batchinf_assets.orchestration.assets.challenger import challenger_asset
from batchinf_assets.orchestration.assets.evaluation import evaluation_asset
from batchinf_assets.orchestration.assets.performance import performance_asset
from batchinf_assets.orchestration.assets.window_asset import attempted_asset
from batchinf_assets.orchestration.keys import MODEL, asset_key
from batchinf_assets.orchestration.metadata.corrections import (
    correction_metadata,
    score_changes_metadata,
    snapshot_changes_metadata,
)
from batchinf_assets.orchestration.metadata.models import promoted_metadata
from batchinf_assets.orchestration.metadata.results import (
    lineage_metadata,
    quarantine_metadata,
    table_metadata,
    view_key,
)
from batchinf_assets.orchestration.partitions import partitions_of
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.tries import WindowResult
from batchinf_assets.orchestration.steps.window_runs import failing_clearly
from batchinf_assets.publishing.announcements import announce
from batchinf_assets.publishing.publish import publish_window
from batchinf_assets.publishing.score_changes import keep_score_changes
from batchinf_assets.publishing.visible import visible_revision
from batchinf_assets.registry.trust import promoted_model
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot, snapshot_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window


def pipeline_assets(
    pipeline: Pipeline,
) -> list[dg.AssetsDefinition | dg.SourceAsset | dg.AssetSpec]:
    """Return the whole graph of a pipeline, from what lands to what was realised."""
    return [
        *landing_specs(pipeline),
        snapshot_asset(pipeline),
        features_asset(pipeline),
        model_asset(pipeline),
        predictions_asset(pipeline),
        evaluation_asset(pipeline),
        published_asset(pipeline),
        performance_asset(pipeline),
        *([challenger_asset(pipeline)] if pipeline.spec.model.challenger else []),
    ]


def landing_specs(pipeline: Pipeline) -> list[dg.AssetSpec]:
    """Declare what upstream systems drop; nothing here makes it."""
    spec = pipeline.spec
    # A landing is of one window only where that is what makes windows run.
    partitions = partitions_of(spec.window) if spec.automation == "declarative" else None
    files = {name: reference.file for name, reference in spec.references.items()}
    files["source"] = spec.source.files
    if spec.outcomes:
        files["outcomes"] = spec.outcomes.files
    return [
        dg.AssetSpec(
            view_key(pipeline, name),
            group_name=spec.name,
            owners=[spec.owner],
            kinds={"parquet"},
            description=f"Landed by upstream as {file}.",
            partitions_def=partitions if name == "source" else None,
        )
        for name, file in sorted(files.items())
    ]


def snapshot_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Freeze the landed rows of a window."""
    columns = pipeline.spec.source.columns.values()
    looked_up = sorted({c.known_in.partition(".")[0] for c in columns if c.known_in is not None})
    upstream = [f"landing/{name}" for name in ("source", *looked_up)]
    return attempted_asset(pipeline, "snapshot", upstream, _freeze, kinds={"deltalake"})


def _freeze(
    workplace: Workplace, pipeline: Pipeline, attempt: Attempt, window: Window
) -> WindowResult:
    project, spec = workplace.project(), pipeline.spec
    table = snapshot_table(project, spec)
    before = table.files_of(window)
    snapshot = freeze_snapshot(project, spec, window, order=attempt.order)
    folder = table.folder_of(window)
    return WindowResult(
        data_version=json_sha256(snapshot.record.content),
        metadata=table_metadata(snapshot.record.rows, folder, spec.source.columns)
        | quarantine_metadata(project, spec, window, snapshot.record.quarantined)
        | snapshot_changes_metadata(before, snapshot.path, spec.source.key)
        | {"source_sha256": dg.MetadataValue.text(snapshot.record.source.sha256)},
        checks=snapshot.checks,
    )


def features_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Run the feature SQL over the point-in-time views of a window."""
    views = [f"landing/{name}" for name in pipeline.spec.references]
    outcomes = ["landing/outcomes"] if pipeline.spec.outcomes else []
    return attempted_asset(
        pipeline, "features", ["snapshot", *views, *outcomes], _build, kinds={"duckdb", "deltalake"}
    )


def _build(
    workplace: Workplace, pipeline: Pipeline, _attempt: Attempt, window: Window
) -> WindowResult:
    project, spec = workplace.project(), pipeline.spec
    traced = lineage_metadata(pipeline)  # SQL without lineage is refused before anything is written
    features = build_features(project, pipeline, window)
    folder = features_table(project, spec).folder_of(window)
    return WindowResult(
        data_version=json_sha256(features.record.content),
        metadata=table_metadata(features.record.rows, folder, spec.feature_table)
        | traced
        | quarantine_metadata(project, spec, window, features.record.quarantined)
        | {"outcome_files_absent": dg.MetadataValue.int(len(features.record.absent))},
        checks=features.checks,
    )


def model_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Observe which signed model was promoted; its data version is the artifact's digest."""
    spec, declared = pipeline.spec, pipeline.spec.model
    key = asset_key(spec.name, MODEL)

    @dg.multi_observable_source_asset(
        name=f"{spec.name}__model",
        specs=[
            dg.AssetSpec(
                key,
                description=f"Registered model {declared.name}, alias {declared.alias}.",
                group_name=spec.name,
                owners=[spec.owner, f"team:{spec.team}"],
                kinds={"mlflow", "scikitlearn"},
            )
        ],
    )
    def model(workplace: Workplace) -> Iterator[dg.ObserveResult]:
        now = datetime.now(UTC)
        with failing_clearly():
            found = promoted_model(workplace.registry(), declared.name, declared.alias, now)
        yield dg.ObserveResult(
            asset_key=key,
            data_version=dg.DataVersion(found.version.digest),
            metadata=promoted_metadata(found),
        )

    return model


def predictions_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Score the features of a window into files that no reader sees yet."""
    return attempted_asset(
        pipeline, "predictions", ["features", MODEL], _score, kinds={"scikitlearn", "parquet"}
    )


def _score(
    workplace: Workplace, pipeline: Pipeline, attempt: Attempt, window: Window
) -> WindowResult:
    project, spec = workplace.project(), pipeline.spec
    now, registry = datetime.now(UTC), workplace.registry()
    announce(project, spec, window)  # where a rollback died before it told
    manifest = score_window(
        project,
        pipeline,
        window,
        scoring_model(registry, pipeline, now),
        attempt=attempt,
        now=now,
        superseded=visible_revision(project, registry, spec, window),
    )
    folder = predictions_table(project, spec).folder_of(window)
    return WindowResult(
        data_version=manifest.revision,
        metadata=table_metadata(manifest.counts.scored, folder, spec.prediction_table)
        | correction_metadata(manifest.changes)
        | {
            "revision": dg.MetadataValue.text(manifest.revision),
            "model": dg.MetadataValue.text(f"{manifest.model.name} v{manifest.model.version}"),
        },
        checks=[check for check in manifest.checks if check.asset == "predictions"],
        inputs={MODEL: manifest.model.digest},
    )


def published_asset(pipeline: Pipeline) -> dg.AssetsDefinition:
    """Make a judged revision visible in one commit."""
    # The gate asks the registry for itself. And Dagster passes staleness on by one step only.
    upstream = ["evaluation", MODEL]
    return attempted_asset(pipeline, "published", upstream, _publish, kinds={"deltalake"})


def _publish(
    workplace: Workplace, pipeline: Pipeline, attempt: Attempt, window: Window
) -> WindowResult:
    project, spec = workplace.project(), pipeline.spec
    registry, now = workplace.registry(), datetime.now(UTC)
    publication = publish_window(
        project, registry, pipeline, window, key=workplace.signing_key(), lease=attempt, now=now
    )
    attempt.published(publication.manifest, publication.sha256, changed=publication.changed)
    scores = keep_score_changes(project, spec, window, lease=attempt)
    manifest, folder = publication.manifest, predictions_table(project, spec).folder
    return WindowResult(
        data_version=manifest.revision,
        metadata=table_metadata(manifest.counts.scored, folder, spec.prediction_table)
        | score_changes_metadata(scores)
        | {
            "revision": dg.MetadataValue.text(manifest.revision),
            "manifest": dg.MetadataValue.path(str(publication.path)),
            "changed": dg.MetadataValue.bool(publication.changed),
        },
        checks=[publication.gate],
        inputs={MODEL: manifest.model.digest},
    )
