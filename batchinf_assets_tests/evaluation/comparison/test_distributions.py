"""Two sides counted by one profile's bins."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.comparison.distributions import Distributions
from batchinf_assets.evaluation.comparison.pairs import SCORE
from batchinf_assets.evaluation.drift.distances import differences
from batchinf_assets.registry.profile import Profile, build_profile
from batchinf_assets.spec.contract import FeatureSpec

COLUMNS = {"x": FeatureSpec(type="float64"), "c": FeatureSpec(type="string")}


def rows(shift: float, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": random.normal(shift, 1, 500),
            "c": random.choice(["a", "b"], 500),
            SCORE: random.random(500),
        }
    )


def profile() -> Profile:
    training = rows(0, 1)
    return build_profile(training, training.column(SCORE), columns=COLUMNS, score_column="p")


def test_what_moved_furthest_comes_first_and_equals_the_measure_of_the_counts() -> None:
    a, b, bins = rows(0, 2), rows(2, 3), profile()
    found = Distributions(bins, "p")
    for start in range(0, 500, 130):
        found.add_a(a.slice(start, 130))
        found.add_b(b.slice(start, 130))
    measured = found.differences()
    expected = differences(
        {"x": bins.subjects["x"].observe(b.column("x")).tolist()},
        {"x": bins.subjects["x"].with_counts(bins.subjects["x"].observe(a.column("x")).tolist())},
    )
    assert measured[0].subject == "x"
    assert {each.subject for each in measured} == {"x", "c", "p"}
    assert measured[0] == expected["x"]
    assert (measured[0].psi or 0) > 1


def test_rows_that_only_one_side_has_count_too() -> None:
    both, more, found = rows(0, 2), rows(0, 4), Distributions(profile(), "p")
    found.add_a(both, more)
    found.add_b(both, more.slice(0, 0))
    assert {(each.reference_rows, each.rows) for each in found.differences()} == {(1000, 500)}


def test_a_feature_that_one_side_lacks_has_no_distance() -> None:
    found = Distributions(profile(), "p")
    found.add_a(rows(0, 2).drop_columns(["c"]))
    found.add_b(rows(0, 3))
    assert {each.subject for each in found.differences()} == {"x", "p"}
