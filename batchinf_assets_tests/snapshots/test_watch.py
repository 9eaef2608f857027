"""A look at a real landing folder, held against what a real snapshot table knows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.project import Project
from batchinf_assets.snapshots.arrivals import Effort
from batchinf_assets.snapshots.parts import landed_at
from batchinf_assets.snapshots.stock import read_stock
from batchinf_assets.snapshots.watch import look_at_landing
from batchinf_assets_tests.snapshots.landing_looks import SPEC, drop, look, windows
from batchinf_assets_tests.spec.test_pipeline import toy

HOURS = toy(window={"every": "hour", "start": "2013-01-01"}, source__complete={"quiet_for": "PT0S"})
MANY = 10_000


@pytest.fixture
def project(tmp_path: Path) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "landing", "dagster_home", "keys")}
    (here["landing"] / "in").mkdir(parents=True)
    return Project(**here)


@pytest.mark.parametrize("place", ["project", "project_on_s3"])
def test_what_lands_after_the_first_look_runs_and_a_lost_cursor_loses_none_of_it(
    place: str, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(place)
    drop(project, "2013-01-01")
    first = look(project, None)
    landed = drop(project, "2013-01-02")
    second = look(project, first.plan.cursor)
    (arrival,) = second.plan.arrivals
    assert (windows(first), windows(second)) == ([], ["2013-01-02"])
    assert arrival.sha256 == file_sha256(landed)
    assert look(project, second.plan.cursor).plan.arrivals == ()
    assert look(project, None).plan.arrivals == second.plan.arrivals


def test_a_file_that_was_half_written_at_the_first_look_is_none_that_was_there_before(
    project: Project,
) -> None:
    spec = toy()
    path = drop(project, "2013-01-01")
    at = landed_at(path)
    first = look_at_landing(project, spec, None, lambda _window: None, at)
    assert first.plan.unfinished == ("2013-01-01",)
    assert str(first) == "not complete yet: 2013-01-01"
    later = at + timedelta(minutes=1)
    again = look_at_landing(project, spec, first.plan.cursor, lambda _window: None, later)
    assert windows(again) == ["2013-01-01"]


def test_a_file_that_cannot_be_read_is_named_and_keeps_no_other_from_running(
    project: Project,
) -> None:
    cursor = look(project, None).plan.cursor
    drop(project, "2013-01-02")
    pipe = project.landing / "in" / "2013-01-01.parquet"
    found = look(project, cursor)
    pipe.mkdir()
    (pipe / "x").touch()
    assert windows(look(project, cursor)) == windows(found) == ["2013-01-02"]
    pipe.joinpath("x").unlink()
    pipe.rmdir()
    pipe.symlink_to(drop(project, "secret"))
    (project.landing / "in" / "secret.parquet").chmod(0)
    closed = look(project, cursor)
    if closed.unreadable:  # nothing is closed to the superuser
        assert str(closed) == (
            "for the next tick: 2013-01-01; unreadable: in/2013-01-01.parquet: Permission denied"
        )
    assert "2013-01-02" in windows(closed)


def test_no_more_is_read_in_one_look_than_allowed_and_the_rest_comes_later(
    project: Project,
) -> None:
    cursor = look(project, None).plan.cursor
    for day in range(1, 6):
        drop(project, f"2013-01-0{day}", bytes([day]) * 100)
    found: list[list[str]] = []
    for _ in range(3):
        seen = look(project, cursor, read_bytes=150)
        cursor = seen.plan.cursor
        found.append(windows(seen))
    assert [len(each) for each in found] == [2, 4, 5]  # what was read before costs nothing


def test_what_lay_there_is_read_for_so_long_and_keeps_nothing_that_lands_from_running(
    project: Project,
) -> None:
    for day in range(1, 6):
        drop(project, f"2013-01-0{day}", bytes([day]) * 10)
    cursor = look(project, None, read_seconds=0).plan.cursor
    stock = read_stock(project, SPEC)
    assert stock is not None
    assert len(stock.unread) == 5
    drop(project, "2013-01-06", b"rows")
    assert windows(look(project, cursor)) == ["2013-01-06"]
    stock = read_stock(project, SPEC)
    assert stock is not None
    assert stock.unread == ()


def test_ten_thousand_landed_files_are_one_look_each_and_no_request_twice(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    cursor = look(project, None, spec=HOURS).plan.cursor
    start = datetime(2013, 1, 1, tzinfo=UTC)
    for hour in range(MANY):
        drop(project, f"{start + timedelta(hours=hour):%Y-%m-%d-%H:00}", b"%d" % hour)
    effort = Effort(arrivals=MANY // 4, windows=MANY)
    names: list[str] = []
    seconds: list[float] = []
    longest = 0
    for _ in range(6):
        began = time.perf_counter()
        found = look(project, cursor, spec=HOURS, effort=effort)
        seconds.append(time.perf_counter() - began)
        cursor = found.plan.cursor
        longest = max(longest, len(cursor))
        names += [arrival.request_name for arrival in found.plan.arrivals]
    with capsys.disabled():
        shown = ", ".join(f"{each:.1f}" for each in seconds)
        print(f"\n{MANY} landed files: looks of {shown} s; the cursor has up to {longest} bytes")
    assert len(names) >= MANY
    assert len(set(names)) == MANY
    assert longest < 100_000
