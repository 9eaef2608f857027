"""A window whose data has not landed in time: told once, and once when it has landed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.errors import LostRace
from batchinf_assets.project import Project
from batchinf_assets.publishing.status.overdue import (
    CHECK,
    Overdue,
    close_landed,
    open_overdue,
    overdue_windows,
    turns,
)
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.tickets.tickets import close_ticket, read_tickets
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.spec.test_pipeline import toy

AT_ONCE = {"quiet_for": "PT0S"}
SPEC = toy(deadline="PT6H", source__complete=AT_ONCE)
FORECAST = toy(
    deadline="PT6H",
    source__complete=AT_ONCE,
    window={"every": "day", "start": "2013-01-01", "due": "start"},
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "landing", "dagster_home", "keys")}
    (here["landing"] / "in").mkdir(parents=True)
    return Project(**here)


def drop(project: Project, *windows: str) -> None:
    for window in windows:
        (project.landing / "in" / f"{window}.parquet").write_bytes(b"rows")


def at(hour: int) -> datetime:
    """The time so many hours after the end of the third of January."""
    return datetime(2013, 1, 4, tzinfo=UTC) + timedelta(hours=hour)


def keys(found: list[Overdue] | tuple[Overdue, ...]) -> list[str]:
    return [each.window.key for each in found]


def told(project: Project, spec: PipelineSpec, now: datetime) -> tuple[list[str], list[str]]:
    """Bring the tickets up to date, as the sensor does."""
    found = turns(project, spec, now)
    for overdue in found.overdue:
        open_overdue(project, spec, overdue, now)
    for ticket in found.landed.values():
        close_landed(project, spec, ticket, now)
    return keys(found.overdue), list(found.landed)


def test_a_window_is_overdue_from_its_deadline_on_until_it_lands(project: Project) -> None:
    drop(project, "2013-01-01", "2013-01-02")
    assert overdue_windows(project, SPEC, at(5)) == []
    (found,) = overdue_windows(project, SPEC, at(6))
    assert str(found) == "Its data was due by 2013-01-04 06:00 UTC and has not landed."
    drop(project, "2013-01-03")
    assert overdue_windows(project, SPEC, at(6)) == []


def test_without_a_deadline_nothing_is_overdue(project: Project) -> None:
    drop(project, "2013-01-01")
    assert overdue_windows(project, toy(), at(600)) == []


def test_a_forecast_is_due_when_its_window_starts(project: Project) -> None:
    drop(project, "2013-01-01")
    window = FORECAST.window.window("2013-01-03")
    assert FORECAST.window.due_at(window) == window.start
    assert keys(overdue_windows(project, FORECAST, at(0))) == ["2013-01-02", "2013-01-03"]


def test_gaps_count_from_the_first_window_that_landed(project: Project) -> None:
    drop(project, "2012-12-31", "2013-01-02")
    assert keys(overdue_windows(project, SPEC, at(6))) == ["2013-01-03"]
    drop(project, "2013-01-01")
    (project.landing / "in" / "2013-01-02.parquet").unlink()
    assert keys(overdue_windows(project, SPEC, at(6))) == ["2013-01-02", "2013-01-03"]


def test_where_nothing_ever_landed_the_newest_window_is_told(project: Project) -> None:
    assert keys(overdue_windows(project, SPEC, at(6))) == ["2013-01-03"]
    assert overdue_windows(project, SPEC, datetime(2013, 1, 1, 12, tzinfo=UTC)) == []


def test_half_a_file_is_no_data(project: Project) -> None:
    drop(project, "2013-01-01", "2013-01-02", "2013-01-03")
    marked = toy(deadline="PT6H", source__complete={"marker": "{file}.ready"})
    (project.landing / "in" / "2013-01-01.parquet.ready").touch()
    assert keys(overdue_windows(project, marked, at(6))) == ["2013-01-02", "2013-01-03"]


def test_a_ticket_is_opened_once_and_closed_once_when_the_data_lands(project: Project) -> None:
    drop(project, "2013-01-01", "2013-01-02")
    assert told(project, SPEC, at(6)) == (["2013-01-03"], [])
    assert told(project, SPEC, at(7)) == ([], [])
    (kept,) = read_tickets(project, SPEC)
    assert (kept.ticket.check, kept.closing) == (CHECK, None)
    assert kept.ticket.cause == "window 2013-01-03 has not landed"
    drop(project, "2013-01-03")
    assert told(project, SPEC, at(8)) == ([], ["2013-01-03"])
    assert told(project, SPEC, at(9)) == ([], [])
    (kept,) = read_tickets(project, SPEC)
    assert kept.closing is not None
    assert kept.closing.by == "toy_deadline"


def test_a_window_that_goes_again_is_not_told_twice(project: Project) -> None:
    drop(project, "2013-01-01", "2013-01-02")
    told(project, SPEC, at(6))
    drop(project, "2013-01-03")
    told(project, SPEC, at(7))
    (project.landing / "in" / "2013-01-03.parquet").unlink()
    assert told(project, SPEC, at(8)) == ([], [])
    assert keys(overdue_windows(project, SPEC, at(8))) == ["2013-01-03"]


def test_whom_somebody_was_faster_than_says_so(project: Project) -> None:
    drop(project, "2013-01-01", "2013-01-02")
    told(project, SPEC, at(6))
    (kept,) = read_tickets(project, SPEC)
    close_ticket(project, SPEC, kept.id, by="Ann", reason="No flights that day", at=at(7))
    drop(project, "2013-01-03")
    assert told(project, SPEC, at(8)) == ([], [])
    with pytest.raises(LostRace, match="Ann did so first"):
        close_landed(project, SPEC, kept.id, at(8))


def test_the_status_names_what_has_not_landed(project: Project) -> None:
    drop(project, "2013-01-01", "2013-01-02")
    (found,) = pipeline_status(project, SPEC, {}, now=at(6))
    assert (found.window, found.state, found.revision) == ("2013-01-03", "overdue", None)
    assert found.held_back == "Its data was due by 2013-01-04 06:00 UTC and has not landed."
    refused = {"2013-01-03": "2013-01-03 has not landed."}
    (found,) = pipeline_status(project, SPEC, refused, now=at(6))
    assert found.state == "overdue"
