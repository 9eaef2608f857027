"""Rules over a whole window: its row count, its newest row, conditions in SQL."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pytest

from batchinf_assets.contracts.table_rules import (
    check_freshness,
    check_table_rules,
    check_volume,
)
from batchinf_assets.spec.contract import FreshnessSpec, RuleSpec, VolumeSpec
from batchinf_assets.windows import WindowSpec

WINDOW = WindowSpec(start=date(2013, 1, 1)).window("2013-07-01")
US = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("rows", "passed"), [(499, False), (500, True), (2000, True), (2001, False), (100, False)]
)
def test_a_row_count_far_from_the_median_blocks(rows: int, passed: bool):
    result = check_volume(rows, [900, 1000, 1100, 1000, 90_000], VolumeSpec(), asset="snapshot")
    assert (result.name, result.passed, result.blocking) == ("volume", passed, True)
    assert result.measured == {"rows": rows, "known_windows": 5, "median": 1000}


def test_the_sentence_says_what_was_expected_and_found():
    result = check_volume(100, [1000, 1001] * 3, VolumeSpec(), asset="snapshot")
    assert [str(violation) for violation in result.violations] == [
        "expected in [500.25, 2001] rows, 0.5 to 2 times the median 1000.5 of 6 windows before, "
        "found 100"
    ]


def test_too_few_windows_pass_and_say_so():
    result = check_volume(1, [1000] * 4, VolumeSpec(), asset="snapshot")
    assert result.passed
    assert result.measured == {"rows": 1, "known_windows": 4, "state": "too few windows"}


def test_only_the_newest_windows_count():
    spec = VolumeSpec(windows=3, min_windows=1)
    result = check_volume(10, [10_000] * 20 + [10, 10, 12], spec, asset="snapshot")
    assert result.passed
    assert result.measured == {"rows": 10, "known_windows": 3, "median": 10}


def test_a_volume_that_warns_does_not_block():
    spec = VolumeSpec(on_break="warn")
    result = check_volume(1, [1000] * 5, spec, asset="snapshot")
    assert (result.passed, result.blocking) == (False, False)


def fresh(*times: datetime | None, on_break: str = "block"):
    spec = FreshnessSpec.model_validate(
        {"column": "at", "within": timedelta(hours=3), "on_break": on_break}
    )
    rows = pa.table({"at": pa.array(times, US)})
    return check_freshness(rows, spec, WINDOW, asset="snapshot")


def test_the_newest_row_must_reach_near_the_end_of_the_window():
    due = WINDOW.end - timedelta(hours=3)
    assert fresh(WINDOW.start, due).passed
    assert fresh(WINDOW.end + timedelta(days=1)).passed
    stale = fresh(WINDOW.start, None, due - timedelta(microseconds=1))
    assert (stale.name, stale.passed, stale.blocking) == ("freshness", False, True)
    assert [str(violation) for violation in stale.violations] == [
        "column at: expected at least one time at 2013-07-01T21:00:00+00:00 or later, found "
        "2013-07-01T20:59:59.999999+00:00 as newest"
    ]
    assert stale.measured == {"rows": 3, "newest": "2013-07-01T20:59:59.999999+00:00"}


@pytest.mark.parametrize("times", [(), (None, None)])
def test_rows_without_a_time_are_not_fresh(times: tuple[None, ...]):
    result = fresh(*times)
    assert not result.passed
    assert result.measured["newest"] == "no time"


def test_freshness_may_only_warn():
    assert not fresh(datetime(2013, 1, 1, tzinfo=UTC), on_break="warn").blocking


def test_times_that_python_cannot_hold_are_compared():
    rows = pa.table({"at": pa.array([2**62], pa.int64()).cast(US)})
    spec = FreshnessSpec(column="at", within=timedelta(hours=3))
    assert check_freshness(rows, spec, WINDOW, asset="snapshot").passed


RULES = (
    RuleSpec(name="by_row", sql="a > 0"),
    RuleSpec(name="three", sql="count(DISTINCT a) = 3", per="table"),
    RuleSpec(name="many", sql="count(*) > 100", per="table", on_break="warn"),
)


def test_conditions_block_or_warn_as_declared():
    rules, warnings = check_table_rules(pa.table({"a": [1, 2]}), RULES, asset="snapshot")
    assert (rules.name, rules.passed, rules.blocking) == ("rules", False, True)
    assert (warnings.name, warnings.passed, warnings.blocking) == ("warnings", False, False)
    assert [v.rule for v in rules.violations] == ["three: count(DISTINCT a) = 3"]
    assert rules.measured == warnings.measured == {"table_rules": 1}


def test_conditions_that_hold_pass_and_are_on_record():
    checks = check_table_rules(pa.table({"a": [1, 2, 3] * 50}), RULES, asset="snapshot")
    assert [(check.name, check.passed) for check in checks] == [("rules", True), ("warnings", True)]


def test_without_a_rule_per_table_there_is_no_check():
    assert check_table_rules(pa.table({"a": [1]}), RULES[:1], asset="snapshot") == ()
