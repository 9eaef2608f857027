"""How many windows of a run are worked on at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.cores import usable_cores
from batchinf_assets.lake.place import parse_place
from batchinf_assets.orchestration.steps.hands import windows_at_once
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.backfill import at_once as room
from batchinf_assets.publishing.backfill.at_once import WORTH_PROCESSES
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

SPEC = load_pipeline("flight_delays").spec
DAYS = SPEC.window.between("2013-07-01", "2013-07-31")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def land(project: Project, windows: Sequence[Window], rows: int = 2) -> None:
    for window in windows:
        path = project.landing / SPEC.source.files.replace("{window}", window.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"row": range(rows)}), path)


def declaring(**changes: object) -> PipelineSpec:
    backfill = SPEC.backfill.model_copy(update=changes)
    return SPEC.model_copy(update={"backfill": backfill})


def test_small_windows_of_a_range_have_a_core_each(project: Project) -> None:
    land(project, DAYS)
    assert windows_at_once(project, SPEC, DAYS) == usable_cores()


def test_few_windows_are_worked_on_one_by_one(project: Project) -> None:
    land(project, DAYS)
    assert windows_at_once(project, SPEC, DAYS[: WORTH_PROCESSES - 1]) == 1


def test_a_window_of_several_shards_keeps_all_cores_busy_by_itself(project: Project) -> None:
    land(project, DAYS)
    land(project, DAYS[3:4], rows=5)
    spec = SPEC.model_copy(update={"shard_rows": 4})
    assert windows_at_once(project, spec, DAYS) == 1
    assert windows_at_once(project, spec, DAYS[4:]) == usable_cores()


def test_nothing_is_assumed_of_files_that_do_not_tell_their_rows(project: Project) -> None:
    assert windows_at_once(project, SPEC, DAYS) == 1


def test_no_more_windows_share_the_cores_than_there_are(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    land(project, DAYS)
    monkeypatch.setattr(room, "usable_cores", lambda: 64)
    assert windows_at_once(project, SPEC, DAYS[:WORTH_PROCESSES]) == WORTH_PROCESSES


def test_a_store_that_tells_nothing_is_left_to_the_windows_to_name(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(project.root / "none"))
    drop = parse_place("s3://drop/landing", project.root, os.environ, variable="BATCHINF_LANDING")
    closed = replace(project, landing=drop)
    assert windows_at_once(closed, SPEC, DAYS) == 1


def test_what_is_declared_counts(project: Project) -> None:
    assert windows_at_once(project, declaring(workers=5), DAYS) == 5
    assert windows_at_once(project, declaring(workers=5), DAYS[:3]) == 3
    land(project, DAYS)
    assert windows_at_once(project, declaring(workers=1), DAYS) == 1


PREPARE = """
import sys
from pathlib import Path
from batchinf_assets.orchestration.steps.hands import prepare_hands
from batchinf_assets_tests.orchestration.steps import test_hands

def children():
    return sum(len(each.read_text().split()) for each in Path("/proc/self/task").glob("*/children"))

if __name__ == "__main__":
    for workers, windows in ((1, 31), (2, 1), (None, 7), (2, 2)):
        prepare_hands(test_hands.declaring(workers=workers), test_hands.DAYS[:windows])
        print(workers, windows, children() > 0)
"""


def test_no_process_is_prepared_where_windows_go_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "prepare.py").write_text(PREPARE)
    told = subprocess.run(
        [sys.executable, tmp_path / "prepare.py"],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = ["1 31 False", "2 1 False", "None 7 False", "2 2 True"]
    assert told.stdout.splitlines() == lines, told.stderr
