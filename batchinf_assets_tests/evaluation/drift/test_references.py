"""Which earlier windows make a reference."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.evaluation.drift.references import (
    SEASON_WINDOWS,
    earlier_windows,
    windows_of_season,
)
from batchinf_assets.manifest.inputs import WindowRecord
from batchinf_assets.manifest.judgement import EarlierWindowsRecord
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Every, Window, WindowSpec
from batchinf_assets_tests.evaluation.drift.sketched_lake import (
    COUNTS,
    FIRST,
    OTHER_PROFILE,
    PROFILE,
    SECOND,
    SketchedLake,
)
from batchinf_assets_tests.test_manifest import MANIFEST


def with_drift(spec: PipelineSpec, **drift: Any) -> PipelineSpec:
    """The demo pipeline with other references."""
    document = spec.model_dump()
    document["drift"] |= drift
    return PipelineSpec.model_validate(document)


@pytest.fixture
def lake(pipeline: Pipeline, tmp_path: Path) -> SketchedLake:
    spec = with_drift(pipeline.spec, references=("training", "previous"), previous_windows=3)
    return SketchedLake.below(tmp_path, spec)


def test_the_windows_right_before_are_added_up(lake: SketchedLake) -> None:
    lake.published_and_sketched(["2013-07-01", "2013-07-02", "2013-07-03", "2013-07-04"])
    lake.published_and_sketched(["2013-07-05", "2013-07-06"])
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)
    assert list(found) == ["previous"]
    previous = found["previous"]
    assert previous.sketches is not None
    assert previous.sketches.windows == ("2013-07-02", "2013-07-03", "2013-07-04")
    assert previous.sketches.subjects["distance"].bin_counts == (3, 6, 9, 12)
    assert previous.record == EarlierWindowsRecord(counted=3)


def test_what_is_not_published_or_of_another_profile_is_left_out_and_counted(
    lake: SketchedLake,
) -> None:
    lake.published_and_sketched(["2013-07-02"])
    lake.published_and_sketched(["2013-07-03"], OTHER_PROFILE)
    lake.sketch("2013-07-04")
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.sketches is not None
    assert found.sketches.windows == ("2013-07-02",)
    assert found.record == EarlierWindowsRecord(counted=1, other_profile=1, absent=1)


def test_enough_windows_tell_how_they_differ_and_fewer_do_not(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    spec = with_drift(pipeline.spec, references=("previous",), previous_windows=28)
    lake = SketchedLake.below(tmp_path, spec)
    lake.published_and_sketched([f"2013-07-{day:02d}" for day in range(1, 20)])
    for last, windows in (("2013-07-19", 0), ("2013-07-20", 19)):
        found = earlier_windows(lake.project, spec, lake.window(last), PROFILE)["previous"]
        assert found.sketches is not None
        assert {each.windows for each in found.sketches.spreads.values()} == {windows} - {0}


def test_a_candidate_beside_what_is_published_does_not_count(lake: SketchedLake) -> None:
    lake.published_and_sketched(["2013-07-04"])
    lake.sketch("2013-07-04", {**COUNTS, "distance": [10, 0, 0, 0]}, revision=SECOND)
    draft(lake, "2013-07-04", SECOND)
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.sketches is not None
    assert found.sketches.subjects["distance"].bin_counts == (1, 2, 3, 4)


def draft(lake: SketchedLake, key: str, revision: str = FIRST, *, passed: bool = True) -> None:
    """Leave the draft of a window that was scored and evaluated."""
    check = CheckResult(name="golden_quality", asset="evaluation", passed=passed)
    window = lake.window(key)
    about = WindowRecord(key=key, start=window.start, end=window.end)
    found = MANIFEST.model_copy(update={"window": about, "revision": revision, "checks": (check,)})
    manifests(lake.project, lake.spec).write_draft(window, found)


def test_what_was_scored_counts_where_nothing_is_published(lake: SketchedLake) -> None:
    lake.published_and_sketched(["2013-07-02"])
    for day in ("2013-07-03", "2013-07-04"):
        lake.sketch(day)
        draft(lake, day)
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.record == EarlierWindowsRecord(counted=3, candidates=2)
    assert found.sketches is not None
    assert found.sketches.windows == ("2013-07-02", "2013-07-03", "2013-07-04")
    assert found.sketches.subjects["distance"].bin_counts == (3, 6, 9, 12)


def test_what_a_check_holds_back_does_not_count(lake: SketchedLake) -> None:
    lake.sketch("2013-07-03")
    draft(lake, "2013-07-03", passed=False)
    lake.sketch("2013-07-04", profile=OTHER_PROFILE)
    draft(lake, "2013-07-04")
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.record == EarlierWindowsRecord(held_back=1, other_profile=1, absent=1)
    assert found.sketches is None


def test_a_draft_that_was_scored_anew_and_not_evaluated_does_not_count(lake: SketchedLake) -> None:
    lake.sketch("2013-07-04")
    draft(lake, "2013-07-04", SECOND)
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.record == EarlierWindowsRecord(absent=3)


def test_the_first_window_has_no_earlier_ones(lake: SketchedLake) -> None:
    first = lake.window(str(lake.spec.window.start))
    found = earlier_windows(lake.project, lake.spec, first, PROFILE)["previous"]
    assert found.sketches is None
    assert found.record == EarlierWindowsRecord()


def test_undeclared_references_are_not_read(pipeline: Pipeline, tmp_path: Path) -> None:
    lake = SketchedLake.below(tmp_path, pipeline.spec)
    lake.published_and_sketched(["2013-07-04"])
    assert earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE) == {}


def test_the_season_is_added_up(pipeline: Pipeline, tmp_path: Path) -> None:
    spec = with_drift(pipeline.spec, references=("season",), season="weekday")
    lake = SketchedLake.below(tmp_path, spec)
    lake.published_and_sketched(["2013-06-27", "2013-07-03", "2013-07-04", "2013-07-05"])
    found = earlier_windows(lake.project, spec, lake.window("2013-07-11"), PROFILE)["season"]
    assert found.sketches is not None
    assert found.sketches.windows == ("2013-06-27", "2013-07-04")  # Thursdays


def season_of(spec: PipelineSpec, window: WindowSpec, season: str, key: str) -> list[str]:
    """Name the windows of a season, on another grid of windows."""
    drift = with_drift(spec, references=("season",), season=season).drift
    declared = spec.model_copy(update={"window": window, "drift": drift})
    return [each.key for each in windows_of_season(declared, window.window(key))]


def test_a_season_by_weekday_has_the_same_days_of_earlier_weeks(pipeline: Pipeline) -> None:
    days = WindowSpec(start=date(2024, 2, 20), timezone="America/New_York")
    found = season_of(pipeline.spec, days, "weekday", "2024-03-14")
    assert found == ["2024-02-22", "2024-02-29", "2024-03-07"]


def test_a_season_by_month_has_that_month_of_earlier_years_too(pipeline: Pipeline) -> None:
    months = WindowSpec(every="month", start=date(2020, 1, 1))
    assert season_of(pipeline.spec, months, "month", "2023-03-01") == [
        "2020-03-01",
        "2021-03-01",
        "2022-03-01",
    ]
    days = WindowSpec(start=date(2023, 3, 30))
    assert season_of(pipeline.spec, days, "month", "2024-03-03") == [
        "2023-03-30",
        "2023-03-31",
        "2024-03-01",
        "2024-03-02",
    ]


def test_the_weekday_is_that_of_the_local_start(pipeline: Pipeline) -> None:
    # Local midnight in Auckland is noon of the day before in UTC.
    days = WindowSpec(start=date(2024, 7, 1), timezone="Pacific/Auckland")
    assert season_of(pipeline.spec, days, "weekday", "2024-07-15") == ["2024-07-01", "2024-07-08"]


def test_hours_of_the_same_weekday_make_a_season(pipeline: Pipeline) -> None:
    hours = WindowSpec(every="hour", start=date(2024, 7, 1))
    found = season_of(pipeline.spec, hours, "weekday", "2024-07-08-02:00")
    assert len(found) == 24 + 2
    assert found[0] == "2024-07-01-00:00"
    assert found[-1] == "2024-07-08-01:00"


@pytest.mark.parametrize("season", ["weekday", "month"])
@pytest.mark.parametrize(
    ("every", "first", "key"),
    [
        ("hour", date(2024, 5, 7), "2024-07-09-17:00"),
        ("day", date(2022, 7, 9), "2024-07-09"),
        ("week", date(2022, 7, 3), "2024-07-07"),
        ("month", date(2014, 7, 1), "2024-07-01"),
    ],
)
def test_the_season_is_what_a_look_at_every_earlier_window_finds(
    pipeline: Pipeline, season: str, every: Every, first: date, key: str
) -> None:
    grid = WindowSpec(every=every, start=first)
    window = grid.window(key)

    def group(each: Window) -> int:
        return each.start.month if season == "month" else each.start.isoweekday()

    alike = [each.key for each in grid.before(window, 2_000) if group(each) == group(window)]
    assert alike
    assert season_of(pipeline.spec, grid, season, key) == alike[-SEASON_WINDOWS:]


def test_a_season_does_not_look_at_every_window_since_the_start(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[Window]()
    real = Window.__init__

    def counted(self: Window, **values: Any) -> None:
        real(self, **values)
        made.append(self)

    monkeypatch.setattr(Window, "__init__", counted)
    hours = WindowSpec(every="hour", start=date(2000, 1, 1))
    assert len(season_of(pipeline.spec, hours, "weekday", "2024-07-08-02:00")) == SEASON_WINDOWS
    assert SEASON_WINDOWS < len(made) < 2 * SEASON_WINDOWS


def test_a_season_is_the_newest_windows_only(pipeline: Pipeline) -> None:
    days = WindowSpec(start=date(2000, 1, 1))
    found = season_of(pipeline.spec, days, "weekday", "2024-07-11")
    assert len(found) == SEASON_WINDOWS
    assert found[-1] == "2024-07-04"
