"""The page of one revision, made of values: what it says, and that nothing in it is markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.evaluation.metrics.calibration import CalibrationBin
from batchinf_assets.evaluation.metrics.figures import Figure, Interval
from batchinf_assets.evaluation.report.places import Link
from batchinf_assets.evaluation.report.readings import (
    DriftReading,
    Labelled,
    Reading,
    SegmentReading,
    TrendReading,
)
from batchinf_assets.evaluation.report.standing import Standing
from batchinf_assets.evaluation.report.window_page import most_drifted, window_page, worst_first
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import OverrideRecord
from batchinf_assets.registry.bins import CategoryCounts, NumericBins
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.evaluation.report.shown import Shown
from batchinf_assets_tests.test_manifest import MANIFEST

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>"
LINK = Link(name="flight_delays/_manifests/2013-07-01/draft.json", href="../../draft.json")
NUMBERS = NumericBins(edges=(1.0, 2.0), counts=(5, 3, 2), missing=0)
CATEGORIES = CategoryCounts(counts={HOSTILE: 6, "b": 4}, other=0, missing=0)
PROFILE = Profile(rows=10, subjects={"x": NUMBERS, "carrier": CATEGORIES})


def figure(value: float | None) -> Figure:
    around = None if value is None else Interval(low=value - 0.05, high=value + 0.05)
    return Figure(value=value, interval=around)


def drifted(subject: str, verdict: str, psi: float | None) -> DriftReading:
    measures = {"psi": psi, "kolmogorov_smirnov": None, "q_value": 0.0, "missing": 0.125}
    return DriftReading(subject=subject, reference="training", measures=measures, verdict=verdict)


BIN = CalibrationBin(number=3, mean_score=0.35, mean_label=0.4, interval=None, rows=9)
PUBLISHED = Standing(state="published")
READING = Reading(
    golden={"auroc": figure(0.7123), "recall": figure(None)},
    golden_rows=2000,
    golden_segments=(
        SegmentReading(segment=f"carrier={HOSTILE}", rows=7, figures={"auroc": figure(0.61)}),
    ),
    drift=(drifted("x", "stable", 0.01), drifted("carrier", "major", 0.4321)),
    drift_verdict="major",
    estimated={"auroc": Figure(value=0.65, interval=None)},
    labelled=Labelled(state="measured", labelled=150, predictions=200),
    realised={"auroc": figure(0.6)},
    pooled={"trailing_7": {"auroc": figure(0.66)}},
    trends={"auroc": TrendReading(slope=figure(-0.002), direction="worse")},
    delay={"median": 7200.0},
    golden_calibration=(BIN,),
    realised_calibration=(replace(BIN, mean_label=0.2),),
)


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


def page(
    spec: PipelineSpec,
    manifest: Manifest = MANIFEST,
    reading: Reading = READING,
    standing: Standing = PUBLISHED,
    sketch: dict[str, NumericBins | CategoryCounts] | None = None,
    training: Profile | None = PROFILE,
) -> bytes:
    return window_page(
        spec,
        manifest,
        reading,
        standing=standing,
        manifest_link=LINK,
        sketch={"x": NUMBERS, "carrier": CATEGORIES} if sketch is None else sketch,
        training=training,
    )


def test_the_page_says_what_is_known(spec: PipelineSpec) -> None:
    shown = Shown(page(spec))
    for said in (
        "flight_delays · 2013-07-01",
        "✓ published",
        "Rows in 3 Scored 2 Quarantined 1",
        "0123456789abcdef",
        "m v1",
        "snapshot/contract ✗ failed, blocks column distance: expected at least 1, found 2 rows",
        "auroc 0.712 [0.662, 0.762] ≥ 0.6 0.650 0.600 [0.550, 0.650] -0.050",
        "recall undefined",
        "150 of 200 predictions labelled",
        "auroc 0.660 [0.610, 0.710] -0.0020 [-0.0520, +0.0480] worse",
        "median 2.0 h",
        "carrier ● major 0.4321 \N{EN DASH} < 0.0001 12.5%",
        "carrier (PSI 0.432, major)",
    ):
        assert said in shown.text, said
    assert "svg" in shown.tags
    assert shown.hrefs[0] == LINK.href


def test_distributions_are_drawn_where_training_is_no_declared_reference(
    spec: PipelineSpec,
) -> None:
    drift = spec.drift.model_copy(update={"references": ("season",)})
    seasonal = spec.model_copy(update={"drift": drift})
    found = tuple(replace(each, reference="season") for each in READING.drift)
    shown = Shown(page(seasonal, reading=replace(READING, drift=found)))
    assert "The columns that moved furthest from season" in shown.text
    assert "carrier (PSI 0.432, major)" in shown.text


def test_nothing_that_comes_from_data_is_markup(spec: PipelineSpec) -> None:
    check = CheckResult(
        name="contract",
        asset="snapshot",
        passed=False,
        violations=(Violation(column=HOSTILE, rule=HOSTILE, samples=(HOSTILE,), count=1),),
    )
    noted = CheckResult(name="warnings", asset="snapshot", passed=True, measured={"say": HOSTILE})
    override = OverrideRecord(check="drift", by=HOSTILE, reason=HOSTILE, at=MANIFEST.scored_at)
    manifest = MANIFEST.model_copy(update={"checks": (check, noted), "overrides": (override,)})
    reading = replace(READING, drift_verdict=HOSTILE, delay={HOSTILE: 1.0})
    standing = Standing(state="refused", reason=HOSTILE)
    hostile = spec.model_copy(update={"description": HOSTILE})
    shown = Shown(page(hostile, manifest, reading, standing))
    assert not {"script", "img", "iframe", "link", "object"} & {*shown.tags}
    assert shown.text.count(HOSTILE) >= 8


def test_the_page_fetches_nothing_and_runs_nothing(spec: PipelineSpec) -> None:
    content = page(spec)
    shown = Shown(content)
    assert shown.fetched == []
    assert all(href == LINK.href or href.startswith("#") for href in shown.hrefs)
    assert b"://" not in content
    assert content.count(b"url(") == content.count(b"url(#")


def test_the_same_values_give_the_same_bytes(spec: PipelineSpec) -> None:
    assert page(spec) == page(spec)


def test_what_was_not_measured_is_not_known_and_never_zero(spec: PipelineSpec) -> None:
    nothing = MANIFEST.model_copy(update={"evaluation": None, "checks": ()})
    text = Shown(page(spec, nothing, Reading(), sketch={}, training=None)).text
    assert "Labelled not known" in text
    assert "Drift ? not known" in text
    for heading in ("Quality", "Calibration", "Drift"):
        assert f"{heading} not known" in text
    assert "the manifest names no check" in text
    assert "0.000" not in text
    assert "0.0%" not in text


def test_old_rows_of_drift_show_the_one_measure_that_they_have(spec: PipelineSpec) -> None:
    old = DriftReading(subject="x", reference="training", measures={"psi": 0.2}, verdict=None)
    new = drifted("carrier", "stable", 0.1)
    text = Shown(page(spec, reading=replace(READING, drift=(old, new)), sketch={})).text
    assert "x ? not known 0.2 not known not known not known" in text
    assert "no sketch was kept" in text


def test_training_that_is_not_known_is_said_below_the_chart(spec: PipelineSpec) -> None:
    assert "Training: not known" in Shown(page(spec, training=None)).text
    assert "Training: not known" not in Shown(page(spec)).text


def test_an_override_names_who_and_why(spec: PipelineSpec) -> None:
    override = OverrideRecord(check="drift", by="ada", reason="a holiday", at=MANIFEST.scored_at)
    text = Shown(page(spec, MANIFEST.model_copy(update={"overrides": (override,)}))).text
    assert "drift let pass by ada on 2013-07-01 05:30+00:00: a holiday" in text


def test_the_worst_verdict_comes_first_then_the_furthest() -> None:
    drift = [
        drifted("a", "not judged", 9.0),
        drifted("b", "stable", 0.01),
        drifted("c", "stable", 0.05),
        drifted("d", "major", 0.3),
        drifted("e", "moderate", None),
    ]
    assert [each.subject for each in worst_first(drift)] == ["d", "e", "c", "b", "a"]
    sketch = dict.fromkeys("abcde", NUMBERS)
    assert [each.subject for each in most_drifted(drift, sketch, None)] == ["d", "e", "c", "b"]
    assert list(most_drifted(drift, {}, None)) == []
