"""A storm among the windows of a reference hides no later drift, of its column or of others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.drift.between_windows import window_spreads
from batchinf_assets.evaluation.drift.distances import differences
from batchinf_assets.evaluation.drift.measure import judged
from batchinf_assets.registry.bins import NumericBins
from batchinf_assets.registry.profile import QUANTILES
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

ROWS = 1_000
STORMY, OTHER = "dep_hour", "distance_miles"
EMPTY = NumericBins(
    edges=tuple(np.quantile(np.random.default_rng(0).standard_normal(50_000), QUANTILES)),
    counts=(0,) * (len(QUANTILES) + 1),
    missing=0,
    low=-4.0,
    high=4.0,
    deviation=1.0,
)

Windows = list[dict[str, list[int]]]


@pytest.fixture(scope="module")
def spec() -> PipelineSpec:
    """Judges the two columns."""
    return load_pipeline("flight_delays").spec


def drawn(random: np.random.Generator, mean: float) -> list[int]:
    """One window of one column, by bin: normal values around a mean that differs a little."""
    values = random.normal(mean + random.normal(0, 0.05), 1, ROWS)
    return [int(count) for count in EMPTY.observe(pa.array(values))]


def calm(windows: int) -> Windows:
    """Windows of both columns in which nothing happens."""
    random = np.random.default_rng(windows)
    return [{name: drawn(random, 0) for name in (STORMY, OTHER)} for _ in range(windows)]


def stormy(windows: Windows, column: str, storms: int, mean: float) -> Windows:
    """The same windows with storms in one column, spread over all of them."""
    random = np.random.default_rng(storms)
    places = {place * len(windows) // storms for place in range(storms)}
    return [
        {**each, column: drawn(random, mean)} if place in places else each
        for place, each in enumerate(windows)
    ]


def verdict(spec: PipelineSpec, reference: Windows, mean: float) -> str:
    """What is said of the other column in a window where it moved."""
    totals = {name: np.sum([each[name] for each in reference], axis=0) for name in reference[0]}
    bins = {name: EMPTY.with_counts(total.tolist()) for name, total in totals.items()}
    random = np.random.default_rng(7)
    observed = {STORMY: drawn(random, 0), OTHER: drawn(random, mean)}
    spreads = window_spreads(reference, bins, judged=bins)
    found = differences(observed, bins, spreads).values()
    return {each.subject: each.verdict for each in judged("training", found, spec)}[OTHER]


@pytest.mark.parametrize(("windows", "storms"), [(28, 1), (28, 5), (60, 4), (90, 5), (90, 20)])
@pytest.mark.parametrize(("mean", "expected"), [(0.0, "stable"), (1.0, "major"), (2.0, "major")])
def test_storms_in_one_column_change_no_verdict_on_another(
    spec: PipelineSpec, windows: int, storms: int, mean: float, expected: str
) -> None:
    before = calm(windows)
    assert verdict(spec, before, mean) == expected
    assert verdict(spec, stormy(before, STORMY, storms, 3.0), mean) == expected


@pytest.mark.parametrize("windows", [28, 60, 90])
def test_what_is_usual_of_a_column_is_told_by_its_own_windows_alone(windows: int) -> None:
    before, bins = calm(windows), {STORMY: EMPTY, OTHER: EMPTY}
    after = stormy(before, STORMY, windows // 4, 3.0)
    calm_spread, spread = (window_spreads(w, bins, judged=bins) for w in (before, after))
    assert spread[STORMY] != calm_spread[STORMY]
    assert spread[OTHER] == calm_spread[OTHER]


@pytest.mark.parametrize(("windows", "storms"), [(19, 1), (28, 1), (60, 4), (90, 5)])
@pytest.mark.parametrize("storm", [1.0, 2.0, 3.0])
def test_storms_in_a_column_do_not_hide_a_later_shift_of_it(
    spec: PipelineSpec, windows: int, storms: int, storm: float
) -> None:
    reference = stormy(calm(windows), OTHER, storms, storm)
    assert verdict(spec, reference, 2.0) == "major"
    assert verdict(spec, reference, 0.0) == "stable"


def test_the_same_storm_again_is_told_again(spec: PipelineSpec) -> None:
    assert verdict(spec, stormy(calm(28), OTHER, 1, 1.0), 1.0) == "major"
