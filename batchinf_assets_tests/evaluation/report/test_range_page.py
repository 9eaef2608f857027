"""The page of a range, made of values: months counted by hand, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise

import pyarrow as pa
import pytest

from batchinf_assets.evaluation.drift.sketches import Sketches
from batchinf_assets.evaluation.metrics.figures import Figure
from batchinf_assets.evaluation.metrics.score_counts import SCHEMA
from batchinf_assets.evaluation.metrics.task import Kept
from batchinf_assets.evaluation.realised.labelled_scores import LabelledScores, MeasuredWindow
from batchinf_assets.evaluation.report.heat_map import PSI_COLORS, DriftCell, drift_chart
from batchinf_assets.evaluation.report.months import Month, months_of, moved_columns
from batchinf_assets.evaluation.report.places import Link
from batchinf_assets.evaluation.report.range_charts import (
    MetricSeries,
    ticks,
    trend_chart,
)
from batchinf_assets.evaluation.report.range_page import drawn_metrics, range_page
from batchinf_assets.evaluation.report.range_reading import Trouble, WindowReading
from batchinf_assets.evaluation.report.readings import DriftReading, Labelled, Reading
from batchinf_assets.evaluation.report.standing import Standing
from batchinf_assets.registry.bins import NumericBins
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window, WindowSpec
from batchinf_assets_tests.evaluation.report.shown import Shown
from batchinf_assets_tests.test_manifest import MANIFEST

HOSTILE = "<script>alert('x')</script>"
BINS = NumericBins(edges=(0.2, 0.5), counts=(50, 30, 20), missing=0)
PROFILE = Profile(rows=100, subjects={"x": BINS, "delay_probability": BINS})


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


def windows(spec: PipelineSpec, first: str, last: str) -> list[Window]:
    return spec.window.between(first, last)


def counts(*rows: tuple[float, int, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA
    )


def seen(window: Window, verdict: str = "stable", psi: float | None = 0.01) -> WindowReading:
    """A published window whose column x has this verdict; its scores part the classes."""
    drift = DriftReading(subject="x", reference="training", measures={"psi": psi}, verdict=verdict)
    subjects = {"x": BINS, "delay_probability": BINS}
    measured = MeasuredWindow(
        revision=MANIFEST.revision, outcomes="0" * 64, rows=20, labelled=10, figures={}
    )
    return WindowReading(
        window=window,
        manifest=MANIFEST,
        standing=Standing(state="published"),
        manifest_link=Link(name="m.json", href=f"../m/{window.key}.json"),
        reading=Reading(
            golden={"auroc": Figure(value=0.7, interval=None)},
            drift=(drift,),
            drift_verdict=verdict,
            labelled=Labelled(state="measured", labelled=10, predictions=20),
            delay={"median": 3600.0 * window.start.day},
        ),
        sketches=Sketches(profile=PROFILE.digest, windows=(window.key,), subjects=subjects),
        labelled=LabelledScores(
            window=window, measured=measured, kept=Kept(rows=counts((0.2, 1, 4), (0.8, 4, 1)))
        ),
    )


def months(found: Sequence[WindowReading], spec: PipelineSpec) -> list[Month]:
    return months_of(found, {PROFILE.digest: PROFILE}, spec=spec)


def drawn(cells: Sequence[tuple[str, Sequence[DriftCell]]], days: Sequence[Window]) -> str:
    return drift_chart(cells, list(ticks(days)), said="Drift", moderate=0.1, major=0.25)


def page(spec: PipelineSpec, found: Sequence[WindowReading], *troubles: Trouble) -> Shown:
    return Shown(range_page(spec, found, troubles, {PROFILE.digest: PROFILE}))


def test_a_month_is_measured_over_all_its_labelled_rows(spec: PipelineSpec) -> None:
    found = [seen(window) for window in windows(spec, "2013-06-29", "2013-07-02")]
    june, july = months(found, spec)
    assert (june.name, june.windows, june.published, june.labelled) == ("2013-06", 2, 2, 20)
    assert june.predictions == 2 * MANIFEST.counts.scored
    # Of 4 x 4 x 4 pairs a window 16 are won by 0.8 over 0.2, 1 is lost, 8 are tied; months pool.
    assert june.realised["auroc"].value == pytest.approx((16 + 8 / 2) / 25)
    assert june.realised["precision"].value == pytest.approx(8 / 10)
    assert june.delay == pytest.approx(3600 * 29.5)
    assert {name: each.psi for name, each in july.drift.items()} == {
        "x": pytest.approx(0),
        "delay_probability": pytest.approx(0),
    }


def test_verdicts_are_counted_by_month_and_column(spec: PipelineSpec) -> None:
    days = windows(spec, "2013-07-01", "2013-07-04")
    words = ("major", "major", "moderate", "insufficient data")
    (july,) = months([seen(day, word) for day, word in zip(days, words, strict=True)], spec)
    assert july.drifted("x") == (2, 1)
    assert july.drifted("nothing") == (0, 0)


def test_columns_that_drifted_most_often_come_first(spec: PipelineSpec) -> None:
    (month,) = months([seen(windows(spec, "2013-07-01", "2013-07-01")[0], "major")], spec)
    assert moved_columns([month]) == ["x", "delay_probability"]


def test_a_month_of_several_models_has_no_common_index(spec: PipelineSpec) -> None:
    one, two = (seen(window) for window in windows(spec, "2013-07-01", "2013-07-02"))
    assert two.sketches is not None
    other = replace(two, sketches=replace(two.sketches, profile="f" * 64))
    (july,) = months([one, other], spec)
    assert july.drift == {}
    assert july.sketched == 2


def test_nothing_known_of_a_month_is_no_zero(spec: PipelineSpec) -> None:
    found = [WindowReading(window=each) for each in windows(spec, "2013-07-01", "2013-07-03")]
    (july,) = months(found, spec)
    assert (july.labelled, july.delay, july.sketched) == (None, None, 0)
    assert (july.realised, july.drift) == ({}, {})
    text = page(spec, found).text
    for said in ("Never scored 3", "Quality not known", "Drift not known", "Scores not known"):
        assert said in text
    assert "Labels not known" in text
    assert "0.000" not in text


def test_the_page_shows_months_charts_and_every_window(spec: PipelineSpec) -> None:
    days = windows(spec, "2013-06-01", "2013-07-31")
    found = [seen(day, "major" if day.start.month == 7 else "stable", 0.4) for day in days]
    shown = page(spec, [*found[:-1], WindowReading(window=days[-1])])
    assert "2013-06 30 300 0.800 [" in shown.text
    assert "Published 60" in shown.text
    assert "Never scored 1" in shown.text
    assert "30 ● 0 ◐" in shown.text
    assert shown.text.count("✓ published") == 60
    assert "30 of 31" in shown.text  # windows of July that have sketches
    # AUROC, drift by window and by month, scores, labels; no Brier score is known.
    assert shown.tags.count("svg") == 5
    assert shown.fetched == []


def test_what_failed_is_named_and_is_no_markup(spec: PipelineSpec) -> None:
    (day,) = windows(spec, "2013-07-01", "2013-07-01")
    trouble = Trouble(
        window=day.key,
        state="rolled_back",
        stage="rollback",
        revision=MANIFEST.revision,
        reason=HOSTILE,
        ended_at=datetime(2013, 7, 2, tzinfo=UTC),
    )
    problem = WindowReading(window=day, problem=HOSTILE)
    shown = page(spec, [problem], *[trouble] * 201)
    said = f"2013-07-01 ✗ rolled back rollback {MANIFEST.revision} 2013-07-02 00:00+00:00 {HOSTILE}"
    assert shown.text.count(said) == 200
    assert "and 1 more." in shown.text
    assert f"✗ {HOSTILE}" in shown.text
    assert "script" not in shown.tags


def test_metrics_with_a_bound_are_drawn(spec: PipelineSpec) -> None:
    assert drawn_metrics(spec) == ["auroc", "brier"]
    golden = spec.golden.model_copy(update={"at_least": {"recall": 0.1}})
    assert drawn_metrics(spec.model_copy(update={"golden": golden})) == ["auroc", "recall", "brier"]


def test_a_month_has_the_verdict_of_its_windows_together(spec: PipelineSpec) -> None:
    # 28 windows of 100 rows each, too few for a verdict on any of them by itself.
    many = BINS.with_counts([50_000, 30_000, 20_000, 0])
    profile = Profile(rows=100_000, subjects={"x": many, "delay_probability": many})
    subjects = {"x": BINS.with_counts([35, 35, 30, 0]), "delay_probability": BINS}
    found = [
        replace(
            seen(day),
            sketches=Sketches(profile=profile.digest, windows=(day.key,), subjects=subjects),
        )
        for day in windows(spec, "2013-02-01", "2013-02-28")
    ]
    (february,) = months_of(found, {profile.digest: profile}, spec=spec)
    shares = [(0.35, 0.5), (0.35, 0.3), (0.3, 0.2)]
    psi = sum((now - then) * math.log(now / then) for now, then in shares)
    assert february.drift["x"].psi == pytest.approx(psi)
    assert february.drift["x"].verdict == "moderate"
    assert february.drift["delay_probability"].verdict == "stable"
    assert moved_columns([february]) == ["x", "delay_probability"]
    shown = Shown(range_page(spec, found, (), {profile.digest: profile}))
    assert f"x ◐ {psi:.2f}" in shown.text


def test_major_cells_are_hatched_and_alike_neighbours_are_one(spec: PipelineSpec) -> None:
    days = windows(spec, "2013-07-01", "2013-07-04")
    moved, still = DriftCell(psi=0.3, major=True), DriftCell(psi=0.0, major=False)
    nothing = DriftCell(psi=None, major=False)
    plain = drawn([("x", [still] * 4)], days)
    hatched = drawn([("x", [still, moved, moved, nothing])], days)
    assert plain.count('stroke="white"') == 1  # the key
    assert hatched.count('stroke="white"') == 2
    assert hatched.count("<path") == plain.count("<path") + 2


def test_drift_is_drawn_against_the_first_declared_reference_where_training_is_none(
    spec: PipelineSpec,
) -> None:
    seasonal = spec.model_copy(
        update={"drift": spec.drift.model_copy(update={"references": ("season", "previous")})}
    )
    found = []
    for each in (seen(window, "major") for window in windows(spec, "2013-07-01", "2013-07-02")):
        drift = [
            replace(own, reference=name) for own in each.reading.drift for name in ("season", "x")
        ]
        found.append(replace(each, reading=replace(each.reading, drift=tuple(drift))))
    said = "Population stability index of each column against season, window by window"
    assert said in page(seasonal, found).text
    assert said not in page(spec, found).text
    (july,) = months(found, seasonal)
    assert july.drifted("x") == (2, 0)


def test_each_colour_of_drift_is_clearly_darker_in_grey_print() -> None:
    grey = [
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in (bytes.fromhex(color[1:]) for color in PSI_COLORS)
    ]
    assert all(light - dark > 30 for light, dark in pairwise(grey))


@pytest.mark.parametrize(
    ("first", "last", "named"),
    [
        ("2013-07-01", "2013-07-01", ["2013-07-01"]),
        ("2013-07-01", "2013-07-18", [f"2013-07-{day:02}" for day in range(1, 19, 2)]),
        ("2013-05-29", "2013-09-02", ["2013-06", "2013-07", "2013-08", "2013-09"]),
    ],
)
def test_windows_are_named_where_there_is_room(
    spec: PipelineSpec, first: str, last: str, named: list[str]
) -> None:
    days = windows(spec, first, last)
    found = list(ticks(days))
    assert [label for _, label in found] == named
    assert all(days[place].key.startswith(label) for place, label in found)


def test_hours_are_named_by_their_own_keys() -> None:
    hourly = WindowSpec(every="hour", start=date(2013, 7, 1))
    found = list(ticks(hourly.between("2013-07-01-00:00", "2013-07-03-23:00")))
    assert [label for _, label in found][:2] == ["2013-07-01-00:00", "2013-07-01-12:00"]
    assert len(found) == 6


def test_a_metric_that_is_nowhere_known_leaves_no_line(spec: PipelineSpec) -> None:
    days = windows(spec, "2013-07-01", "2013-07-03")
    nothing = [None, Figure(value=None, interval=None), None]
    known = [Figure(value=0.7, interval=None)] * 3
    series = MetricSeries(
        metric="auroc",
        golden=known,
        estimated=nothing,
        realised=nothing,
        pooled=nothing,
        pooled_name="trailing 7",
        bounds=(("golden", 0.6),),
    )
    svg = trend_chart(series, days)
    assert "golden set" in svg
    assert "estimated" not in svg
    assert "realised" not in svg
