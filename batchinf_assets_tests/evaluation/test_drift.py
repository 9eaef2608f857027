"""Population stability against training, and what it is judged to mean."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.errors import ModelRefused
from batchinf_assets.evaluation.drift import (
    BINS,
    POPULATION_STABILITY_SQL,
    PROPORTION_FLOOR,
    Drift,
    Verdict,
    judge_drift,
    measure_drift,
    overall_verdict,
)
from batchinf_assets.lake.query import query
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.spec import PipelineSpec, load_pipeline


def spec_with(features: dict[str, dict[str, Any]], min_rows: int = 1) -> PipelineSpec:
    """The demo pipeline with other features."""
    document = load_pipeline("flight_delays").spec.model_dump()
    document["features"]["columns"] = features
    document["drift"]["min_rows"] = min_rows
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


def stability(
    expected: list[tuple[str, int, int]], observed: list[tuple[str, int]]
) -> dict[str, float | None]:
    """Run the SQL on rows."""
    table = pa.table(
        {
            "subject": [subject for subject, _, _ in expected],
            "bin": [number for _, number, _ in expected],
            "training_rows": [rows for _, _, rows in expected],
            "window_rows": [observed.count((subject, number)) for subject, number, _ in expected],
        },
        schema=BINS,
    )
    found = query(
        POPULATION_STABILITY_SQL, {"bins": table}, {"floor": PROPORTION_FLOOR}
    ).to_pylist()
    return {row["subject"]: row["psi"] for row in found}


def test_ten_rows_give_the_index_computed_by_hand() -> None:
    # Training 50, 30, 20 of 100: q = .5 .3 .2. Window 2, 3, 5 of 10: p = .2 .3 .5.
    # (.2-.5) ln(.2/.5) + 0 + (.5-.2) ln(.5/.2) = .3 * ln 2.5 + .3 * ln 2.5 = 0.6 * ln 2.5.
    expected = [("x", 0, 50), ("x", 1, 30), ("x", 2, 20)]
    observed = [("x", 0)] * 2 + [("x", 1)] * 3 + [("x", 2)] * 5
    assert stability(expected, observed) == {"x": pytest.approx(0.6 * math.log(2.5), abs=1e-14)}


def test_an_empty_bin_counts_with_the_floor() -> None:
    # Training all in bin 0, window all in bin 1: p = 1e-4 and 1, q = 1 and 1e-4.
    # Twice (1 - 1e-4) ln(1e4).
    by_hand = 2 * (1 - 1e-4) * math.log(1e4)
    found = stability([("x", 0, 7), ("x", 1, 0)], [("x", 1)] * 10)
    assert found == {"x": pytest.approx(by_hand, abs=1e-12)}


def test_subjects_do_not_mix() -> None:
    expected = [("x", 0, 1), ("x", 1, 1), ("y", 0, 1), ("y", 1, 3)]
    observed = [("x", 0)] * 5 + [("x", 1)] * 5 + [("y", 0)] * 3 + [("y", 1)]
    # x: .5 .5 both times. y: q = .25 .75, p = .75 .25: 2 * .5 * ln 3.
    assert stability(expected, observed) == {
        "x": 0.0,
        "y": pytest.approx(math.log(3), abs=1e-14),
    }


def test_a_subject_without_observed_values_has_no_index() -> None:
    assert stability([("x", 0, 1), ("y", 0, 1)], [("x", 0)]) == {"x": 0.0, "y": None}


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
    assert {(drift.psi, drift.rows) for drift in drifts} == {(None, 0)}
    assert overall_verdict(drifts) == "insufficient data"


def shifted(share: float) -> tuple[pa.Table, pa.Array, Profile, PipelineSpec]:
    """A window of 1000 rows where `share` are 'a', against training with one half."""
    spec = spec_with({"kind": {"type": "string"}})
    training = pa.table({"kind": ["a", "b"] * 50})
    ones = round(1000 * share)
    window = pa.table({"kind": ["a"] * ones + ["b"] * (1000 - ones)})
    profile = profile_of(training, pa.array(np.full(100, 0.5)), spec)
    return window, pa.array(np.full(1000, 0.5)), profile, spec


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


def drift(subject: str, psi: float | None, verdict: Verdict) -> Drift:
    """One measured subject."""
    return Drift(subject=subject, psi=psi, rows=300, verdict=verdict)


def test_major_drift_is_reported_and_does_not_block() -> None:
    drifts = (
        drift("a", 0.41, "major"),
        drift("b", 0.2, "moderate"),
        drift("c", 3.0, "not judged"),
    )
    result = judge_drift(drifts, spec_with(FEATURES))
    assert (result.asset, result.name, result.blocking) == ("evaluation", "drift", False)
    assert not result.passed
    assert [(violation.column, violation.rule) for violation in result.violations] == [
        ("a", "stable against training (PSI 0.41, major from 0.25)")
    ]
    assert result.measured == {"verdict": "major", "worst_subject": "a", "worst_psi": 0.41}


def test_moderate_drift_passes() -> None:
    result = judge_drift([drift("a", 0.2, "moderate")], spec_with(FEATURES))
    assert result.passed
    assert result.measured["verdict"] == "moderate"


def test_insufficient_data_shows_in_the_result() -> None:
    drifts = [drift("a", None, "insufficient data"), drift("b", None, "not judged")]
    assert judge_drift(drifts, spec_with(FEATURES)).measured == {"verdict": "insufficient data"}


@pytest.mark.parametrize(
    ("verdicts", "overall"),
    [
        (["stable", "major", "moderate"], "major"),
        (["stable", "moderate", "not judged"], "moderate"),
        (["stable", "insufficient data", "not judged"], "stable"),
        (["insufficient data", "not judged"], "insufficient data"),
        (["not judged"], "not judged"),
        ([], "not judged"),
    ],
)
def test_the_worst_judged_verdict_is_the_overall_one(verdicts: list[Verdict], overall: str) -> None:
    assert overall_verdict([drift("x", 0.1, verdict) for verdict in verdicts]) == overall
