"""Two commands that run one window at a time: one publishes, the other says why it did not."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchinf_assets.attempts import recorder_of
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.registry.registry import Registry
from batchinf_assets.scoring.predictions import manifests, predictions_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.gated_run import (
    DAY,
    PIPELINE,
    SHARDS,
    gated_run,
    small_defs,
)

pytestmark = pytest.mark.usefixtures("instance")  # and with it the tables of Dagster's storage

BATCHINF = Path(sys.executable).with_name("batchinf")
PATIENCE_SECONDS = 180


@pytest.fixture(scope="module")
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window(DAY)


def run() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BATCHINF, "run", PIPELINE, DAY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def published_files(project: Project, pipeline: Pipeline, window: Window) -> list[Path]:
    """Return what readers see, after making sure that it is one whole revision and holds."""
    table = predictions_table(project, pipeline.spec)
    files = [Path(str(path)) for path in table.files_of(window)]
    (revision,) = {path.parent.name for path in files}
    assert sorted((files[0].parent).glob("*")) == files
    manifest = manifests(project, pipeline.spec).read(window, revision)
    landed = pq.read_metadata(project.landing / "flights" / f"{DAY}.parquet").num_rows
    assert manifest.counts.scored == landed == sum(pq.read_metadata(f).num_rows for f in files)
    assert verify_window(project, Registry.at(project, {}), pipeline.spec, window).problems == ()
    return files


def states(project: Project) -> Iterator[tuple[str, str]]:
    """Return run and state of every attempt that the ledger knows."""
    recorder_of(project).flush(60)
    for record in Ledger(project.lake).read(PIPELINE, DAY).to_pylist():
        yield record["run_id"], record["state"]


def test_of_two_commands_at_once_one_publishes_and_a_later_one_changes_nothing(
    project: Project, pipeline: Pipeline, window: Window
) -> None:
    both = [run(), run()]
    printed = [process.communicate(timeout=PATIENCE_SECONDS) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 0], [0, 1]), printed
    for process, (_, complaint) in zip(both, printed, strict=True):
        assert process.returncode == 0 or "is being worked on" in complaint
    (file,) = published_files(project, pipeline, window)
    recorded = list(states(project))
    counts = Counter(state for _, state in recorded)
    assert counts["published"] == 1
    assert counts["unchanged"] + counts["lost_race"] == 1
    assert len({run_id for run_id, _ in recorded}) == 2

    content, later = file.read_bytes(), run()
    printed = [later.communicate(timeout=PATIENCE_SECONDS)]
    assert later.returncode == 0, printed
    assert published_files(project, pipeline, window) == [file]
    assert file.read_bytes() == content
    *_, (_, state) = states(project)
    assert state == "unchanged"


def test_a_command_that_finds_a_window_being_scored_names_who_scores_it(
    project: Project,
    pipeline: Pipeline,
    window: Window,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    defs = small_defs(tmp_path_factory.mktemp("defs"))
    with gated_run("command", defs, shard=2) as first:
        first.wait_at_gate()
        second = run()
        _, complaint = second.communicate(timeout=PATIENCE_SECONDS)
        assert second.returncode == 1
        assert f"Window {DAY} is being worked on (predictions) by run " in complaint
        assert f":{first.process.pid} since " in complaint
        first.go_on()
        code, printed = first.output()
    assert code == 0, printed
    assert len(published_files(project, pipeline, window)) == SHARDS
    assert Counter(state for _, state in states(project)) == {"published": 1, "lost_race": 1}
