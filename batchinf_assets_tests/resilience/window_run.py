"""One window of a small project, run as the assets run it, and what its readers then see.

The only place of this folder that knows how the steps of a window are called.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from batchinf_assets.attempts import Attempt, attempting, lease_place
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.features.build import build_features
from batchinf_assets.lake.lease import read_lease
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.proof.verify import Verification, verify_window
from batchinf_assets.publishing.publish import publish_window
from batchinf_assets.publishing.score_changes import keep_score_changes
from batchinf_assets.publishing.upkeep.maintain import apply, plan_maintenance
from batchinf_assets.publishing.visible import visible_revision
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.model import scoring_model
from batchinf_assets.scoring.predictions import (
    checkpoints_of,
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window

PIPELINE, DAY, SHARD_ROWS = "flight_delays", "2013-07-04", 300
STAGES = ("snapshot", "features", "predictions", "evaluation", "published")


def small_pipeline() -> Pipeline:
    """Return the demo's pipeline, cut so that a day of flights has three shards."""
    pipeline = load_pipeline(PIPELINE)
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"shard_rows": SHARD_ROWS}))


def project_at(root: Path, landing: Path) -> Project:
    """Return the project whose lake and keys lie in `root`."""
    return Project(
        root=CHECKOUT,
        lake=root / "lake",
        landing=landing,
        dagster_home=root / "dagster",
        keys=root / "keys",
    )


def run_window(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    run_id: str,
    entering: Callable[[str], None] = lambda _stage: None,
) -> Manifest:
    """Materialize a window, step by step as `orchestration.assets` does.

    Args:
        project: Where.
        pipeline: What.
        window: Which.
        run_id: Who, for manifest, lease and ledger.
        entering: Told the name of each stage as it begins.

    Returns:
        What scoring left; it says how many shards were computed.
    """
    spec, registry, now = pipeline.spec, Registry.at(project, os.environ), datetime.now(UTC)

    @contextmanager
    def stage(name: str) -> Generator[Attempt]:
        entering(name)
        with attempting(project, spec, window, run_id=run_id, stage=name) as attempt:
            yield attempt

    with stage("snapshot"):
        freeze_snapshot(project, spec, window)
    with stage("features"):
        build_features(project, pipeline, window)
    with stage("predictions") as attempt:
        model = scoring_model(registry, pipeline, now)
        scored = score_window(
            project,
            pipeline,
            window,
            model,
            attempt=attempt,
            now=now,
            superseded=visible_revision(project, registry, spec, window),
        )
    with stage("evaluation"):
        evaluate_window(project, spec, window, scoring_model(registry, pipeline, now))
    with stage("published") as attempt:
        key = load_signing_key(project.keys, {})
        made = publish_window(project, registry, pipeline, window, key=key, lease=attempt, now=now)
        attempt.published(made.manifest, made.sha256, changed=made.changed)
        keep_score_changes(project, spec, window, lease=attempt)
    return scored


def maintain(project: Project, pipeline: Pipeline, days: int) -> None:
    """Clean up as the scheduled job would so many days from now."""
    now = datetime.now(UTC) + timedelta(days=days)
    plan = plan_maintenance(project, pipeline.spec, now)
    apply(project, pipeline.spec, plan, now, run_id="maintenance")


def verified(project: Project, pipeline: Pipeline, window: Window) -> Verification:
    """Hold what is published against its manifest."""
    return verify_window(project, Registry.at(project, os.environ), pipeline.spec, window)


def outputs(project: Project, pipeline: Pipeline, window: Window) -> list[str]:
    """Return the published revision and the digests of its files; empty where nothing is."""
    revision = published_revision(project, pipeline.spec, window)
    if revision is None:
        return []
    manifest = manifests(project, pipeline.spec).read(window, revision)
    return [revision, *(output.sha256 for output in manifest.outputs)]


def finished_shards(project: Project, pipeline: Pipeline, window: Window, revision: str) -> int:
    """Count the checkpoints of a revision."""
    folder = checkpoints_of(project, pipeline.spec, window, revision).folder
    return len(list(folder.glob("*.json")))


def shards_computed(scored: Manifest) -> int:
    """Return how many shards the run that left this manifest scored itself."""
    assert scored.shards is not None
    return scored.shards.computed


def attempt_under_way(project: Project, pipeline: Pipeline, window: Window) -> int | None:
    """Return the number of the attempt that holds the window's lease, dead or alive."""
    lease = read_lease(lease_place(project, pipeline.spec, window), window.key)
    return lease.token if lease and lease.state == "held" else None


def recorded_state(project: Project, pipeline: Pipeline, window: Window, attempt: int) -> str:
    """Return how the ledger says that an attempt ended; `missing` where it says nothing."""
    rows = Ledger(project.lake).read(pipeline.name, window.key).to_pylist()
    return {row["attempt"]: row["state"] for row in rows}.get(attempt, "missing")


def visible_rows(project: Project, pipeline: Pipeline) -> pa.Table | None:
    """Read all that any reader of Delta sees, in key order; None before the table exists."""
    folder = predictions_table(project, pipeline.spec).folder
    if not (folder / "_delta_log").is_dir():
        return None
    found = DeltaTable(str(folder)).to_pyarrow_table()
    return found.sort_by([(name, "ascending") for name in pipeline.spec.source.key])


def fingerprint(rows: pa.Table | None) -> str:
    """Digest rows in the order given; no rows and no table look the same to a reader."""
    if rows is None or rows.num_rows == 0:
        return "nothing"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def landed_keys(landing: Path, pipeline: Pipeline, day: str = DAY) -> list[tuple[object, ...]]:
    """Return the keys that landed for a day, as Python values, sorted."""
    rows = pq.read_table(landing / "flights" / f"{day}.parquet")
    return keys_of(rows, pipeline)


def keys_of(rows: pa.Table, pipeline: Pipeline) -> list[tuple[object, ...]]:
    """Return the keys of rows, sorted."""
    columns = [rows.column(name).to_pylist() for name in pipeline.spec.source.key]
    return sorted(zip(*columns, strict=True))
