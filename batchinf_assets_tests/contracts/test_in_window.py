"""Rows happen inside their window, to the microsecond, also on the days of a clock change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.judge import judge_rows
from batchinf_assets.contracts.row_contract import RowContract
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.windows import WindowSpec

DAYS = WindowSpec(start=date(2013, 1, 1), timezone="America/New_York")
INSTANT = timedelta(microseconds=1)


def test_arrow_keeps_the_zone_of_a_time_though_pandera_is_loaded() -> None:
    midnight = DAYS.window("2013-07-01").start
    assert pa.array([midnight], pa.timestamp("us", tz="UTC"))[0].as_py() == midnight


def check(day: str, *times: datetime) -> CheckResult:
    # Already in UTC: see the test above.
    utc = [time.astimezone(UTC) for time in times]
    rows = pa.table(
        {
            "at": pa.array(utc, pa.timestamp("us", tz="UTC")),
            "id": pa.array(range(len(times)), pa.int64()),
        }
    )
    columns = {"at": ColumnSpec(type="timestamp"), "id": ColumnSpec(type="int64")}
    contract = RowContract(asset="snapshot", columns=columns, key=("id",), time="at")
    _, result = judge_rows(rows, contract, window=DAYS.window(day)).checks
    assert (result.name, result.asset, result.blocking) == ("in_window", "snapshot", True)
    assert result.passed == (not result.violations)
    assert result.measured == {"rows": len(times)}
    return result


@pytest.mark.parametrize(
    ("day", "start", "end"),
    [
        ("2013-07-01", datetime(2013, 7, 1, 4, tzinfo=UTC), datetime(2013, 7, 2, 4, tzinfo=UTC)),
        ("2013-03-10", datetime(2013, 3, 10, 5, tzinfo=UTC), datetime(2013, 3, 11, 4, tzinfo=UTC)),
        ("2013-11-03", datetime(2013, 11, 3, 4, tzinfo=UTC), datetime(2013, 11, 4, 5, tzinfo=UTC)),
    ],
)
def test_a_day_has_its_start_and_not_its_end(day: str, start: datetime, end: datetime) -> None:
    assert check(day, start, end - INSTANT).passed
    assert not check(day, start - INSTANT).passed
    assert not check(day, end).passed


def test_rows_outside_are_counted_and_shown_with_the_windows_bounds() -> None:
    window = DAYS.window("2013-07-01")
    (violation,) = check(
        "2013-07-01",
        window.start - INSTANT,
        window.start,
        window.end,
        window.end + timedelta(days=9),
    ).violations
    assert (violation.column, violation.count) == ("at", 3)
    assert violation.rule == (
        "inside the window 2013-07-01T00:00:00-04:00 to 2013-07-02T00:00:00-04:00"
    )
    assert violation.samples == ("id=0", "id=2", "id=3")


def test_at_most_ten_rows_are_shown() -> None:
    late = [DAYS.window("2013-07-02").start + timedelta(hours=n) for n in range(13)]
    (violation,) = check("2013-07-01", *late).violations
    assert (violation.count, len(violation.samples)) == (13, 10)


def test_a_window_without_rows_is_refused_and_not_an_empty_success() -> None:
    result = check("2013-07-01")
    (violation,) = result.violations
    assert (violation.column, violation.count) == (None, 0)
    assert str(violation) == "expected at least one in the window (found: none)"
