"""The check `drift`: what it says of measured drift."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchinf_assets.evaluation.drift.drift_check import judge_drift
from batchinf_assets.evaluation.drift.measure import Drift, Verdict, overall_verdict
from batchinf_assets.manifest.judgement import EarlierWindowsRecord
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets_tests.evaluation.drift.test_measure import FEATURES, spec_with


def drift(subject: str, psi: float | None, verdict: Verdict, shift: float | None = None) -> Drift:
    """One measured subject."""
    return Drift(
        subject=subject,
        reference="training",
        rows=300,
        reference_rows=9000,
        psi=psi,
        wasserstein=shift,
        verdict=verdict,
    )


def test_major_drift_is_reported_and_does_not_block_unless_declared() -> None:
    drifts = (
        drift("speed", 0.41, "major"),
        drift("b", 0.2, "moderate"),
        drift("delay_probability", 0.2, "major", shift=0.61),
        drift("c", 3.0, "not judged"),
    )
    spec = spec_with(FEATURES, columns={"speed": {"major": 0.4}})
    result = judge_drift(drifts, spec)
    assert (result.asset, result.name, result.blocking) == ("evaluation", "drift", False)
    assert not result.passed
    assert [(violation.column, violation.rule) for violation in result.violations] == [
        ("speed", "stable against training (PSI 0.41, major from 0.4)"),
        (
            "delay_probability",
            "stable against training (PSI 0.20, major from 0.25; "
            "shift 0.61 standard deviations, major from 0.5)",
        ),
    ]
    assert result.measured == {
        "verdict": "major",
        "verdict/training": "major",
        "rows/training": "taken as independent",
        "worst_subject": "speed",
        "worst_psi": 0.41,
        "worst_against": "training",
    }
    blocking = spec.model_copy(update={"gate": spec.gate.model_copy(update={"drift": "block"})})
    assert judge_drift(drifts, blocking).blocking


def test_moderate_drift_passes() -> None:
    result = judge_drift([drift("a", 0.2, "moderate")], spec_with(FEATURES))
    assert result.passed
    assert result.measured["verdict"] == "moderate"


def test_insufficient_data_shows_in_the_result() -> None:
    drifts = [drift("a", None, "insufficient data"), drift("b", None, "not judged")]
    assert judge_drift(drifts, spec_with(FEATURES)).measured == {
        "verdict": "insufficient data",
        "verdict/training": "insufficient data",
        "rows/training": "taken as independent",
    }


@pytest.mark.parametrize(
    ("training", "previous", "overall"),
    [
        ("stable", "insufficient data", "insufficient data"),
        ("insufficient data", "moderate", "moderate"),
        ("major", "insufficient data", "major"),
        ("stable", "not judged", "stable"),
    ],
)
def test_no_reference_hides_that_another_has_too_few_rows(
    training: Verdict, previous: Verdict, overall: str
) -> None:
    other = replace(drift("a", 0.3, previous), reference="previous")
    drifts = [drift("a", 0.3, training), drift("b", None, "not judged"), other]
    measured = judge_drift(drifts, spec_with(FEATURES)).measured
    verdicts = {name: said for name, said in measured.items() if name.startswith("verdict")}
    assert verdicts == {
        "verdict": overall,
        "verdict/training": training,
        "verdict/previous": previous,
    }


def test_the_check_tells_how_many_earlier_windows_there_were() -> None:
    earlier = {
        "previous": EarlierWindowsRecord(counted=25, candidates=2, other_profile=1, held_back=2),
        "season": EarlierWindowsRecord(absent=4),
    }
    measured = judge_drift([], spec_with(FEATURES), earlier).measured
    assert measured == {
        "verdict": "not judged",
        "windows/previous": 25,
        "unpublished/previous": 2,
        "left_out/previous": "1 of another profile, 2 held back",
        "windows/season": 0,
        "unpublished/season": 0,
        "left_out/season": "4 absent",
        "least_windows/season": 19,
    }


def test_the_check_says_what_windows_usually_keep() -> None:
    usual = WindowSpread(
        windows=90,
        concentration=1 / 90,
        correlation=0.03,
        usual_p_value=0.001,
        usual_psi=0.31,
        usual_wasserstein=0.42,
    )
    moved = replace(drift("delay_probability", 0.5, "major", shift=0.61), spread=usual)
    result = judge_drift([moved, drift("b", 0.2, "moderate")], spec_with(FEATURES))
    assert [violation.rule for violation in result.violations] == [
        "stable against training (PSI 0.50, major from 0.25, nine of ten windows keep 0.31; "
        "shift 0.61 standard deviations, major from 0.5, nine of ten windows keep 0.42)"
    ]
    assert result.measured["rows/training"] == "compared with 90 windows"


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
