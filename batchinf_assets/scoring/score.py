"""Score the feature rows of a window, shard by shard, into files that no reader sees yet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from batchinf_assets.attempts import Attempt
from batchinf_assets.checks import CheckResult
from batchinf_assets.code_version import running_code
from batchinf_assets.errors import WindowMissing
from batchinf_assets.features.build import (
    Features,
    feature_definition,
    features_contract,
    load_features,
)
from batchinf_assets.lake.layout import row_group_rows
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest, declaration_digest
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.manifest.inputs import WindowRecord
from batchinf_assets.manifest.means import CodeRecord
from batchinf_assets.manifest.work import CountsRecord, ResourcesRecord, ShardsRecord
from batchinf_assets.project import Project
from batchinf_assets.scoring.condemnations import require_inputs_not_condemned
from batchinf_assets.scoring.correction import Correction, Superseded, correct
from batchinf_assets.scoring.engine import FinishedShards, finish_shards
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import (
    changed_files,
    checkpoints_of,
    manifests,
    predictions_table,
    published_revision,
    revision_folder,
)
from batchinf_assets.scoring.revision import revision_id, scoring_settings
from batchinf_assets.scoring.shard_scoring import ShardScoring
from batchinf_assets.scoring.shards import plan_shards
from batchinf_assets.scoring.window_checks import (
    check_accounted,
    check_shards,
    check_trained_features,
)
from batchinf_assets.snapshots.freeze import (
    Snapshot,
    load_snapshot,
    require_passed,
    snapshot_table,
    source_contract,
)
from batchinf_assets.snapshots.quarantine import quarantine_record
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.resources import ResourceUse, measure
from batchinf_assets.windows import Window


def score_window(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    *,
    attempt: Attempt,
    now: datetime,
    superseded: Superseded | None = None,
) -> Manifest:
    """Score a window and leave a draft manifest; a no-op where this revision is published whole.

    Shards that an earlier attempt at the same revision finished are verified and taken over. A
    published file that was lost or damaged is written anew: the same inputs give the same bytes.

    Args:
        project: Where features are read and files written.
        pipeline: What to score.
        window: The window.
        model: The model to use.
        attempt: Who scores; holds the window's lease.
        now: The time to put into the manifest.
        superseded: The revision that readers see; rows whose features did not change since keep
            its scores. None where there is none.

    Raises:
        WindowMissing: The window has no snapshot or features, or they do not belong together.
        RevisionCondemned: Readers are not to see this revision again, or what other code made of
            its inputs; files of what was condemned stay as they are, as evidence.
        WindowRefused: The predictions break their contract; no draft was left.
        Preempted: The process was asked to leave; finished shards stay for the next attempt.
        RunOverCap: The run has taken more than its cap; finished shards stay.
        ShardFailed: A shard failed for want of space, memory or access; the others stay.
    """
    spec = pipeline.spec
    features, draft = _drafted(project, pipeline, window, model, attempt, now)
    attempt.works_on(draft)
    require_inputs_not_condemned(project, spec, window, draft)
    store = manifests(project, spec)
    attempt.require_held()
    store.drop_draft(window)
    folder = predictions_table(project, spec).folder
    visible: tuple[OutputRecord, ...] = ()
    if published_revision(project, spec, window) == draft.revision:
        published = store.read(window, draft.revision)
        visible = published.outputs
        if not any(changed_files(folder, visible)):
            attempt.works_on(published)
            return published
    with measure() as span:
        kept = None if visible else superseded
        correction = correct(project, spec, window, draft, features.groups, kept)
        done = finish_shards(
            _scoring(pipeline, window, features, model, correction),
            plan_shards(features.groups.rows, spec.shard_rows),
            revision_folder(project, spec, window, draft.revision),
            checkpoints_of(project, spec, window, draft.revision),
            attempt=attempt.token,
            require_held=attempt.require_next_shard,
            published=visible,
        )
    checks = _checked(pipeline, features, model, draft, folder, done)
    require_passed(checks, spec.name, window)
    finished = _finished(draft, done, checks, span.use, correction)
    attempt.require_held()
    store.write_draft(window, finished)
    attempt.scored(finished, bytes_written=done.bytes_written, retries=done.retries)
    return finished


def _drafted(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    model: ScoringModel,
    attempt: Attempt,
    now: datetime,
) -> tuple[Features, Manifest]:
    """Return what is scored, and a manifest that says all that is known before it is."""
    with ThreadPoolExecutor(1) as beside:  # the first time in a process both take a while
        code = beside.submit(running_code)
        snapshot, features = _inputs(project, pipeline, window)
        version = snapshot_table(project, pipeline.spec).version_of(window)
    rejected = (snapshot.record.rejected, features.record.rejected)
    draft = _describe(
        pipeline, window, snapshot, version, features, model, attempt, now, code.result()
    )
    quarantine = quarantine_record(project, pipeline.spec, window, rejected)
    return features, draft.model_copy(update={"quarantine": quarantine})


def _inputs(project: Project, pipeline: Pipeline, window: Window) -> tuple[Snapshot, Features]:
    snapshot = load_snapshot(project, pipeline.spec, window)
    features = load_features(project, pipeline.spec, window)
    row_groups = row_group_rows(pipeline.spec.shard_rows)
    contracts = (snapshot.record.contract, features.record.contract)
    declared = (source_contract(pipeline.spec), features_contract(pipeline.spec))
    current = {
        "were judged by an older contract": contracts == declared,
        "belong to an older snapshot": features.snapshot == snapshot.record.digest,
        "follow an older definition": features.record.definition == feature_definition(pipeline),
        "are cut for another shard_rows": features.record.row_group_rows == row_groups,
    }
    for problem, holds in current.items():
        if not holds:
            raise WindowMissing(
                f"The features of window {window} of {pipeline.name} {problem}.",
                next_step=f"Materialize {pipeline.name}/features for {window} first.",
            )
    return snapshot, features


def _describe(
    pipeline: Pipeline,
    window: Window,
    snapshot: Snapshot,
    version: int | None,
    features: Features,
    model: ScoringModel,
    attempt: Attempt,
    now: datetime,
    code: CodeRecord,
) -> Manifest:
    settings = scoring_settings(pipeline)
    revision = revision_id(
        snapshot=snapshot.record,
        features=features.record,
        model=model.version.digest,
        settings=settings,
        code=code,
    )
    quarantined = snapshot.record.quarantined + features.record.quarantined
    return Manifest(
        pipeline=pipeline.name,
        owner=pipeline.spec.owner,
        declaration=declaration_digest(pipeline.spec),
        window=WindowRecord(key=window.key, start=window.start, end=window.end),
        revision=revision,
        snapshot=snapshot.record.model_copy(update={"version": version}),
        features=features.record,
        model=model.record(pipeline.spec.model.alias),
        code=code,
        settings=settings,
        counts=CountsRecord(rows_in=snapshot.record.rows_in, scored=0, quarantined=quarantined),
        outputs=(),
        checks=(*snapshot.checks, *features.checks),
        run_id=attempt.run_id,
        attempt=attempt.token,
        trace_id=attempt.trace_id,
        scored_at=now,
    )


def _scoring(
    pipeline: Pipeline,
    window: Window,
    features: Features,
    model: ScoringModel,
    correction: Correction,
) -> ShardScoring:
    return ShardScoring(
        pipeline=pipeline,
        window=window,
        features=features.groups,
        scorer=model.scorer,
        profile=model.artifact.profile,
        earlier=correction.earlier,
    )


def _checked(
    pipeline: Pipeline,
    features: Features,
    model: ScoringModel,
    draft: Manifest,
    folder: Place,
    done: FinishedShards,
) -> tuple[CheckResult, ...]:
    shards = check_shards(pipeline, features, folder, done.checkpoints)
    return (
        *(check_accounted(check, draft.counts) for check in shards),
        check_trained_features(features, model),
    )


def _finished(
    draft: Manifest,
    done: FinishedShards,
    checks: tuple[CheckResult, ...],
    use: ResourceUse,
    correction: Correction,
) -> Manifest:
    outputs = tuple(checkpoint.output for checkpoint in done.checkpoints)
    scored = sum(output.rows for output in outputs)
    shards = ShardsRecord(planned=len(outputs), computed=done.computed, reused=done.reused)
    return draft.model_copy(
        update={
            "outputs": outputs,
            "checks": (*draft.checks, *checks),
            "counts": draft.counts.model_copy(update={"scored": scored}),
            "shards": shards,
            "changes": correction.scored(scored, done.carried),
            "timings": {**done.seconds, "predictions": round(use.wall_seconds, 6)},
            "resources": ResourcesRecord(
                cpu_seconds=use.cpu_seconds,
                io_read_bytes=use.io_read_bytes,
                io_write_bytes=use.io_write_bytes,
                peak_memory_bytes=use.peak_memory_bytes,
                workers=done.workers,
            ),
        }
    )
