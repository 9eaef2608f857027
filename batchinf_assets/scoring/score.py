"""Score the feature rows of a window, shard by shard, into files that no reader sees yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from batchinf_assets.checks import CheckResult, Violation, merge_checks
from batchinf_assets.code_version import running_code
from batchinf_assets.contracts.validate import (
    check_columns,
    check_same_keys,
    check_unique_key,
    check_values,
    conform,
)
from batchinf_assets.errors import WindowMissing
from batchinf_assets.features.build import Features, feature_definition, load_features
from batchinf_assets.lake.digest import sort_by
from batchinf_assets.lake.files import DataFile, write_parquet
from batchinf_assets.manifest import (
    CountsRecord,
    Manifest,
    OutputRecord,
    WindowRecord,
)
from batchinf_assets.project import Project
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.postprocess import check_score_kept, postprocess, scored_rows
from batchinf_assets.scoring.predictions import (
    ASSET,
    changed_files,
    manifests,
    predictions_table,
    published_revision,
    revision_folder,
)
from batchinf_assets.scoring.revision import revision_id, scoring_settings
from batchinf_assets.scoring.scorer import Scorer, score_rows
from batchinf_assets.scoring.shards import plan_shards
from batchinf_assets.snapshots.freeze import Snapshot, load_snapshot, require_passed
from batchinf_assets.spec import Pipeline
from batchinf_assets.windows import Window


@dataclass(frozen=True, kw_only=True)
class ScoredShard:
    """One shard's output.

    Attributes:
        file: The written file.
        keys: The key columns of its rows; kept for the checks over the whole window.
        checks: What was checked on its columns and values.
    """

    file: DataFile
    keys: pa.Table
    checks: tuple[CheckResult, ...]


def score_window(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    *,
    run_id: str,
    now: datetime,
) -> Manifest:
    """Score a window and leave a draft manifest; a no-op where this revision is published whole.

    A published file that was lost or damaged is written anew: the same inputs give the same bytes.

    Args:
        project: Where features are read and files written.
        pipeline: What to score.
        window: The window.
        model: The model to use.
        run_id: Who scores, for the manifest.
        now: The time to put into the manifest.

    Raises:
        WindowMissing: The window has no snapshot or features, or they do not belong together.
        WindowRefused: The predictions break their contract; no draft was left.
    """
    snapshot, features = _inputs(project, pipeline, window)
    draft = _describe(pipeline, window, snapshot, features, model, run_id, now)
    store = manifests(project, pipeline.spec)
    store.drop_draft(window)
    table = predictions_table(project, pipeline.spec)
    if published_revision(project, pipeline.spec, window) == draft.revision:
        published = store.read(window, draft.revision)
        if not any(changed_files(table.folder, published.outputs)):
            return published
    folder = revision_folder(project, pipeline.spec, window, draft.revision)
    shards = list(score_shards(pipeline, window, features.rows, model.scorer, folder))
    checks = (
        *_check_window(pipeline, features.rows, shards),
        check_trained_features(features, model),
    )
    require_passed(checks, "The scored output", window)
    finished = _finished(draft, shards, checks, table.folder)
    store.write_draft(window, finished)
    return finished


def check_trained_features(features: Features, model: ScoringModel) -> CheckResult:
    """Warn of features that are not those of the model's training, their columns being the same.

    Somebody changed the SQL, or what it reads: scores may be right or not, no schema tells.
    """
    learned, made = model.artifact.card.feature_definition, features.record.definition
    rule = (
        f"made by the feature definition that {model.version.name} v{model.version.version} "
        "learned from: register a new model, or accept the difference"
    )
    return CheckResult(
        name="trained_features",
        asset=ASSET,
        passed=learned == made,
        blocking=False,
        violations=() if learned == made else (Violation(column=None, rule=rule),),
        measured={"learned": learned, "scored": made},
    )


def score_shards(
    pipeline: Pipeline, window: Window, features: pa.Table, scorer: Scorer, folder: Path
) -> Iterator[ScoredShard]:
    """Score, check and write one shard after the other, in key order.

    Raises:
        FeatureSqlFailed: The post-processing SQL is wrong.
        WindowRefused: Its result lacks a declared column, or a value breaks the contract; that
            shard was not written.
    """
    spec = pipeline.spec
    name = f"{spec.name}/{spec.postprocess.sql if spec.postprocess else 'predictions'}"
    inputs = list(spec.features.columns)
    for shard in plan_shards(features.num_rows, spec.shard_rows):
        piece = features.slice(shard.start, shard.rows)
        scores = score_rows(scorer, piece.select(inputs))
        found = postprocess(pipeline, scored_rows(piece, scores, spec.prediction.column))
        schema = check_columns(found, spec.prediction_table, asset=ASSET)
        require_passed([schema], name, window)
        rows = sort_by(conform(found, spec.prediction_table), spec.source.key)
        same_score = check_score_kept(rows, scores, spec)
        contract = check_values(rows, spec.prediction_table, key=spec.source.key, asset=ASSET)
        require_passed([schema, contract, same_score], name, window)
        file = write_parquet(folder / shard.file_name, rows, {"shard": shard.index})
        keys = rows.select(list(spec.source.key))
        yield ScoredShard(file=file, keys=keys, checks=(schema, contract, same_score))


def _inputs(project: Project, pipeline: Pipeline, window: Window) -> tuple[Snapshot, Features]:
    snapshot = load_snapshot(project, pipeline.spec, window)
    features = load_features(project, pipeline.spec, window)
    if features.snapshot != snapshot.record.digest:
        raise WindowMissing(
            f"The features of window {window} of {pipeline.name} belong to an older snapshot.",
            next_step=f"Materialize {pipeline.name}/features for {window} first.",
        )
    if features.record.definition != feature_definition(pipeline):
        raise WindowMissing(
            f"The features of window {window} of {pipeline.name} follow an older definition.",
            next_step=f"Materialize {pipeline.name}/features for {window} first.",
        )
    return snapshot, features


def _describe(
    pipeline: Pipeline,
    window: Window,
    snapshot: Snapshot,
    features: Features,
    model: ScoringModel,
    run_id: str,
    now: datetime,
) -> Manifest:
    settings, code = scoring_settings(pipeline), running_code()
    revision = revision_id(
        snapshot=snapshot.record.digest,
        features=features.record.digest,
        definition=features.record.definition,
        model=model.version.digest,
        settings=settings,
        code=code,
    )
    rows = snapshot.record.rows
    return Manifest(
        pipeline=pipeline.name,
        owner=pipeline.spec.owner,
        window=WindowRecord(key=window.key, start=window.start, end=window.end),
        revision=revision,
        snapshot=snapshot.record,
        features=features.record,
        model=model.record(pipeline.spec.model.alias),
        code=code,
        settings=settings,
        counts=CountsRecord(rows_in=rows, scored=0, quarantined=0),
        outputs=(),
        checks=(*snapshot.checks, *features.checks),
        run_id=run_id,
        scored_at=now,
    )


def _check_window(
    pipeline: Pipeline, features: pa.Table, shards: Sequence[ScoredShard]
) -> tuple[CheckResult, ...]:
    key = pipeline.spec.source.key
    keys = pa.concat_tables([features.select(list(key)).slice(0, 0), *(s.keys for s in shards)])
    return (
        *merge_checks(check for shard in shards for check in shard.checks),
        check_unique_key(keys, key=key, asset=ASSET),
        check_same_keys(features, keys, key=key, asset=ASSET),
    )


def _finished(
    draft: Manifest, shards: Sequence[ScoredShard], checks: tuple[CheckResult, ...], folder: Path
) -> Manifest:
    outputs = tuple(
        OutputRecord(
            path=shard.file.path.relative_to(folder).as_posix(),
            sha256=shard.file.sha256,
            bytes=shard.file.bytes,
            rows=shard.file.rows,
        )
        for shard in shards
    )
    scored = sum(output.rows for output in outputs)
    return draft.model_copy(
        update={
            "outputs": outputs,
            "checks": (*draft.checks, *checks),
            "counts": draft.counts.model_copy(update={"scored": scored}),
        }
    )
