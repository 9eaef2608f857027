"""Drift against training and against earlier windows, and what it is judged to mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.errors import ModelRefused
from batchinf_assets.evaluation.drift.drift_check import judge_drift
from batchinf_assets.evaluation.drift.measure import (
    Drift,
    drift_windows,
    measure_drift,
    overall_verdict,
)
from batchinf_assets.evaluation.drift.sketches import Sketches, sketches_of
from batchinf_assets.manifest.judgement import EarlierWindowsRecord
from batchinf_assets.registry.bins import NumericBins
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec


def spec_with(features: dict[str, dict[str, Any]], min_rows: int = 1, **drift: Any) -> PipelineSpec:
    """The demo pipeline with other features and drift bounds."""
    document = load_pipeline("flight_delays").spec.model_dump()
    document["features"]["columns"] = features
    document["drift"] |= {"min_rows": min_rows, **drift}
    document["golden"]["segments"] = document["performance"]["segments"] = ()
    document["model"]["promotion"]["canary"]["segments"] = ()  # they name the demo's features
    return PipelineSpec.model_validate(document)


def profile_of(table: pa.Table, scores: pa.Array, spec: PipelineSpec) -> Profile:
    """Profile training rows."""
    columns = spec.features.columns
    return build_profile(table, scores, columns=columns, score_column=spec.prediction.column)


def drift_of(
    table: pa.Table, scores: pa.Array, profile: Profile, *, spec: PipelineSpec
) -> tuple[Drift, ...]:
    """Count a window's rows and measure them."""
    columns = {name: table.column(name) for name in table.column_names}
    observed = profile.observe({**columns, spec.prediction.column: scores})
    return measure_drift(observed, table.num_rows, profile, spec=spec)


FEATURES: dict[str, dict[str, Any]] = {
    "speed": {"type": "float64", "nullable": True},
    "kind": {"type": "string"},
    "heavy": {"type": "bool", "drift": False},
}


def ten_rows() -> tuple[pa.Table, pa.Array]:
    """Ten training rows with their scores."""
    table = pa.table(
        {
            "speed": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, None],
            "kind": ["a"] * 5 + ["b"] * 5,
            "heavy": [True] * 5 + [False] * 5,
        }
    )
    return table, pa.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def test_the_training_rows_themselves_have_not_drifted() -> None:
    spec = spec_with(FEATURES)
    table, scores = ten_rows()
    drifts = drift_of(table, scores, profile_of(table, scores, spec), spec=spec)
    assert [(drift.subject, drift.psi, drift.rows, drift.verdict) for drift in drifts] == [
        ("speed", 0.0, 10, "stable"),
        ("kind", 0.0, 10, "stable"),
        ("heavy", 0.0, 10, "not judged"),
        ("delay_probability", 0.0, 10, "stable"),
    ]


def test_missing_and_unseen_values_are_drift_of_their_own() -> None:
    spec = spec_with(FEATURES)
    table, scores = ten_rows()
    window = pa.table(
        {
            "speed": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, None, float("nan")],
            "kind": ["a"] * 5 + ["b"] * 4 + ["unseen"],
            "heavy": [True] * 5 + [False] * 5,
        }
    )
    drifts = drift_of(window, scores, profile_of(table, scores, spec), spec=spec)
    psi = {drift.subject: drift.psi for drift in drifts}
    # speed: nine training values, so the deciles are their 1st … 9th value and the bin above the
    # 9th is empty in both. The 9th bin fell from .1 to the floor, missing rose from .1 to .2.
    by_hand = (1e-4 - 0.1) * math.log(1e-4 / 0.1) + (0.2 - 0.1) * math.log(0.2 / 0.1)
    assert psi["speed"] == pytest.approx(by_hand, abs=1e-12)
    # kind: b fell from .5 to .4, other rose from the floor to .1.
    by_hand = (0.4 - 0.5) * math.log(0.4 / 0.5) + (0.1 - 1e-4) * math.log(0.1 / 1e-4)
    assert psi["kind"] == pytest.approx(by_hand, abs=1e-12)


def test_row_order_does_not_change_a_bit() -> None:
    spec = spec_with({"kind": {"type": "string"}})
    random = np.random.default_rng(2)
    training = pa.table({"kind": random.integers(0, 150, 2000).astype(str)})
    profile = profile_of(training, pa.array(random.random(2000)), spec)
    kinds, scores = random.integers(0, 150, 900).astype(str), random.random(900)
    found = {
        drift_of(pa.table({"kind": kinds[order]}), pa.array(scores[order]), profile, spec=spec)
        for order in (random.permutation(900) for _ in range(10))
    }
    assert len(found) == 1


def test_too_few_rows_are_insufficient_but_measured() -> None:
    table, scores = ten_rows()
    spec = spec_with(FEATURES, min_rows=10)
    profile = profile_of(table, scores, spec)
    speed, kind, heavy, score = drift_of(table.slice(0, 9), scores.slice(0, 9), profile, spec=spec)
    assert speed.verdict == kind.verdict == score.verdict == "insufficient data"
    assert heavy.verdict == "not judged"
    assert speed.psi is not None
    assert speed.psi > 0
    assert drift_of(table, scores, profile, spec=spec)[0].verdict == "stable"


def test_no_rows_have_no_index() -> None:
    table, scores = ten_rows()
    spec = spec_with(FEATURES)
    profile = profile_of(table, scores, spec)
    drifts = drift_of(table.slice(0, 0), scores.slice(0, 0), profile, spec=spec)
    assert {(drift.psi, drift.p_value, drift.rows) for drift in drifts} == {(None, None, 0)}
    assert {drift.reference_rows for drift in drifts} == {10}
    assert overall_verdict(drifts) == "insufficient data"


def shifted(share: float, **drift: Any) -> tuple[pa.Table, pa.Array, Profile, PipelineSpec]:
    """A window of 1000 rows where `share` are 'a', against 1000 of training with one half."""
    spec = spec_with({"kind": {"type": "string"}}, **drift)
    training = pa.table({"kind": ["a", "b"] * 500})
    ones = round(1000 * share)
    window = pa.table({"kind": ["a"] * ones + ["b"] * (1000 - ones)})
    scores = pa.array(np.full(1000, 0.5))
    return window, scores, profile_of(training, scores, spec), spec


@pytest.mark.parametrize(
    ("share", "verdict"),
    # (s - .5) ln(s / .5) + (.5 - s) ln((1 - s) / .5) = (s - .5) ln(s / (1 - s)):
    # .1 ln 1.5 = .0405; .18 ln 2.125 = .1357; .25 ln 3 = .2747.
    [(0.6, "stable"), (0.68, "moderate"), (0.75, "major")],
)
def test_the_declared_bounds_decide_the_verdict(share: float, verdict: str) -> None:
    window, scores, profile, spec = shifted(share)
    kind, score = drift_of(window, scores, profile, spec=spec)
    by_hand = (share - 0.5) * math.log(share / (1 - share))
    assert kind.psi == pytest.approx(by_hand, abs=1e-12)
    assert (kind.verdict, score.verdict) == (verdict, "stable")


def test_far_but_not_surely_is_stable() -> None:
    # Of 24 rows 17 are a: far enough to be moderate, but every 23rd such window is as far off.
    window, scores, profile, spec = shifted(0.75)
    rows = pa.concat_tables([window.slice(0, 17), window.slice(1000 - 7)])
    kind, _ = drift_of(rows, scores.slice(0, 24), profile, spec=spec)
    assert kind.psi == pytest.approx((17 / 24 - 0.5) * math.log(17 / 7), abs=1e-12)
    assert kind.p_value == pytest.approx(0.0437, abs=1e-4)
    assert kind.q_value == pytest.approx(2 * kind.p_value)
    assert kind.verdict == "stable"
    lenient = spec_with({"kind": {"type": "string"}}, false_alarms=0.1)
    assert drift_of(rows, scores.slice(0, 24), profile, spec=lenient)[0].verdict == "moderate"


def test_surely_but_not_far_is_stable() -> None:
    window, scores, profile, spec = shifted(0.6)
    kind, _ = drift_of(window, scores, profile, spec=spec)
    assert kind.q_value is not None
    assert kind.q_value < 1e-4
    assert kind.verdict == "stable"


def test_a_column_has_bounds_of_its_own_and_the_others_keep_theirs() -> None:
    own = {"kind": {"moderate": 0.2, "major": 0.9}}
    spec = spec_with({name: {"type": "string"} for name in ("kind", "other")}, columns=own)
    one = pa.array(["a", "b"] * 500)
    most = pa.array(["a"] * 750 + ["b"] * 250)
    scores = pa.array(np.full(1000, 0.5))
    profile = profile_of(pa.table({"kind": one, "other": one}), scores, spec)
    drifts = drift_of(pa.table({"kind": most, "other": most}), scores, profile, spec=spec)
    assert [drift.verdict for drift in drifts] == ["moderate", "major", "stable"]


def test_a_column_may_need_more_rows_than_the_others() -> None:
    window, scores, profile, spec = shifted(0.75, columns={"kind": {"min_rows": 1001}})
    kind, score = drift_of(window, scores, profile, spec=spec)
    assert (kind.verdict, score.verdict) == ("insufficient data", "stable")
    assert kind.q_value is None


def test_too_few_training_rows_are_insufficient_too() -> None:
    window, scores, profile, _ = shifted(0.75)
    spec = spec_with({"kind": {"type": "string"}}, min_rows=1001)
    twice = pa.concat_tables([window, window])
    drifts = drift_of(twice, pa.concat_arrays([scores, scores]), profile, spec=spec)
    assert {drift.verdict for drift in drifts} == {"insufficient data"}


def test_a_new_value_of_a_constant_is_seen_on_few_rows() -> None:
    # The bin above the constant is rare among all rows: it was never met in training.
    spec = spec_with({"gate": {"type": "float64"}, "kind": {"type": "string"}})
    many = 100_000
    training = pa.table({"gate": np.full(many, 5.0), "kind": ["a"] * many})
    profile = profile_of(training, pa.array(np.full(many, 0.5)), spec)
    window = pa.table({"gate": np.full(200, 6.0), "kind": ["new"] * 200})
    drifts = drift_of(window, pa.array(np.full(200, 0.5)), profile, spec=spec)
    assert [drift.verdict for drift in drifts] == ["major", "major", "stable"]
    assert drifts[1].unseen == 1.0


def test_only_judged_subjects_are_one_family() -> None:
    """q is p times the number of tests for the smallest p; the unjudged ones do not count."""
    features = {"kind": {"type": "string"}, "calm": {"type": "string"}}
    window, scores, _, _ = shifted(0.55)
    window = window.append_column("calm", window.column("kind"))
    half = pa.array(["a", "b"] * 500)
    for calm, tests in (({"type": "string"}, 3), ({"type": "string", "drift": False}, 2)):
        spec = spec_with({**features, "calm": calm})
        profile = profile_of(pa.table({"kind": half, "calm": half}), scores, spec)
        rows = window.set_column(1, "calm", half)
        kind, other, score = drift_of(rows, scores, profile, spec=spec)
        assert kind.p_value is not None
        assert kind.q_value == pytest.approx(kind.p_value * tests)
        assert (other.q_value is None) == (tests == 2)
        assert other.p_value == score.q_value == 1.0


def test_a_profile_that_lacks_a_feature_is_refused() -> None:
    table, scores = ten_rows()
    profile = profile_of(table, scores, spec_with({"kind": {"type": "string"}}))
    with pytest.raises(ModelRefused, match="model flight_delays has no numeric 'speed'"):
        drift_of(table, scores, profile, spec=spec_with(FEATURES))


def test_a_profile_of_another_kind_is_refused() -> None:
    table, scores = ten_rows()
    profile = profile_of(table, scores, spec_with(FEATURES))
    changed = {**FEATURES, "heavy": {"type": "float64"}}
    with pytest.raises(ModelRefused, match="no numeric 'heavy'"):
        drift_of(table, scores, profile, spec=spec_with(changed))


def test_rows_without_a_score_each_are_refused() -> None:
    table, scores = ten_rows()
    spec = spec_with(FEATURES)
    with pytest.raises(ValueError, match="9 values of 'delay_probability' for 10 rows"):
        drift_of(table, scores.slice(1), profile_of(table, scores, spec), spec=spec)


def earlier(profile: Profile, spec: PipelineSpec, table: pa.Table, scores: pa.Array) -> Sketches:
    """Count an earlier window."""
    columns = {name: table.column(name) for name in table.column_names}
    counts = profile.observe({**columns, spec.prediction.column: scores})
    filled = {name: profile.subjects[name].with_counts(rows) for name, rows in counts.items()}
    return replace(sketches_of(profile), windows=("2013-07-01",), subjects=filled)


def test_each_declared_reference_has_a_verdict_of_its_own() -> None:
    window, scores, profile, _ = shifted(0.75)
    spec = spec_with(
        {"kind": {"type": "string"}}, references=("previous", "training", "season"), season="month"
    )
    counts = {"kind": [750, 250, 0, 0], spec.prediction.column: [0, 1000, 0, 0]}
    drifts = measure_drift(
        counts, 1000, profile, spec=spec, previous=earlier(profile, spec, window, scores)
    )
    assert [(d.reference, d.subject, d.verdict, d.reference_rows) for d in drifts] == [
        ("previous", "kind", "stable", 1000),
        ("previous", "delay_probability", "stable", 1000),
        ("training", "kind", "major", 1000),
        ("training", "delay_probability", "stable", 1000),
        ("season", "kind", "too few windows", 0),
        ("season", "delay_probability", "too few windows", 0),
    ]
    assert [d.psi for d in drifts if d.reference == "season"] == [None, None]


def test_a_season_judges_from_so_many_windows_on_and_is_measured_before() -> None:
    window, scores, profile, _ = shifted(0.75)
    spec = spec_with(
        {"kind": {"type": "string"}}, references=("season",), season="weekday", season_windows=3
    )
    counts = {"kind": [500, 500, 0, 0], spec.prediction.column: [0, 1000, 0, 0]}
    one = earlier(profile, spec, window, scores)
    found = {
        number: measure_drift(
            counts, 1000, profile, spec=spec, season=replace(one, windows=("w",) * number)
        )
        for number in (2, 3)
    }
    assert [each.verdict for each in found[2]] == ["too few windows"] * 2
    assert [each.verdict for each in found[3]] == ["major", "stable"]
    assert {each.q_value for each in found[2]} == {None}
    assert [each.psi for each in found[2]] == [each.psi for each in found[3]]
    assert overall_verdict(found[2]) == "too few windows"
    check = judge_drift(found[2], spec, {"season": EarlierWindowsRecord(counted=2)})
    assert check.passed
    assert check.measured["verdict/season"] == "too few windows"
    assert (check.measured["windows/season"], check.measured["least_windows/season"]) == (2, 3)


def test_earlier_windows_are_measured_in_training_deviations() -> None:
    spec = spec_with({"x": {"type": "float64"}}, references=("previous",))
    values = np.random.default_rng(1).standard_normal(20_000)
    scores = pa.array(np.full(len(values), 0.5))
    profile = profile_of(pa.table({"x": values}), scores, spec)
    before = earlier(profile, spec, pa.table({"x": values + 0.3}), scores)
    unknown = {
        name: NumericBins(edges=bins.edges, counts=bins.counts, missing=bins.missing)
        for name, bins in before.subjects.items()
        if isinstance(bins, NumericBins)
    }
    counts = profile.observe({"x": pa.array(values), spec.prediction.column: scores})
    stored = replace(before, subjects=unknown)  # as the table gives them back: without ends
    x, _ = measure_drift(counts, len(values), profile, spec=spec, previous=stored)
    assert x.wasserstein == pytest.approx(0.3, abs=0.02)
    assert x.verdict == "moderate"


def test_sketches_of_another_profile_are_refused() -> None:
    window, scores, profile, _ = shifted(0.75)
    spec = spec_with({"kind": {"type": "string"}}, references=("previous",))
    other = replace(earlier(profile, spec, window, scores), profile="0" * 64)
    counts = {"kind": [750, 250, 0, 0], spec.prediction.column: [0, 1000, 0, 0]}
    with pytest.raises(ValueError, match="sketches of profile 0000"):
        measure_drift(counts, 1000, profile, spec=spec, previous=other)


def usual(p_value: float, psi: float, wasserstein: float | None = None) -> WindowSpread:
    """What twenty windows keep whose rows are independent."""
    return WindowSpread(
        windows=20,
        concentration=0.05,
        correlation=0.0,
        usual_p_value=p_value,
        usual_psi=psi,
        usual_wasserstein=wasserstein,
    )


@pytest.mark.parametrize(
    ("p_value", "psi", "verdict"),
    [(1.0, 0.0, "major"), (1.0, 0.27, "major"), (1.0, 0.28, "stable"), (1e-30, 0.0, "stable")],
)
def test_what_windows_usually_do_is_no_drift(p_value: float, psi: float, verdict: str) -> None:
    # Three quarters are 'a', not one half: 0.25 ln(0.75 / 0.5) - 0.25 ln(0.25 / 0.5) = 0.27465.
    window, scores, profile, spec = shifted(0.75)
    spreads = {"kind": usual(p_value, psi), spec.prediction.column: usual(p_value, psi)}
    kind, score = drift_of(window, scores, profile.with_windows(spreads), spec=spec)
    assert kind.psi == pytest.approx(0.27465, abs=1e-5)
    assert (kind.verdict, score.verdict) == (verdict, "stable")
    assert drift_windows([kind, score]) == {"training": 20}


def test_a_distance_beyond_the_usual_does_not_lend_itself_to_another() -> None:
    spec = spec_with({"x": {"type": "float64"}}, moderate=0.01, major=9.0)
    values = np.random.default_rng(1).standard_normal(5_000)
    scores = pa.array(np.full(len(values), 0.5))
    profile = profile_of(pa.table({"x": values}), scores, spec)
    moved = pa.table({"x": values + 0.3})
    for spread, verdict in (
        (usual(1.0, 0.0, 9.0), "moderate"),  # by the stability index
        (usual(1.0, 9.0, 0.2), "moderate"),  # by the Wasserstein distance
        (usual(1.0, 9.0, None), "moderate"),  # likewise: what is usual is not known
        (usual(1.0, 9.0, 9.0), "stable"),
    ):
        x, _ = drift_of(moved, scores, profile.with_windows({"x": spread}), spec=spec)
        assert (x.wasserstein, x.verdict) == (pytest.approx(0.3, abs=0.02), verdict)


def test_earlier_windows_bring_their_own_spread() -> None:
    window, scores, profile, _ = shifted(0.5)
    spec = spec_with({"kind": {"type": "string"}}, references=("training", "previous"))
    before = replace(earlier(profile, spec, window, scores), spreads={"kind": usual(0.5, 0.3)})
    counts = {"kind": [750, 250, 0, 0], spec.prediction.column: [0, 1000, 0, 0]}
    drifts = measure_drift(counts, 1000, profile, spec=spec, previous=before)
    verdicts = {(drift.reference, drift.subject): drift.verdict for drift in drifts}
    assert verdicts["training", "kind"] == "major"
    assert verdicts["previous", "kind"] == "stable"
    assert drift_windows(drifts) == {"training": 0, "previous": 20}
