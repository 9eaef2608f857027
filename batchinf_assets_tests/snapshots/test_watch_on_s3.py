"""A look at a landing place on S3: one listing, and the bytes of what is new."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from batchinf_assets.project import Project
from batchinf_assets.snapshots.watch import landed_arrival
from batchinf_assets_tests.resilience.fault_proxy import Fault, FaultProxy
from batchinf_assets_tests.snapshots.landing_looks import ON_S3, drop, look, windows
from batchinf_assets_tests.spec.test_pipeline import toy

PARTS = toy(source__files="in/{window}/*.csv", source__complete={"marker": "_SUCCESS"})


@pytest.fixture
def project(project_on_s3: Project) -> Project:
    return project_on_s3


def test_an_object_put_again_with_other_bytes_of_the_same_size_is_another_arrival(
    project: Project,
) -> None:
    cursor = look(project, None).plan.cursor
    drop(project, "2013-01-02", b"rows")
    first = look(project, cursor)
    drop(project, "2013-01-02", b"more")
    second = look(project, first.plan.cursor)
    (before,), (after,) = first.plan.arrivals, second.plan.arrivals
    assert before.request_name != after.request_name
    assert before.sha256 != after.sha256


def test_the_schedule_names_an_arrival_as_the_sensor_does(project: Project) -> None:
    cursor = look(project, None).plan.cursor
    drop(project, "2013-01-02")
    window = ON_S3.window.window("2013-01-02")
    named = landed_arrival(project, ON_S3, window, datetime.now(UTC))
    assert look(project, cursor).plan.arrivals == (named,)


def test_a_look_at_objects_it_knows_is_one_listing(project: Project, proxy: FaultProxy) -> None:
    for day in range(1, 8):
        drop(project, f"2013-01-0{day}")
    cursor = look(project, None).plan.cursor
    drop(project, "2013-01-08")
    proxy.inject()
    cursor = look(project, cursor).plan.cursor
    assert [seen.method for seen in proxy.seen(path="list-type=2")] == ["GET"]
    assert {seen.path.split("?")[0][-18:] for seen in proxy.seen(path="parquet")} == {
        "2013-01-08.parquet"
    }
    proxy.inject()
    look(project, cursor)
    look(project, None)
    assert all("list-type=2" in seen.path for seen in proxy.seen())
    assert len(proxy.seen()) == 2


def test_a_folder_of_objects_runs_once_its_marker_is_there(project: Project) -> None:
    cursor = look(project, None, spec=PARTS).plan.cursor
    folder = project.landing / "in" / "2013-01-02"
    (folder / "a.csv").write_bytes(b"a")
    waiting = look(project, cursor, spec=PARTS)
    assert (windows(waiting), waiting.plan.unfinished) == ([], ("2013-01-02",))
    (folder / "_SUCCESS").write_bytes(b"")
    assert windows(look(project, waiting.plan.cursor, spec=PARTS)) == ["2013-01-02"]


def test_an_object_that_is_closed_to_us_is_named_and_holds_no_other_up(
    project: Project, proxy: FaultProxy
) -> None:
    cursor = look(project, None).plan.cursor
    drop(project, "2013-01-02")
    drop(project, "2013-01-03")
    proxy.inject(Fault(kind="status", status=403, path="2013-01-02.parquet"))
    found = look(project, cursor)
    assert windows(found) == ["2013-01-03"]
    assert "in/2013-01-02.parquet: the store refused access" in str(found)
    proxy.inject()
    assert "2013-01-02" in windows(look(project, found.plan.cursor))
