"""Upkeep of tables changes no row: the ledger reads the same, and every log keeps its commits."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.lake.table_log import open_table
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.publishing.upkeep.table_upkeep import (
    CHECKPOINT_COMMITS,
    SMALL_FILES,
    plan_tables,
    run_task,
    unused_files,
)
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger

if TYPE_CHECKING:
    from batchinf_assets.publishing.upkeep.table_upkeep import TableTask

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path,
        dagster_home=tmp_path,
        keys=tmp_path,
    )


@pytest.fixture
def ledger(project: Project) -> Ledger:
    """A ledger with as many small files in one month as make compaction worth while."""
    ledger = Ledger(project.lake)
    for attempt in range(1, SMALL_FILES + 1):
        ledger.append([record(attempt)])
    return ledger


def record(attempt: int, at: datetime = NOW) -> AttemptRecord:
    return AttemptRecord(
        pipeline="flight_delays",
        window="2026-10-31",
        attempt=attempt,
        run_id=f"run {attempt}",
        state="published",
        stage="published",
        started_at=at,
        ended_at=at,
        worker="host:1",
        stage_seconds={"published": 1.5},
    )


def tasks(project: Project, pipeline: Pipeline) -> list[TableTask]:
    return list(plan_tables(project, pipeline.spec))


def commits(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "_delta_log").glob("*.json"))


def test_a_lake_without_tables_needs_nothing(project: Project, pipeline: Pipeline) -> None:
    assert tasks(project, pipeline) == []
    assert list(unused_files(project, pipeline.spec, NOW)) == []


def test_small_files_of_the_ledger_become_one_and_read_the_same(
    project: Project, pipeline: Pipeline, ledger: Ledger
) -> None:
    ledger.append([record(1, at=NOW + timedelta(days=40))])  # a month with one file
    before, kept = ledger.read(), commits(Path(str(ledger.place)))
    (task,) = tasks(project, pipeline)
    assert (task.what, task.partition) == ("compact", "2026-11")
    assert task.why == f"{SMALL_FILES} files below 16 MB"
    run_task(pipeline.spec, task)
    assert len(open_table(ledger.place).file_uris()) == 2
    assert ledger.read().equals(before)
    assert commits(Path(str(ledger.place)))[:-1] == kept
    assert tasks(project, pipeline) == []
    ledger.append([record(99)])
    assert ledger.read().num_rows == before.num_rows + 1


def test_files_that_were_put_together_stay_for_whoever_reads_them(
    project: Project, pipeline: Pipeline, ledger: Ledger
) -> None:
    long_ago = datetime.now(UTC).timestamp() - 86_400 * 30
    for path in Path(str(ledger.place)).rglob("*.parquet"):
        os.utime(path, (long_ago, long_ago))
    (task,) = tasks(project, pipeline)
    run_task(pipeline.spec, task)
    assert list(unused_files(project, pipeline.spec, datetime.now(UTC))) == []


def test_a_file_whose_commit_never_came_goes_when_it_is_old(
    project: Project, pipeline: Pipeline, ledger: Ledger
) -> None:
    folder = Path(str(ledger.place))
    young, old = (folder / "month=2026-11" / name for name in ("a.parquet", "b.parquet"))
    begun = folder / ".abc_1234"
    for path in (young, old, begun):
        path.write_bytes(b"x")
    long_ago = datetime.now(UTC).timestamp() - 86_400 * 3
    for path in (old, begun):
        os.utime(path, (long_ago, long_ago))
    found = list(unused_files(project, pipeline.spec, datetime.now(UTC)))
    assert [(each.what, each.place) for each in found] == [
        ("temporary file", begun),
        ("file", old),
    ]


def test_a_log_of_many_commits_gets_a_checkpoint_and_forgets_nothing(
    project: Project, pipeline: Pipeline
) -> None:
    schema = pa.schema([("id", pa.int64())])
    table = WindowTable(project.lake / "flight_delays" / "predictions", schema)
    window = pipeline.spec.window.window("2013-07-01")
    path = table.folder_of(window) / "a.parquet"
    file = write_parquet(path, pa.table({"id": [1]}, schema=schema), {})
    table.commit(window, [file], {"batchinf.revision": "first"}, token=7)
    for _ in range(CHECKPOINT_COMMITS - 2):
        DeltaTable(table.folder).alter.set_table_properties({"delta.appendOnly": "false"})
    folder = Path(str(table.folder))
    kept = commits(folder)
    assert len(kept) == CHECKPOINT_COMMITS
    for path in (folder / "_delta_log").glob("*checkpoint*"):
        path.unlink()  # what delta-rs wrote of its own accord
    (task,) = tasks(project, pipeline)
    assert (task.what, task.table) == ("checkpoint", table.folder)
    assert task.why == f"{CHECKPOINT_COMMITS} commits since the last checkpoint"
    run_task(pipeline.spec, task)
    assert tasks(project, pipeline) == []
    assert commits(folder) == kept
    assert DeltaTable(folder).transaction_version(window.key) == 7
    assert table.commit_metadata(window)["batchinf.revision"] == "first"
    assert DeltaTable(folder).to_pyarrow_table().column("id").to_pylist() == [1]


def test_a_damaged_log_is_named(project: Project, pipeline: Pipeline, ledger: Ledger) -> None:
    for path in Path(str(ledger.place / "_delta_log")).glob("*.json"):
        path.write_bytes(b"{")
    with pytest.raises(ManifestInvalid, match=r"_ledger cannot be kept up"):
        tasks(project, pipeline)
    with pytest.raises(ManifestInvalid, match=r"_ledger cannot be kept up"):
        list(unused_files(project, pipeline.spec, NOW))
