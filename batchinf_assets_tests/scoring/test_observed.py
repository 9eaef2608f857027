"""Compiled counting by bin gives what the profile's own counting gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.registry.profile import NumericBins, Profile, build_profile
from batchinf_assets.scoring.at_most import BLOCK_BYTES
from batchinf_assets.scoring.observed import observe
from batchinf_assets.spec.contract import FeatureSpec

COLUMNS = {
    "narrow": FeatureSpec(type="float32"),
    "wide": FeatureSpec(type="float64", nullable=True),
    "whole": FeatureSpec(type="int32"),
    "kind": FeatureSpec(type="string"),
}
BLOCK = BLOCK_BYTES // 4
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e308]


def rows(count: int, seed: int) -> dict[str, pa.Array]:
    """Random rows with the values that comparisons go wrong on among them."""
    random = np.random.default_rng(seed)
    wide = np.where(random.random(count) < 0.1, random.choice(ODD, count), random.random(count))
    nulls = random.random(count) < 0.05 * (seed % 2)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return {
        "narrow": pa.array(narrow),
        "wide": pa.array(wide, mask=nulls),
        "whole": pa.array(random.integers(-5, 5, count), pa.int32()),
        "kind": pa.array(random.choice(["a", "b", "c"], count)),
        "score": pa.array(random.random(count)),
    }


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_rows_are_counted_in_the_same_bins(count: int, seed: int) -> None:
    learned = rows(5_000, seed + 10)
    features = pa.table({name: learned[name] for name in COLUMNS})
    profile = build_profile(features, learned["score"], columns=COLUMNS, score_column="score")
    columns = {name: pa.chunked_array([values]) for name, values in rows(count, seed).items()}
    found = {name: counts.tolist() for name, counts in observe(profile, columns).items()}
    assert found == profile.observe(columns)
    assert {sum(counts) for counts in found.values()} == {count}


def test_edges_that_no_float32_has_part_float32_values_as_in_float64() -> None:
    random = np.random.default_rng(3)
    values = random.random(2_000, dtype=np.float32)
    beside = np.nextafter(values[:50].astype(np.float64), random.choice([-1.0, 2.0], 50))
    edges = tuple(np.unique(beside).tolist())
    reference = NumericBins(edges=edges, counts=(*([0] * len(edges)), 1), missing=0)
    profile = Profile(rows=1, subjects={"x": reference})
    wide = reference.observe(pa.array(values.astype(np.float64)))
    assert observe(profile, {"x": pa.array(values)})["x"].tolist() == wide.tolist()


@pytest.mark.parametrize("count", range(10))
def test_any_number_of_edges_is_counted(count: int) -> None:
    values = pa.array([*range(12), None, *ODD], pa.float64())
    edges = tuple(float(edge) + 0.5 for edge in range(count))
    reference = NumericBins(edges=edges, counts=(*([0] * count), 1), missing=0)
    found = observe(Profile(rows=1, subjects={"x": reference}), {"x": values})["x"]
    assert found.tolist() == reference.observe(values).tolist()
    assert found[-1] == 2


def test_a_subject_without_a_column_is_left_out() -> None:
    reference = NumericBins(edges=(), counts=(1,), missing=0)
    assert observe(Profile(rows=1, subjects={"x": reference}), {}) == {}
