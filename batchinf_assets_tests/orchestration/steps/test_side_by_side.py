"""A range whose windows are worked on side by side: the same results, whatever process dies."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_shared.utils.warnings import disable_dagster_warnings

from batchinf_assets.attempts import lease_place, recorder_of
from batchinf_assets.evaluation.records.metric_tables import MetricTable, metric_table
from batchinf_assets.lake.lease import read_lease
from batchinf_assets.orchestration.assets.window_asset import attempted_asset
from batchinf_assets.orchestration.component import pipeline_definitions
from batchinf_assets.orchestration.resources import shared
from batchinf_assets.orchestration.runs.execute import Reported, RunReport, run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.snapshots.freeze import load_snapshot
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.orchestration.steps import steps_elsewhere as elsewhere

FIRST, LAST = "2013-06-28", "2013-07-07"
METRICS = ("evaluation", "performance")
OF_A_RUN = {
    "attempt",
    "run_id",
    "published_at",
    "timings",
    "resources",
    "trace_id",
    "signature",
} | {
    "declaration",  # it counts the workers
    "scored_at",
}
"""What two runs of the same windows differ by."""


def working(pipeline: Pipeline, workers: int) -> Pipeline:
    """The pipeline with this many workers, and figures that depend on the windows before."""
    spec = pipeline.spec
    drift = spec.drift.model_copy(
        update={"references": ("training", "previous"), "previous_windows": 3}
    )
    retries = spec.retries.model_validate(
        {**spec.retries.model_dump(), "first_delay": "PT0.01S", "longest_delay": "PT0.01S"}
    )
    backfill = spec.backfill.model_copy(update={"workers": workers})
    changes = {"backfill": backfill, "drift": drift, "retries": retries}
    return Pipeline(spec=spec.model_copy(update=changes), folder=pipeline.folder)


def run(
    pipeline: Pipeline,
    instance: dg.DagsterInstance,
    windows: Sequence[Window],
    on_event: Reported = lambda _key, _asset: None,
) -> RunReport:
    with disable_dagster_warnings():
        merged = dg.Definitions.merge(pipeline_definitions(pipeline), shared())
    return run_job(merged.resolve_job_def(pipeline.name), instance, windows, on_event)


def kept(table: MetricTable, window: Window) -> list[dict[str, Any]]:
    rows = table.read(window)
    assert rows is not None
    return rows.to_pylist()


def found(project: Project, spec: PipelineSpec, window: Window) -> dict[str, Any]:
    """Everything that a run found of a window, but for what tells this run from another one."""
    revision = published_revision(project, spec, window)
    assert revision is not None
    manifest = manifests(project, spec).read(window, revision).model_dump(mode="json")
    figures = {name: kept(metric_table(project, spec, name), window) for name in METRICS}
    snapshot = load_snapshot(project, spec, window)
    return {
        **{name: value for name, value in manifest.items() if name not in OF_A_RUN},
        "snapshot_checks": snapshot.checks,
        **figures,
    }


@pytest.fixture
def with_lake(
    monkeypatch: pytest.MonkeyPatch, project: Project, tmp_path: Path
) -> Callable[[str], Project]:
    """Return the project with an empty lake of this name, which runs work in from now on."""

    def make(name: str) -> Project:
        shutil.copytree(str(project.lake), tmp_path / name)
        moved = replace(project, lake=tmp_path / name)
        monkeypatch.setenv("BATCHINF_LAKE", str(moved.lake))
        return moved

    return make


def test_windows_side_by_side_are_found_to_be_what_they_are_one_by_one(
    with_lake: Callable[[str], Project], pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    windows = pipeline.spec.window.between(FIRST, LAST)
    results = []
    for workers in (1, 4):
        project, declared = with_lake(f"lake of {workers}"), working(pipeline, workers)
        assert run(declared, instance, windows).succeeded
        results.append([found(project, declared.spec, window) for window in windows])
    for alone, beside in zip(*results, strict=True):
        assert alone == beside
    assert {row["measure"] for row in results[0][-1]["performance"]} >= {"trailing_7"}


def test_windows_whose_processes_are_killed_are_worked_on_again(
    with_lake: Callable[[str], Project], pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    project, declared = with_lake("lake of 2"), working(pipeline, 2)
    windows = pipeline.spec.window.between(FIRST, LAST)
    killed: dict[tuple[str, str], list[int]] = {}

    def kill(key: str, asset: str) -> None:
        if key == windows[3].key and asset in {"snapshot", "predictions", "published"}:
            killed[key, asset] = [process.pid or 0 for process in multiprocessing.active_children()]
            for pid in killed[key, asset]:
                os.kill(pid, signal.SIGKILL)

    report = run(declared, instance, windows, kill)
    assert report.succeeded, report.failure
    assert all(len(pids) == 2 for pids in killed.values())
    assert len(killed) == 3
    for window in windows:
        assert published_revision(project, declared.spec, window)


def test_a_killed_attempt_is_closed_by_its_run_at_once(
    with_lake: Callable[[str], Project], pipeline: Pipeline, instance: dg.DagsterInstance
) -> None:
    project, declared = with_lake("lake of 2"), working(pipeline, 2)
    snapshot = attempted_asset(declared, "snapshot", [], elsewhere.be_killed_once, set())
    job = dg.define_asset_job("snapshots", selection=[snapshot])
    defs = dg.Definitions.merge(dg.Definitions(assets=[snapshot], jobs=[job]), shared())
    windows = pipeline.spec.window.between(FIRST, LAST)
    report = run_job(
        defs.resolve_job_def("snapshots"), instance, windows, lambda _key, _asset: None
    )
    assert report.succeeded, report.failure
    recorder_of(project).close()
    records = Ledger(project.lake).read(declared.name).to_pylist()
    states = [row["state"] for row in records if row["window"] == "2013-07-03"]
    assert sorted(states) == ["killed", "scored"]
    lease = read_lease(lease_place(project, declared.spec, windows[5]), "2013-07-03")
    assert lease is not None
    assert lease.state == "free"
