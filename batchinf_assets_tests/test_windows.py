"""Windows: names, bounds and order, also where clocks change."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from batchinf_assets.errors import UnknownWindow
from batchinf_assets.windows import WindowSpec, folder_name_of

NEW_YORK = ZoneInfo("America/New_York")


def local(**changed: object) -> WindowSpec:
    return WindowSpec.model_validate(
        {"start": date(2013, 1, 1), "timezone": "America/New_York", **changed}
    )


def keys(windows: object) -> list[str]:
    return [str(window) for window in windows]


def hours(spec: WindowSpec, key: str) -> float:
    window = spec.window(key)
    return (window.end.astimezone(UTC) - window.start.astimezone(UTC)) / timedelta(hours=1)


def test_a_day_runs_from_local_midnight_to_local_midnight() -> None:
    window = local().window("2013-07-01")
    assert window.start == datetime(2013, 7, 1, 4, tzinfo=UTC)
    assert window.end == datetime(2013, 7, 2, 4, tzinfo=UTC)
    assert window.start.isoformat() == "2013-07-01T00:00:00-04:00"
    assert str(window) == window.key == "2013-07-01"


@pytest.mark.parametrize(
    ("key", "length"),
    [("2013-03-09", 24), ("2013-03-10", 23), ("2013-11-03", 25), ("2013-11-04", 24)],
)
def test_a_day_is_as_long_as_its_clock_says(key: str, length: int) -> None:
    assert hours(local(), key) == length


def test_a_week_with_a_clock_change_is_an_hour_shorter_or_longer() -> None:
    weeks = local(every="week", start=date(2013, 1, 6))
    assert hours(weeks, "2013-03-10") == 7 * 24 - 1
    assert hours(weeks, "2013-03-17") == 7 * 24
    assert hours(weeks, "2013-11-03") == 7 * 24 + 1


@pytest.mark.parametrize("start", [date(2013, 1, 7), date(2013, 1, 9)])
def test_weeks_start_on_the_weekday_of_the_first(start: date) -> None:
    weeks = local(every="week", start=start)
    assert keys(weeks.starting_in(start, date(2013, 2, 1)))[:2] == [
        str(start),
        str(start + timedelta(weeks=1)),
    ]
    assert not weeks.has(str(start + timedelta(days=1)))


def test_months_start_on_the_day_of_the_first() -> None:
    months = local(every="month", start=date(2013, 1, 15))
    assert keys(months.between("2013-12-15", "2014-02-15")) == [
        "2013-12-15",
        "2014-01-15",
        "2014-02-15",
    ]
    assert not months.has("2013-02-01")


def test_days_can_start_at_another_time_than_midnight() -> None:
    days = local(starts_at="04:00")
    window = days.window("2013-07-01")
    assert window.start.isoformat() == "2013-07-01T04:00:00-04:00"
    assert window.end.isoformat() == "2013-07-02T04:00:00-04:00"
    assert hours(days, "2013-03-09") == 23  # the clock changes in the night after
    assert hours(days, "2013-03-10") == 24
    assert hours(days, "2013-11-02") == 25


def test_a_day_that_starts_in_a_skipped_hour_starts_after_it() -> None:
    days = local(starts_at="02:30")
    assert days.window("2013-03-10").start == datetime(2013, 3, 10, 7, tzinfo=UTC)  # 3:00
    assert hours(days, "2013-03-09") == 23.5
    assert hours(days, "2013-03-10") == 23.5


def test_a_day_that_starts_in_a_repeated_hour_starts_the_second_time() -> None:
    days = local(starts_at="01:30")
    assert days.window("2013-11-03").start.isoformat() == "2013-11-03T01:30:00-05:00"
    assert hours(days, "2013-11-02") == 25


def test_what_starts_before_the_end_is_declared_to_its_own_end() -> None:
    weeks = local(every="week", start=date(2013, 1, 6), end=date(2013, 1, 15))
    assert keys(weeks.starting_in(date(2013, 1, 6), date(2014, 1, 1))) == [
        "2013-01-06",
        "2013-01-13",
    ]
    assert weeks.last_end == weeks.window("2013-01-13").end
    assert local().last_end is None


def test_a_zone_without_a_day_has_windows_from_the_next_day_on() -> None:
    days = WindowSpec(start=date(2011, 12, 31), timezone="Pacific/Apia")
    assert hours(days, "2011-12-31") == 24
    earlier = WindowSpec(start=date(2011, 1, 1), end=date(2011, 12, 30), timezone="Pacific/Apia")
    assert hours(earlier, "2011-12-29") == 24


def test_months_have_their_own_lengths_and_december_ends_in_january() -> None:
    months = local(every="month")
    assert hours(months, "2013-02-01") == 28 * 24
    assert hours(months, "2013-03-01") == 31 * 24 - 1
    assert hours(months, "2013-11-01") == 30 * 24 + 1
    assert months.window("2013-12-01").end == datetime(2014, 1, 1, tzinfo=NEW_YORK)
    assert hours(months, "2016-02-01") == 29 * 24


def test_an_hour_is_named_to_the_minute() -> None:
    hourly = WindowSpec(every="hour", start=date(2013, 1, 1))
    window = hourly.window("2013-03-10-23:00")
    assert window.start == datetime(2013, 3, 10, 23, tzinfo=UTC)
    assert window.end == datetime(2013, 3, 11, tzinfo=UTC)


def local_hours(**changed: object) -> WindowSpec:
    return local(every="hour", **changed)


def test_the_hour_that_comes_twice_has_its_offset_the_second_time() -> None:
    night = local_hours().starting_in(date(2013, 11, 3), date(2013, 11, 4))
    assert len(night) == 25
    assert keys(night)[:4] == [
        "2013-11-03-00:00",
        "2013-11-03-01:00",
        "2013-11-03-01:00-0500",
        "2013-11-03-02:00",
    ]
    first, second = night[1:3]
    assert (first.start.isoformat(), second.start.isoformat()) == (
        "2013-11-03T01:00:00-04:00",
        "2013-11-03T01:00:00-05:00",
    )
    assert first.end == second.start
    assert first < second
    assert first != second


def test_the_hour_that_the_clock_skips_is_no_window() -> None:
    spec = local_hours()
    assert keys(spec.between("2013-03-10-01:00", "2013-03-10-03:00")) == [
        "2013-03-10-01:00",
        "2013-03-10-03:00",
    ]
    assert not spec.has("2013-03-10-02:00")
    assert len(spec.starting_in(date(2013, 3, 10), date(2013, 3, 11))) == 23


@pytest.mark.parametrize(
    "key",
    [
        "2013-11-03-01:00-0400",  # the first time has none
        "2013-11-03-01:00-05:00",
        "2013-11-03-02:00-0500",  # comes once
        "2013-11-03-01:00+0000",
        "2013-11-03-06:00Z",
        "2013-11-03-01:30",
    ],
)
def test_an_hour_has_one_spelling(key: str) -> None:
    assert not local_hours().has(key)


def test_hours_before_are_counted_by_what_passed_and_not_by_the_clock() -> None:
    spec = local_hours()
    autumn = spec.window("2013-11-03-03:00")
    assert keys(spec.before(autumn, 3)) == [
        "2013-11-03-01:00",
        "2013-11-03-01:00-0500",
        "2013-11-03-02:00",
    ]
    spring = spec.window("2013-03-10-04:00")
    assert keys(spec.before(spring, 3)) == [
        "2013-03-10-00:00",
        "2013-03-10-01:00",
        "2013-03-10-03:00",
    ]
    assert autumn.start - spec.before(autumn, 24)[0].start == timedelta(hours=24)


def test_the_two_passes_of_an_hour_are_two_folders() -> None:
    night = local_hours().between("2013-11-03-01:00", "2013-11-03-01:00-0500")
    assert [window.folder_name for window in night] == ["2013-11-03-0100", "2013-11-03-0100-0500"]


def test_hours_can_start_at_a_minute() -> None:
    quarter = local_hours(starts_at="00:15", end=date(2013, 1, 2))
    assert quarter.window("2013-01-01-00:15").end == datetime(2013, 1, 1, 6, 15, tzinfo=UTC)
    assert not quarter.has("2013-01-01-00:00")
    assert len(quarter.starting_in(date(2013, 1, 1), date(2013, 1, 2))) == 24


def test_a_day_may_have_no_windows() -> None:
    weekly = local(every="week", start=date(2013, 1, 6))
    assert weekly.starting_on(date(2013, 1, 7)) == []
    assert keys(weekly.starting_on(date(2013, 1, 13))) == ["2013-01-13"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "today",
        "2013-7-1",
        "2013-02-29",
        "2013-07-01 ",
        "2013-07-01\n",
        "2013-07-01-00:00",
        "../../2013-07-01",
        "\uff12\uff10\uff11\uff13-07-01",  # digits, but not these
        "2012-12-31",
        "2014-01-01",
    ],
)
def test_only_declared_keys_in_their_one_spelling_are_windows(key: str) -> None:
    spec = local(end=date(2014, 1, 1))
    assert not spec.has(key)
    with pytest.raises(UnknownWindow) as refusal:
        spec.window(key)
    assert "2013-01-01" in refusal.value.next_step
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("every", "start", "key"),
    [
        ("hour", date(2013, 1, 1), "2013-01-01-00:30"),
        ("week", date(2013, 1, 6), "2013-01-07"),
        ("month", date(2013, 1, 1), "2013-01-02"),
    ],
)
def test_a_key_between_two_windows_is_none(every: str, start: date, key: str) -> None:
    assert not WindowSpec.model_validate({"every": every, "start": start}).has(key)


def test_a_message_quotes_at_most_forty_characters_of_a_key() -> None:
    with pytest.raises(UnknownWindow) as refusal:
        local().window("x" * 1000)
    assert refusal.value.message == f"'{'x' * 40}' is not a window."


def test_the_first_and_the_last_declared_day_are_windows() -> None:
    spec = local(end=date(2014, 1, 1))
    assert spec.has("2013-01-01")
    assert spec.has("2013-12-31")


def test_without_an_end_windows_go_on_as_far_as_dates_do() -> None:
    assert local().has("9998-12-31")
    assert not local().has("9999-12-31")
    assert not local(every="month").has("9999-12-01")


def test_a_range_includes_both_ends() -> None:
    assert keys(local().between("2013-03-09", "2013-03-11")) == [
        "2013-03-09",
        "2013-03-10",
        "2013-03-11",
    ]
    assert keys(local().between("2013-03-10", "2013-03-10")) == ["2013-03-10"]


def test_a_range_of_months_crosses_the_year() -> None:
    months = local(every="month")
    assert keys(months.between("2013-11-01", "2014-02-01")) == [
        "2013-11-01",
        "2013-12-01",
        "2014-01-01",
        "2014-02-01",
    ]


def test_a_range_in_the_wrong_order_is_refused() -> None:
    with pytest.raises(UnknownWindow, match="2013-07-02 to 2013-07-01 is empty"):
        local().between("2013-07-02", "2013-07-01")


def test_windows_of_a_range_touch_without_gap_or_overlap() -> None:
    year = local().between("2013-01-01", "2013-12-31")
    assert len(year) == 365
    assert all(a.end == b.start for a, b in pairwise(year))


def test_windows_starting_in_exclude_the_end() -> None:
    spec = local()
    assert keys(spec.starting_in(date(2013, 1, 1), date(2013, 1, 3))) == [
        "2013-01-01",
        "2013-01-02",
    ]
    hourly = WindowSpec(every="hour", start=date(2013, 1, 1))
    assert len(hourly.starting_in(date(2013, 1, 1), date(2013, 1, 3))) == 48


def test_windows_starting_in_stop_where_the_declared_ones_stop() -> None:
    spec = local(end=date(2013, 1, 3))
    assert keys(spec.starting_in(date(2013, 1, 2), date(2014, 1, 1))) == ["2013-01-02"]


def test_windows_cannot_start_between_two_windows() -> None:
    weekly = local(every="week", start=date(2013, 1, 6))
    with pytest.raises(UnknownWindow):
        weekly.starting_in(date(2013, 1, 7), date(2013, 2, 1))


def test_earlier_windows_come_in_order_and_end_where_the_window_starts() -> None:
    spec = local()
    window = spec.window("2013-03-11")
    earlier = spec.before(window, 2)
    assert keys(earlier) == ["2013-03-09", "2013-03-10"]
    assert earlier[-1].end == window.start


def test_there_are_no_windows_before_the_first() -> None:
    spec = local()
    assert keys(spec.before(spec.window("2013-01-03"), 28)) == ["2013-01-01", "2013-01-02"]
    assert spec.before(spec.window("2013-01-01"), 28) == []
    assert spec.before(spec.window("2013-01-03"), 0) == []


def test_the_month_before_january_is_december() -> None:
    months = local(every="month", start=date(2012, 6, 1))
    assert keys(months.before(months.window("2013-01-01"), 2)) == ["2012-11-01", "2012-12-01"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"timezone": "../etc/localtime"}, "unknown time zone"),
        ({"timezone": "America"}, "unknown time zone"),  # a folder of them
        ({"end": date(2013, 1, 1)}, "end must be after"),
        ({"every": "hour", "timezone": "Australia/Lord_Howe"}, "do not change by whole hours"),
        ({"every": "hour", "timezone": "Asia/Pyongyang"}, "do not change by whole hours"),
        ({"every": "hour", "timezone": "Antarctica/Troll"}, "go back by more than an hour"),
        ({"every": "hour", "starts_at": "01:00"}, "a minute, as in 00:15"),
        ({"every": "month", "start": date(2013, 1, 29)}, "a day that every month has"),
        ({"start": date(2011, 1, 1), "timezone": "Pacific/Apia"}, "skip 2011-12-30 00:00"),
        (
            {"every": "week", "start": date(2011, 12, 2), "timezone": "Pacific/Apia"},
            "skip 2011-12-30 00:00",
        ),
        (
            {"start": date(2005, 1, 1), "timezone": "Antarctica/Troll", "starts_at": "01:00"},
            "skip 2005-03-27 01:00",
        ),
        ({"timezone": "Asia/Pyongyang", "starts_at": "23:45"}, "skip 2018-05-04 23:45"),
        ({"starts_at": "24:00"}, "starts_at"),
        ({"starts_at": "4:00"}, "starts_at"),
        ({"starts_at": 240}, "starts_at"),  # what YAML makes of 4:00
        ({"every": "minute"}, "every"),
        ({"length": 2}, "length"),
    ],
)
def test_a_grid_that_dagster_would_cut_otherwise_is_refused(
    changed: dict[str, object], problem: str
) -> None:
    with pytest.raises(ValidationError, match=problem):
        local(**changed)


@pytest.mark.parametrize(
    ("every", "key", "folder"),
    [
        ("day", "2013-07-01", "2013-07-01"),
        ("hour", "2013-07-01-05:00", "2013-07-01-0500"),
        ("hour", "2013-11-03-01:00-0500", "2013-11-03-0100-0500"),
    ],
)
def test_a_folder_is_named_after_its_window_without_a_colon(
    every: str, key: str, folder: str
) -> None:
    spec = local(every=every)
    assert spec.window(key).folder_name == folder == folder_name_of(key)
    assert spec.key_of_folder(folder) == key


@pytest.mark.parametrize("name", ["lost+found", "2013-07-01", "2013-07-01-05"])
def test_a_folder_of_no_hour_names_no_window(name: str) -> None:
    spec = local_hours()
    assert spec.key_of_folder(name) == name
    assert not spec.has(name)


@pytest.mark.parametrize(
    ("due", "at", "what"), [("end", 2, "is not over"), ("start", 1, "has not begun")]
)
def test_a_window_is_run_from_the_moment_on_at_which_it_is_due(
    due: str, at: int, what: str
) -> None:
    spec = local(due=due)
    windows = spec.between("2013-06-30", "2013-07-01")
    moment = datetime(2013, 7, at, tzinfo=NEW_YORK)
    spec.require_due(windows, moment)
    with pytest.raises(UnknownWindow, match=f"2013-07-01 {what}: it is due at 2013-07-0{at} 00:00"):
        spec.require_due(windows, moment - timedelta(seconds=1))


def test_months_may_start_on_the_last_day_that_every_month_has() -> None:
    months = local(every="month", start=date(2013, 1, 28))
    assert keys(months.between("2013-01-28", "2013-03-28")) == [
        "2013-01-28",
        "2013-02-28",
        "2013-03-28",
    ]


@pytest.mark.parametrize(
    ("every", "end", "last"),
    [
        ("week", date(2013, 1, 20), "2013-01-15"),
        ("week", date(2013, 1, 22), "2013-01-15"),
        ("week", date(2013, 1, 23), "2013-01-22"),
        ("month", date(2013, 12, 10), "2013-11-15"),
        ("month", date(2013, 12, 15), "2013-11-15"),
        ("month", date(2013, 12, 16), "2013-12-15"),
    ],
)
def test_the_last_window_ends_where_the_next_would_start(every: str, end: date, last: str) -> None:
    spec = local(every=every, start=date(2013, 1, 15), end=end)
    found = spec.between("2013-01-15", last)[-1]
    assert spec.last_end == found.end
    assert spec.starting_in(spec.start, date(2015, 1, 1))[-1] == found
