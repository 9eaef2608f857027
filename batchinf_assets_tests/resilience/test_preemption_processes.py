"""Runs that are told to leave, or are killed, while they score: what they finished is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from batchinf_assets.attempts import lease_place, recorder_of
from batchinf_assets.lake.lease import read_lease
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.work import ShardsRecord
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import (
    manifests,
    predictions_table,
    published_revision,
)
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.gated_run import (
    DAY,
    PIPELINE,
    SHARDS,
    gated_run,
    small_defs,
)
from batchinf_assets_tests.resilience.window_run import run_window, verified

pytestmark = pytest.mark.usefixtures("environ")

GATE = 4
PREEMPTED = 75


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_defs(tmp_path_factory.mktemp("defs"))


@pytest.fixture(scope="module")
def small(defs: Path) -> Pipeline:
    return load_pipeline(PIPELINE, defs=defs)


@pytest.fixture(scope="module")
def window(small: Pipeline) -> Window:
    return small.spec.window.window(DAY)


def checkpoints(project: Project) -> list[str]:
    """Return the names of the finished shards' checkpoints, of every revision."""
    folder = Path(str(project.lake)) / PIPELINE / "_checkpoints" / DAY
    return sorted(path.name for path in folder.glob("*/*.json"))


def first_shards(count: int) -> list[str]:
    return [f"{index:05d}.json" for index in range(count)]


def attempts(project: Project) -> list[dict[str, Any]]:
    """Return what the ledger says of every attempt, in their order."""
    recorder_of(project).flush(60)
    return Ledger(project.lake).read(PIPELINE, DAY).to_pylist()


def published(project: Project, pipeline: Pipeline, window: Window) -> Manifest:
    """Return what readers see, after making sure that it holds."""
    verdict = verified(project, pipeline, window)
    assert verdict.problems == ()
    assert verdict.revision is not None
    return manifests(project, pipeline.spec).read(window, verdict.revision)


def assert_nothing_is_visible(project: Project, pipeline: Pipeline, window: Window) -> None:
    assert published_revision(project, pipeline.spec, window) is None
    assert manifests(project, pipeline.spec).draft(window) is None


def test_a_process_told_to_leave_ends_its_shard_and_begins_no_other(
    project: Project, defs: Path, small: Pipeline, window: Window
) -> None:
    with gated_run("steps", defs, shard=GATE, run_id="preempted") as run:
        run.wait_at_gate()
        assert checkpoints(project) == first_shards(GATE - 1)
        run.preempt()
        code, printed = run.output()
    assert code == PREEMPTED, printed
    assert f"{GATE} of {SHARDS} shards are finished" in printed
    assert "Run the window again" in printed
    assert checkpoints(project) == first_shards(GATE)
    assert_nothing_is_visible(project, small, window)
    (record,) = attempts(project)
    assert (record["state"], record["reason_code"]) == ("preempted", "preempted")
    assert (record["attempt"], record["stage"]) == (1, "predictions")
    revision = record["revision"]

    scored = run_window(project, small, window, "rerun")
    assert scored.shards == ShardsRecord(planned=SHARDS, computed=SHARDS - GATE, reused=GATE)
    assert published(project, small, window).outputs == scored.outputs
    assert scored.revision == revision
    states = [(record["attempt"], record["state"]) for record in attempts(project)]
    assert states == [(1, "preempted"), (2, "published")]


def test_a_command_told_to_leave_says_so_by_its_exit_code_and_the_next_one_goes_on(
    project: Project,
    defs: Path,
    small: Pipeline,
    window: Window,
    instance: dg.DagsterInstance,
) -> None:
    with gated_run("command", defs, shard=GATE) as run:
        run.wait_at_gate()
        run.preempt()
        code, printed = run.output()
    assert code == PREEMPTED, printed
    assert f"{GATE} of {SHARDS} shards are finished" in printed
    assert checkpoints(project) == first_shards(GATE)
    assert_nothing_is_visible(project, small, window)
    (preempted,) = instance.get_runs()
    assert preempted.status is dg.DagsterRunStatus.FAILURE

    with gated_run("command", defs) as again:
        code, printed = again.output()
    assert code == 0, printed
    manifest = published(project, small, window)
    assert manifest.shards == ShardsRecord(planned=SHARDS, computed=SHARDS - GATE, reused=GATE)
    newest, _ = instance.get_runs()
    assert newest.status is dg.DagsterRunStatus.SUCCESS
    recorded = [(record["run_id"], record["state"]) for record in attempts(project)]
    assert recorded == [(preempted.run_id, "preempted"), (newest.run_id, "published")]


def test_a_killed_process_is_replaced_at_once_and_its_shards_are_taken_over(
    project: Project, defs: Path, small: Pipeline, window: Window
) -> None:
    with gated_run("steps", defs, shard=GATE, run_id="killed") as run:
        run.wait_at_gate()
        run.kill()
    lease = read_lease(lease_place(project, small.spec, window), window.key)
    assert lease is not None
    assert (lease.state, lease.holder, lease.token) == ("held", "killed", 1)
    assert checkpoints(project) == first_shards(GATE - 1)
    assert_nothing_is_visible(project, small, window)

    scored = run_window(project, small, window, "successor")
    assert scored.shards == ShardsRecord(
        planned=SHARDS, computed=SHARDS - GATE + 1, reused=GATE - 1
    )
    assert scored.attempt == 2
    assert published(project, small, window).outputs == scored.outputs
    killed, successor = attempts(project)
    assert (killed["state"], killed["attempt"], killed["run_id"]) == ("killed", 1, "killed")
    assert (killed["stage"], killed["worker"]) == ("predictions", str(lease.worker))
    assert (successor["state"], successor["attempt"]) == ("published", 2)
    assert predictions_table(project, small.spec).token_of(window) == 2
