"""Which earlier windows make a reference."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from batchinf_assets.evaluation.references import (
    SEASON_WINDOWS,
    earlier_windows,
    windows_of_season,
)
from batchinf_assets.spec import Pipeline, PipelineSpec
from batchinf_assets.windows import WindowSpec
from batchinf_assets_tests.evaluation.sketched_lake import (
    COUNTS,
    OTHER_PROFILE,
    PROFILE,
    SECOND,
    SketchedLake,
)


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
    assert (previous.other_profile, previous.unpublished) == (0, 0)


def test_what_is_not_published_or_of_another_profile_is_left_out_and_counted(
    lake: SketchedLake,
) -> None:
    lake.published_and_sketched(["2013-07-02"])
    lake.published_and_sketched(["2013-07-03"], OTHER_PROFILE)
    lake.sketch("2013-07-04")
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.sketches is not None
    assert found.sketches.windows == ("2013-07-02",)
    assert (found.other_profile, found.unpublished) == (1, 1)


def test_a_candidate_beside_what_is_published_does_not_count(lake: SketchedLake) -> None:
    lake.published_and_sketched(["2013-07-04"])
    lake.sketch("2013-07-04", {**COUNTS, "distance": [10, 0, 0, 0]}, revision=SECOND)
    found = earlier_windows(lake.project, lake.spec, lake.window("2013-07-05"), PROFILE)["previous"]
    assert found.sketches is not None
    assert found.sketches.subjects["distance"].bin_counts == (1, 2, 3, 4)


def test_the_first_window_has_no_earlier_ones(lake: SketchedLake) -> None:
    first = lake.window(str(lake.spec.window.start))
    found = earlier_windows(lake.project, lake.spec, first, PROFILE)["previous"]
    assert found.sketches is None
    assert (found.other_profile, found.unpublished) == (0, 0)


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


def test_a_season_is_the_newest_windows_only(pipeline: Pipeline) -> None:
    days = WindowSpec(start=date(2000, 1, 1))
    found = season_of(pipeline.spec, days, "weekday", "2024-07-11")
    assert len(found) == SEASON_WINDOWS
    assert found[-1] == "2024-07-04"
