"""Real days of flights: scored, and made visible; the gate is asked in its own tests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from batchinf_assets.attempts import attempting
from batchinf_assets.features.build import build_features
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.project import Project
from batchinf_assets.publishing.signed import sign_manifest
from batchinf_assets.registry.keyring import read_keyring
from batchinf_assets.registry.keys import load_signing_key
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import manifests, prediction_rows, predictions_table
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
DAYS = ("2013-07-01", "2013-07-02", "2013-07-04")
"""The third of July was never run."""


def copied(lake: Path, world: World, folder: Path, days: Sequence[str]) -> Project:
    """A copy of a lake, beside the landed outcomes of some days."""
    shutil.copytree(lake, folder / "lake")
    landing = folder / "landing"
    (landing / "outcomes").mkdir(parents=True)
    for day in days:
        shutil.copy2(world.landing / f"outcomes/{day}.parquet", landing / "outcomes")
    return replace(world.with_lake(folder / "lake"), landing=landing)


def score(project: Project, pipeline: Pipeline, window: Window, model: ScoringModel) -> None:
    freeze_snapshot(project, pipeline.spec, window)
    build_features(project, pipeline, window)
    with attempting(project, pipeline.spec, window, run_id="run", stage="predictions") as attempt:
        score_window(project, pipeline, window, model, attempt=attempt, now=NOW)


def show(project: Project, pipeline: Pipeline, window: Window) -> None:
    """Make the draft visible; nobody is asked."""
    store, table = manifests(project, pipeline.spec), predictions_table(project, pipeline.spec)
    draft = store.draft(window)
    assert draft is not None
    finished = draft.model_copy(update={"published_at": NOW})
    key = load_signing_key(project.keys, {})
    signed = sign_manifest(finished, key, read_keyring(project.keys))
    store.write(window, signed, require_held=lambda: None)
    rows = prediction_rows(project, pipeline.spec, draft)
    path = table.folder / draft.outputs[0].path
    table.commit(window, [write_parquet(path, rows, {"shard": 0})], {})
    store.drop_draft(window)
