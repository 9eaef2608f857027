from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.definitions import defs
from batchinf_assets.evaluation.realised.measured import keep_measured, measured
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import DataFile
from batchinf_assets.orchestration.runs.execute import run_job
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.end_to_end.ticking import Ticking

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

NEW = "2013-07-08"
OLD = "2013-07-07"
NEVER_RUN = "2013-07-06"


@pytest.fixture
def landing(instance: dg.DagsterInstance) -> Ticking:
    return Ticking("flight_delays_landing", instance)


@pytest.fixture
def outcomes(instance: dg.DagsterInstance) -> Ticking:
    return Ticking("flight_delays_outcomes", instance)


def flights(project: Project, window: str) -> Path:
    return project.landing / "flights" / f"{window}.parquet"


def land(source: Path, target: Path) -> None:
    """Let a file appear whole, as upstream does."""
    beside = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, beside)
    beside.replace(target)


def rewrite(path: Path, rows: pa.Table) -> None:
    beside = path.with_name(f".{path.name}.part")
    pq.write_table(rows, beside)
    beside.replace(path)


def land_fewer_flights(project: Project) -> None:
    rewrite(flights(project, OLD), pq.read_table(flights(project, OLD)).slice(1))


def touch(path: Path) -> None:
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def run(instance: dg.DagsterInstance, pipeline: Pipeline, *windows: str) -> bool:
    return run_of(instance, pipeline, "flight_delays", *windows)


def run_of(instance: dg.DagsterInstance, pipeline: Pipeline, name: str, *windows: str) -> bool:
    found = [pipeline.spec.window.window(window) for window in windows]
    job = defs().resolve_job_def(name)
    return run_job(job, instance, found, lambda _window, _asset: None).succeeded


def partitions(requests: list[dg.RunRequest]) -> list[str | None]:
    return [request.partition_key for request in requests]


def test_the_first_tick_takes_stock_and_leaves_never_run_windows_to_backfills(
    landing: Ticking, project: Project
) -> None:
    assert len(list((project.landing / "flights").iterdir())) == 37
    assert landing.job_name == "flight_delays"
    assert landing.tick() == []
    assert landing.tick() == []


def test_a_new_file_is_one_run_of_its_window(
    landing: Ticking, project: Project, world: World
) -> None:
    landing.tick()
    land(world.landing / "flights" / f"{NEW}.parquet", flights(project, NEW))
    assert partitions(landing.tick()) == [NEW]
    assert landing.tick() == []


def test_a_touched_file_with_the_same_content_is_no_run(
    landing: Ticking,
    project: Project,
    world: World,
    instance: dg.DagsterInstance,
    pipeline: Pipeline,
) -> None:
    landing.tick()
    land(world.landing / "flights" / f"{NEW}.parquet", flights(project, NEW))
    landing.tick()
    assert run(instance, pipeline, NEW)
    touch(flights(project, NEW))
    touch(flights(project, NEVER_RUN))
    assert landing.tick() == []


def test_changed_content_is_one_more_run_under_another_run_key(
    landing: Ticking, project: Project, world: World
) -> None:
    landing.tick()
    land(world.landing / "flights" / f"{NEW}.parquet", flights(project, NEW))
    (first,) = landing.tick()
    rows = pq.read_table(flights(project, NEW))
    rewrite(flights(project, NEW), rows.slice(0, rows.num_rows - 1))
    (second,) = landing.tick()
    assert partitions([first, second]) == [NEW, NEW]
    assert first.run_key != second.run_key
    assert landing.tick() == []


def test_a_file_that_went_back_to_earlier_bytes_gets_a_run_key_of_its_own(
    landing: Ticking, project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    original = flights(project, OLD).read_bytes()
    landing.tick()
    run_keys: list[str | None] = []
    for rows_dropped in (1, 0, 1):
        flights(project, OLD).write_bytes(original)
        rows = pq.read_table(flights(project, OLD))
        rewrite(flights(project, OLD), rows.slice(0, rows.num_rows - rows_dropped))
        requests = landing.tick()
        assert partitions(requests) == [OLD]
        run_keys += [request.run_key for request in requests]
        assert run(instance, pipeline, OLD)
    assert len(set(run_keys)) == 3


def test_a_refused_file_that_was_mended_is_one_more_run(
    landing: Ticking, project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    landing.tick()
    good = pq.read_table(flights(project, OLD))
    rewrite(flights(project, OLD), good.drop_columns(["carrier"]))
    (broken,) = landing.tick()
    assert not run(instance, pipeline, OLD)
    assert landing.tick() == []
    rewrite(flights(project, OLD), good)
    (mended,) = landing.tick()
    assert partitions([broken, mended]) == [OLD, OLD]
    assert broken.run_key != mended.run_key
    assert run(instance, pipeline, OLD)
    assert landing.tick() == []


def test_a_file_that_changed_while_the_sensor_was_off_is_found_by_its_first_tick(
    landing: Ticking, project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    assert run(instance, pipeline, OLD)
    rows = pq.read_table(flights(project, OLD))
    rewrite(flights(project, OLD), rows.slice(0, rows.num_rows - 1))
    assert partitions(landing.tick()) == [OLD]


def test_outcomes_are_measured_for_published_windows_only(
    outcomes: Ticking,
    project: Project,
    instance: dg.DagsterInstance,
    pipeline: Pipeline,
    world: World,
) -> None:
    drop = project.landing / "outcomes"
    for window in (OLD, NEVER_RUN):
        (drop / f"{window}.parquet").unlink()
    assert run(instance, pipeline, OLD)
    assert published_revision(project, pipeline.spec, pipeline.spec.window.window(OLD))
    assert outcomes.job_name == "flight_delays_performance"
    assert outcomes.tick() == []
    for window in (OLD, NEVER_RUN):
        land(world.landing / "outcomes" / f"{window}.parquet", drop / f"{window}.parquet")
    (late,) = outcomes.tick()
    assert late.partition_key == OLD
    assert run_of(instance, pipeline, "flight_delays_performance", OLD)
    touch(drop / f"{OLD}.parquet")
    assert outcomes.tick() == []
    rows = pq.read_table(drop / f"{OLD}.parquet")
    rewrite(drop / f"{OLD}.parquet", rows.slice(0, rows.num_rows - 1))
    (corrected,) = outcomes.tick()
    assert corrected.partition_key == OLD
    assert corrected.run_key != late.run_key


def test_a_revision_that_is_shown_again_is_measured_again(
    outcomes: Ticking, project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    spec, window = pipeline.spec, pipeline.spec.window.window(OLD)
    table = predictions_table(project, spec)
    assert run(instance, pipeline, OLD)
    (path,) = table.files_of(window)
    first = DataFile(
        path=path,
        rows=pq.read_metadata(path).num_rows,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )
    outcomes.tick()
    run_keys: list[str | None] = []
    for _ in range(2):
        land_fewer_flights(project)
        assert run(instance, pipeline, OLD)
        assert outcomes.tick() == []  # the run that published measured too
        table.commit(window, [first], {}, token=table.token_of(window))
        (again,) = outcomes.tick()
        assert again.partition_key == OLD
        assert Ticking("flight_delays_outcomes", instance).tick() != []
        run_keys.append(again.run_key)
        assert run_of(instance, pipeline, "flight_delays_performance", OLD)
        assert outcomes.tick() == []
    assert len(set(run_keys)) == 2


def test_figures_that_had_no_consequence_yet_are_asked_for_at_most_once_an_hour(
    outcomes: Ticking, project: Project, instance: dg.DagsterInstance, pipeline: Pipeline
) -> None:
    spec, window = pipeline.spec, pipeline.spec.window.window(OLD)
    assert run(instance, pipeline, OLD)
    assert outcomes.tick() == []
    about, rows = measured(project, spec, window), metric_table(project, spec, "performance")
    figures = rows.read(window)
    assert about is not None
    assert figures is not None
    keep_measured(project, spec, window, figures, replace(about, followed_up=False))
    (first,), (second,) = outcomes.tick(), outcomes.tick()
    assert first.partition_key == OLD
    now = datetime.now(UTC)
    hours = {f"{each:%Y%m%d%H}" for each in (now, now - timedelta(hours=1))}
    assert {(first.run_key or "")[-10:], (second.run_key or "")[-10:]} <= hours
    assert run_of(instance, pipeline, "flight_delays_performance", OLD)
    assert outcomes.tick() == []
