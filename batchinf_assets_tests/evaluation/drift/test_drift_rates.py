"""How often drift is called where there is none, and found where there is some.

Windows are drawn as counts: rows of one distribution fall into bins by the multinomial law. Where
rows of a window are alike, its distribution is drawn first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm

from batchinf_assets.evaluation.drift.between_windows import window_spreads
from batchinf_assets.evaluation.drift.distances import Difference, differences
from batchinf_assets.evaluation.drift.measure import judged, overall_verdict
from batchinf_assets.registry.bins import NumericBins
from batchinf_assets.registry.profile import QUANTILES, Profile, build_profile
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

TRAINING_ROWS = 100_000
WINDOWS = 1_000
NORMAL = [f"normal_{n}" for n in range(13)]
WHOLE = ["whole_0", "whole_1", "whole_2"]
KINDS = {"kind_3": 3, "kind_12": 12, "kind_50": 50}
"""Categories, ever fewer of each: most of the last are rare."""

DRIFTED = ("moderate", "major")


@pytest.fixture(scope="module")
def spec() -> PipelineSpec:
    """Twenty columns, the score among them, judged on however few rows."""
    document = load_pipeline("flight_delays").spec.model_dump()
    types = dict.fromkeys(NORMAL, "float32") | dict.fromkeys(WHOLE, "float64")
    types |= dict.fromkeys(KINDS, "string")
    document["features"]["columns"] = {name: {"type": kind} for name, kind in types.items()}
    document["drift"]["min_rows"] = 1
    document["golden"]["segments"] = document["performance"]["segments"] = ()
    document["model"]["promotion"]["canary"]["segments"] = ()
    return PipelineSpec.model_validate(document)


@pytest.fixture(scope="module")
def profile(spec: PipelineSpec) -> Profile:
    """What the twenty columns looked like in training."""
    random = np.random.default_rng(11)
    rows: dict[str, np.ndarray] = {
        name: random.standard_normal(TRAINING_ROWS).astype(np.float32) for name in NORMAL
    }
    rows |= {name: random.poisson(3, TRAINING_ROWS).astype(float) for name in WHOLE}
    for name, count in KINDS.items():
        rows[name] = (random.zipf(1.5, TRAINING_ROWS) % count).astype(str)
    return build_profile(
        pa.table(rows),
        random.beta(2, 5, TRAINING_ROWS),
        columns=spec.features.columns,
        score_column=spec.prediction.column,
    )


def windows_of(
    profile: Profile, shares: dict[str, np.ndarray], rows: int, windows: int
) -> list[list[Difference]]:
    """Draw windows and measure them, all in one go."""
    random = np.random.default_rng(rows)
    drawn = {name: random.multinomial(rows, each, size=windows) for name, each in shares.items()}
    return measured(profile, drawn)


def measured(profile: Profile, drawn: dict[str, np.ndarray]) -> list[list[Difference]]:
    """Measure windows against a profile, all in one go."""
    windows = len(next(iter(drawn.values())))
    places = [(place, name) for place in range(windows) for name in drawn]
    known = profile.window_spreads or {}
    found = differences(
        {f"{place}/{name}": drawn[name][place].tolist() for place, name in places},
        {f"{place}/{name}": profile.subjects[name] for place, name in places},
        {f"{place}/{name}": known[name] for place, name in places if name in known},
    )
    return [
        [replace(found[f"{place}/{name}"], subject=name) for name in drawn]
        for place in range(windows)
    ]


def trained(profile: Profile) -> dict[str, np.ndarray]:
    """The training shares by bin."""
    return {
        name: np.array(each.bin_counts) / profile.rows for name, each in profile.subjects.items()
    }


def called_drifted(windows: list[list[Difference]], spec: PipelineSpec) -> float:
    """The share of windows that are called drifted."""
    verdicts = [overall_verdict(judged("training", each, spec)) for each in windows]
    return sum(verdict in DRIFTED for verdict in verdicts) / len(verdicts)


def found_in(subject: str, windows: list[list[Difference]], spec: PipelineSpec) -> float:
    """The share of windows in which one subject is called drifted."""
    drifts = [drift for each in windows for drift in judged("training", each, spec)]
    verdicts = [drift.verdict for drift in drifts if drift.subject == subject]
    return sum(verdict in DRIFTED for verdict in verdicts) / len(verdicts)


@pytest.mark.parametrize("rows", [50, 500, 50_000])
def test_of_windows_without_drift_at_most_one_in_twenty_is_called_drifted(
    profile: Profile, spec: PipelineSpec, rows: int
) -> None:
    shares = trained(profile)
    assert len(shares) == 20
    found = windows_of(profile, shares, rows, WINDOWS)
    assert {each.verdict for window in found for each in judged("training", window, spec)} <= {
        "stable",
        *DRIFTED,
    }
    assert called_drifted(found, spec) <= 0.05


def test_a_shift_of_a_fifth_of_a_deviation_is_found_on_five_thousand_rows(
    profile: Profile, spec: PipelineSpec
) -> None:
    shifted = np.random.default_rng(2).standard_normal(200_000) + 0.2
    counts = profile.observe({NORMAL[0]: pa.array(shifted)})[NORMAL[0]]
    shares = {**trained(profile), NORMAL[0]: np.array(counts) / len(shifted)}
    assert found_in(NORMAL[0], windows_of(profile, shares, 5_000, 200), spec) >= 0.95


COLUMNS = NORMAL[:5]
EDGES = norm.ppf(QUANTILES)


def clustered(
    random: np.random.Generator,
    windows: int,
    *,
    rows: int,
    between: float,
    shift: float = 0.0,
    columns: Sequence[str] = COLUMNS,
    heavy_tailed: bool = False,
) -> dict[str, np.ndarray]:
    """Draw windows of normal columns, each with a mean of its own in every window.

    `between` is the variance of these means, `shift` what is added to that of the first column; the
    values of all windows together have variance 1. The means of a heavy-tailed first column are
    Student's t with three degrees of freedom.
    """
    means = np.sqrt(between) * random.standard_normal((len(columns), windows))
    if heavy_tailed:
        means[0] = np.sqrt(between / 3) * random.standard_t(3, windows)
    means[0] += shift
    below = norm.cdf((EDGES - means[..., np.newaxis]) / np.sqrt(1 - between))
    ends = np.zeros((*means.shape, 1))
    shares = np.diff(np.concatenate([ends, below, ends + 1], axis=2), axis=2)
    counts = random.multinomial(rows, shares)
    return {
        name: np.pad(each, ((0, 0), (0, 1))) for name, each in zip(columns, counts, strict=True)
    }


def learned(windows: dict[str, np.ndarray]) -> tuple[Profile, Profile]:
    """Profile windows: their rows as if independent, and with what the windows tell."""
    subjects = {
        name: NumericBins(
            edges=tuple(EDGES), counts=tuple(total[:-1]), missing=0, low=-4, high=4, deviation=1
        )
        for name, total in ((name, each.sum(axis=0).tolist()) for name, each in windows.items())
    }
    rows = int(sum(next(iter(windows.values())).sum(axis=0)))
    alone = Profile(rows=rows, subjects=subjects)
    count = len(next(iter(windows.values())))
    each_window = [
        {name: each[place].tolist() for name, each in windows.items()} for place in range(count)
    ]
    return alone, alone.with_windows(window_spreads(each_window, subjects, judged=subjects))


@pytest.mark.parametrize(
    ("windows", "trainings", "rows", "between"),
    [(19, 40, 900, 0.05), (28, 30, 900, 0.3), (90, 10, 900, 0.05)],
)
def test_windows_that_differ_as_training_windows_do_are_not_called_drifted(
    spec: PipelineSpec, windows: int, trainings: int, rows: int, between: float
) -> None:
    as_rows, as_windows = [], []
    for seed in range(trainings):  # which windows there are to learn from is chance too
        random = np.random.default_rng(seed)
        alone, known = learned(clustered(random, windows, rows=rows, between=between))
        unchanged = clustered(random, 20, rows=rows, between=between)
        as_rows.append(called_drifted(measured(alone, unchanged), spec))
        as_windows.append(called_drifted(measured(known, unchanged), spec))
    assert np.mean(as_rows) > 0.5
    assert np.mean(as_windows) <= 0.05


def test_a_shift_beyond_what_windows_do_is_found(spec: PipelineSpec) -> None:
    found = []
    for seed in range(5):
        random = np.random.default_rng(seed)
        _, known = learned(clustered(random, 90, rows=900, between=0.05))
        moved = clustered(random, 100, rows=900, between=0.05, shift=6 * 0.05**0.5)
        found.append(found_in(COLUMNS[0], measured(known, moved), spec))
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize("windows", [19, 90])
def test_windows_of_independent_rows_cost_no_power(spec: PipelineSpec, windows: int) -> None:
    random = np.random.default_rng(7)
    _, known = learned(clustered(random, windows, rows=5_000, between=0.0))
    unchanged = clustered(random, 300, rows=5_000, between=0.0)
    moved = clustered(random, 100, rows=5_000, between=0.0, shift=0.2)
    assert called_drifted(measured(known, unchanged), spec) <= 0.05
    assert found_in(COLUMNS[0], measured(known, moved), spec) >= 0.95


@pytest.mark.parametrize(
    ("windows", "trainings", "between", "heavy_tailed"),
    [(28, 20, 0.05, False), (28, 20, 0.05, True), (28, 20, 0.3, False), (90, 10, 0.05, True)],
)
def test_twenty_clustered_columns_together_alarm_in_at_most_one_window_of_twenty(
    spec: PipelineSpec, windows: int, trainings: int, between: float, heavy_tailed: bool
) -> None:
    """Of 400 windows 5 % have a standard error of 1.1 %; no tolerance is added to the bound."""
    columns, drifted = (*NORMAL, *WHOLE, *KINDS, spec.prediction.column), []
    assert len(columns) == 20
    for seed in range(trainings):
        random = np.random.default_rng(seed)
        kind = {"rows": 900, "between": between, "columns": columns, "heavy_tailed": heavy_tailed}
        _, known = learned(clustered(random, windows, **kind))
        unchanged = clustered(random, 400 // trainings, **kind)
        drifted.append(called_drifted(measured(known, unchanged), spec))
    assert np.mean(drifted) <= 0.05


def with_windows(profile: Profile, rows: int, windows: int) -> Profile:
    """Add what windows of independent rows of these sizes tell."""
    random = np.random.default_rng(rows + 1)
    drawn = {n: random.multinomial(rows, each, windows) for n, each in trained(profile).items()}
    each_window = [{n: each[at].tolist() for n, each in drawn.items()} for at in range(windows)]
    spreads = window_spreads(each_window, profile.subjects, judged=profile.subjects)
    assert len(spreads) == 20
    return profile.with_windows(spreads)


@pytest.mark.parametrize("rows", [50, 500, 50_000])
def test_independent_rows_alarm_no_more_often_where_windows_are_known(
    profile: Profile, spec: PipelineSpec, rows: int
) -> None:
    known = with_windows(profile, rows, 28)
    assert called_drifted(windows_of(known, trained(profile), rows, 300), spec) <= 0.05


def test_a_fifth_of_a_deviation_is_found_where_windows_of_twenty_columns_are_alike(
    profile: Profile, spec: PipelineSpec
) -> None:
    shifted = np.random.default_rng(2).standard_normal(200_000) + 0.2
    counts = profile.observe({NORMAL[0]: pa.array(shifted)})[NORMAL[0]]
    shares = {**trained(profile), NORMAL[0]: np.array(counts) / len(shifted)}
    known = with_windows(profile, 5_000, 28)
    assert found_in(NORMAL[0], windows_of(known, shares, 5_000, 100), spec) >= 0.95
