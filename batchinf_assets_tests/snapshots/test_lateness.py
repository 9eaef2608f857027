"""When corrected data is taken as it comes, and when it waits."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.errors import HeldForApproval
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.inputs import ApprovalRecord, SnapshotRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.snapshots.approvals import write_approval
from batchinf_assets.snapshots.lateness import hours_too_late, require_accepted
from batchinf_assets.snapshots.parts import landed_at
from batchinf_assets.spec.contract import LateSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

END = datetime(2013, 7, 2, 4, tzinfo=UTC)
"""Midnight in New York."""

TAKEN_UNTIL = END + timedelta(hours=12)
LATE = TAKEN_UNTIL + timedelta(hours=6)


def snapshot(digest: str, file: str, rows: int = 3, **changes: object) -> SnapshotRecord:
    source = FileRecord(path="flights/2013-07-01.parquet", sha256=file * 64, bytes=9)
    return SnapshotRecord(digest=digest * 64, rows=rows, source=source).model_copy(update=changes)


BEFORE, AFTER = snapshot("a", "1"), snapshot("b", "2", rows=4)


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    late = LateSpec(accept_for=timedelta(hours=12))
    source = pipeline.spec.source.model_copy(update={"late": late})
    return pipeline.spec.model_copy(update={"source": source})


@pytest.fixture
def window(spec: PipelineSpec) -> Window:
    return spec.window.window("2013-07-01")


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


@pytest.mark.parametrize(
    ("at", "hours"),
    [(END, None), (TAKEN_UNTIL, None), (LATE, 6.0), (LATE + timedelta(days=1), 30.0)],
)
def test_hours_count_from_when_corrections_are_no_longer_taken(
    at: datetime, hours: float | None, spec: PipelineSpec, window: Window
) -> None:
    assert hours_too_late(spec, window, at) == hours


def test_without_a_policy_nothing_is_too_late(pipeline: Pipeline, window: Window) -> None:
    assert hours_too_late(pipeline.spec, window, datetime.now(UTC)) is None


def test_a_late_correction_is_held_and_says_what_to_do(
    empty: Project, spec: PipelineSpec, window: Window
) -> None:
    with pytest.raises(HeldForApproval) as held:
        require_accepted(empty, spec, window, AFTER, BEFORE, LATE)
    assert str(held.value) == (
        "Window 2013-07-01 of flight_delays is held: flights/2013-07-01.parquet changed 6.0 hours "
        "after corrections are taken unasked (4 rows, 3 before). `batchinf approve "
        "flight_delays 2013-07-01` shows what would change, and how to approve it."
    )


def test_a_correction_in_time_is_taken(empty: Project, spec: PipelineSpec, window: Window) -> None:
    assert require_accepted(empty, spec, window, AFTER, BEFORE, TAKEN_UNTIL) is None


def test_what_lands_first_is_taken_however_late(
    empty: Project, spec: PipelineSpec, window: Window
) -> None:
    assert require_accepted(empty, spec, window, AFTER, None, LATE) is None


@pytest.mark.parametrize(
    "landed",
    [
        pytest.param(snapshot("a", "2"), id="another file with the same rows"),
        pytest.param(snapshot("b", "1"), id="the same file judged by another contract"),
    ],
)
def test_what_is_no_correction_is_taken(
    landed: SnapshotRecord, empty: Project, spec: PipelineSpec, window: Window
) -> None:
    assert require_accepted(empty, spec, window, landed, BEFORE, LATE) is None


def test_a_correction_of_rows_that_are_set_aside_is_one(
    empty: Project, spec: PipelineSpec, window: Window
) -> None:
    landed = snapshot("a", "2", quarantined=1, rejected="c" * 64)
    with pytest.raises(HeldForApproval):
        require_accepted(empty, spec, window, landed, BEFORE, LATE)


def test_an_approved_correction_is_taken_and_a_later_one_is_held(
    empty: Project, spec: PipelineSpec, window: Window
) -> None:
    approval = ApprovalRecord(by="ann", reason="Sent again", at=LATE)
    write_approval(empty, spec, window, AFTER.source.sha256, approval)
    assert require_accepted(empty, spec, window, AFTER, BEFORE, LATE) == approval
    assert require_accepted(empty, spec, window, AFTER, AFTER, LATE) == approval
    with pytest.raises(HeldForApproval):
        require_accepted(empty, spec, window, snapshot("d", "3"), AFTER, LATE)


def test_a_copying_tool_cannot_make_a_file_look_earlier(tmp_path: Path) -> None:
    before = time.time()
    path = tmp_path / "file"
    path.write_bytes(b"x")
    os.utime(path, (0, 0))
    slack = timedelta(seconds=1)
    assert landed_at(path) >= datetime.fromtimestamp(before, UTC) - slack
