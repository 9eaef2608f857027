"""Windows together against training: seldom called drifted by chance, sooner than any by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from batchinf_assets.errors import UsageError
from batchinf_assets.evaluation.drift.pooled_drift import pooled_drift
from batchinf_assets.evaluation.drift.sketches import Sketches
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.evaluation.drift.test_drift_rates import COLUMNS, clustered, learned

DAYS = 28
Drawn = dict[str, np.ndarray]


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


def sketched(profile: Profile, drawn: Drawn) -> list[Sketches]:
    """One sketch per drawn window."""
    return [
        Sketches(
            profile=profile.digest,
            windows=(str(place),),
            subjects={
                name: profile.subjects[name].with_counts(counts[place].tolist())
                for name, counts in drawn.items()
            },
        )
        for place in range(len(next(iter(drawn.values()))))
    ]


def verdicts(profile: Profile, drawn: Drawn, spec: PipelineSpec, together: int) -> list[str]:
    """The verdict on the first column of so many windows together, over and over."""
    sketches = sketched(profile, drawn)
    return [
        pooled_drift(sketches[start : start + together], profile, spec=spec)[0].verdict
        for start in range(0, len(sketches), together)
    ]


def test_months_of_windows_like_those_of_training_are_not_called_drifted(
    spec: PipelineSpec,
) -> None:
    drifted = months = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        _, known = learned(clustered(random, 90, rows=900, between=0.3))
        sketches = sketched(known, clustered(random, 3 * DAYS, rows=900, between=0.3))
        for start in range(0, len(sketches), DAYS):
            found = pooled_drift(sketches[start : start + DAYS], known, spec=spec)
            assert {each.subject for each in found} == {*COLUMNS}
            drifted += any(each.verdict in ("moderate", "major") for each in found)
            months += 1
    assert drifted / months <= 0.05


def test_a_month_shows_a_change_that_its_days_do_not(spec: PipelineSpec) -> None:
    random = np.random.default_rng(3)
    _, known = learned(clustered(random, 90, rows=900, between=0.05))
    moved = clustered(random, 5 * DAYS, rows=900, between=0.05, shift=0.3)
    days, months = (verdicts(known, moved, spec, together) for together in (1, DAYS))
    assert days.count("stable") > 0.9 * len(days)
    assert months == ["moderate"] * 5


def test_one_window_is_judged_as_by_itself(spec: PipelineSpec) -> None:
    random = np.random.default_rng(4)
    _, known = learned(clustered(random, 90, rows=900, between=0.05))
    (day,) = sketched(known, clustered(random, 1, rows=900, between=0.05, shift=2))
    (alone,) = (each for each in pooled_drift([day], known, spec=spec) if each.verdict != "stable")
    spread = (known.window_spreads or {})[COLUMNS[0]]
    assert (alone.subject, alone.verdict, alone.parts) == (COLUMNS[0], "major", 1)
    assert (alone.usual_psi, alone.usual_wasserstein) == (
        pytest.approx(spread.usual_psi),
        pytest.approx(spread.usual_wasserstein),
    )


def test_windows_weigh_by_their_rows(spec: PipelineSpec) -> None:
    random = np.random.default_rng(5)
    _, known = learned(clustered(random, 19, rows=300, between=0.05))
    large, small = (sketched(known, clustered(random, 1, rows=n, between=0)) for n in (900, 300))
    found = pooled_drift([*large, *small], known, spec=spec)
    assert {(each.rows, each.parts) for each in found} == {(1_200, 0.75**2 + 0.25**2)}


def test_training_that_is_no_declared_reference_gives_no_verdict(spec: PipelineSpec) -> None:
    drift = spec.drift.model_copy(update={"references": ("season",)})
    random = np.random.default_rng(6)
    _, known = learned(clustered(random, 19, rows=900, between=0.0))
    moved = sketched(known, clustered(random, 2, rows=900, between=0.0, shift=3))
    declared = pooled_drift(moved, known, spec=spec)
    assert declared[0].verdict == "major"
    found = pooled_drift(moved, known, spec=spec.model_copy(update={"drift": drift}))
    assert {(each.verdict, each.q_value) for each in found} == {("not judged", None)}
    assert [each.psi for each in found] == [each.psi for each in declared]


def test_windows_of_two_profiles_are_refused(spec: PipelineSpec) -> None:
    random = np.random.default_rng(7)
    _, known = learned(clustered(random, 19, rows=900, between=0.0))
    (day,) = sketched(known, clustered(random, 1, rows=900, between=0.0))
    with pytest.raises(UsageError, match="2 reference profiles"):
        pooled_drift([day, replace(day, profile="f" * 64)], known, spec=spec)
