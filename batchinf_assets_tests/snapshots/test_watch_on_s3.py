"""A look at a landing place on S3: one listing, and the bytes of what is new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.project import Project
from batchinf_assets.snapshots.watch import Look, landed_arrival, look_at_landing
from batchinf_assets_tests.resilience.fault_proxy import Fault, FaultProxy, fault_proxy
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy()
PARTS = toy(source__files="in/{window}/*.csv", source__complete={"marker": "_SUCCESS"})


@pytest.fixture(scope="module")
def proxy(s3_server: str) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server) as proxy:
        yield proxy


@pytest.fixture
def project(tmp_path: Path, s3_landing: S3Place, proxy: FaultProxy) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "dagster_home", "keys")}
    proxy.inject()
    access = replace(s3_landing.access, endpoint=proxy.url)
    return Project(landing=replace(s3_landing, access=access), **here)


def drop(project: Project, window: str, content: bytes = b"rows") -> S3Place:
    place = project.landing / "in" / f"{window}.parquet"
    assert isinstance(place, S3Place)
    place.write_bytes(content)
    return place


def look(project: Project, cursor: str | None, **options: object) -> Look:
    spec = options.pop("spec", SPEC)
    return look_at_landing(
        project, spec, cursor, lambda _window: None, datetime.now(UTC), **options
    )


def windows(found: Look) -> list[str]:
    return [arrival.window for arrival in found.plan.arrivals]


def test_what_lands_after_the_first_look_runs_and_a_lost_cursor_loses_none_of_it(
    project: Project,
) -> None:
    drop(project, "2013-01-01")
    first = look(project, None)
    place = drop(project, "2013-01-02")
    second = look(project, first.plan.cursor)
    (arrival,) = second.plan.arrivals
    assert (windows(first), windows(second)) == ([], ["2013-01-02"])
    assert arrival.sha256 == file_sha256(place)
    assert look(project, second.plan.cursor).plan.arrivals == ()
    assert look(project, None).plan.arrivals == second.plan.arrivals


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
    window = SPEC.window.window("2013-01-02")
    named = landed_arrival(project, SPEC, window, datetime.now(UTC))
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
