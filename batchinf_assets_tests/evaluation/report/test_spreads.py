"""Shares by bin: what a chart shows of a window and of training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.report.spreads import (
    MOST_CATEGORIES,
    quantiles_of,
    spread_of,
    training_profile,
)
from batchinf_assets.project import Project
from batchinf_assets.registry.bins import CategoryCounts, NumericBins
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets_tests.test_manifest import MANIFEST

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

TRAINED = NumericBins(edges=(1.0, 2.5), counts=(50, 30, 20), missing=0)


def test_a_number_is_named_by_its_edges_and_shared_by_all_rows() -> None:
    spread = spread_of("x", TRAINED.with_counts((1, 2, 3, 4)), TRAINED)
    assert spread is not None
    assert spread.labels == ("up to 1", "1 to 2.5", "above 2.5", "missing")
    assert spread.window == pytest.approx((0.1, 0.2, 0.3, 0.4))
    assert spread.training == pytest.approx((0.5, 0.3, 0.2, 0))


def test_missing_is_left_out_where_neither_side_has_any() -> None:
    spread = spread_of("x", TRAINED.with_counts((1, 2, 3, 0)), TRAINED)
    assert spread is not None
    assert spread.labels == ("up to 1", "1 to 2.5", "above 2.5")


def test_without_rows_there_is_nothing_to_draw() -> None:
    assert spread_of("x", TRAINED.with_counts((0, 0, 0, 0)), TRAINED) is None


def test_training_with_other_bins_is_not_known() -> None:
    other = NumericBins(edges=(1.0, 2.0), counts=(50, 30, 20), missing=0)
    for training in (None, other, CategoryCounts(counts={"a": 1}, other=0, missing=0)):
        spread = spread_of("x", TRAINED, training)
        assert spread is not None
        assert spread.training is None


def test_the_most_frequent_categories_of_either_side_are_named_and_the_rest_put_together() -> None:
    names = [f"c{at:02}" for at in range(14)]
    trained = CategoryCounts(counts=dict.fromkeys(names, 10), other=5, missing=0)
    window = trained.model_copy(update={"counts": {**dict.fromkeys(names, 1), "c13": 900}})
    spread = spread_of("x", window, trained)
    assert spread is not None
    assert spread.labels[0] == "c13"
    assert spread.labels[MOST_CATEGORIES:] == ("5 more", "other")
    assert spread.training is not None
    for shares in (spread.window, spread.training):
        assert sum(shares) == pytest.approx(1)
    assert spread.training[MOST_CATEGORIES:] == pytest.approx((50 / 145, 5 / 145))


def test_a_categorys_name_is_cut_and_cannot_open_markup() -> None:
    hostile = CategoryCounts(counts={"<script>alert(1)": 3, "": 2}, other=0, missing=0)
    spread = spread_of("x", hostile, None)
    assert spread is not None
    assert "(empty)" in spread.labels
    assert not any("<" in label or len(label) > 40 for label in spread.labels)


def test_quantiles_are_those_of_evenly_spread_values() -> None:
    bins = NumericBins(edges=(0.25, 0.5, 0.75), counts=(25, 25, 25, 25), missing=7)
    at = (0.05, 0.25, 0.5, 0.9)
    assert quantiles_of(bins, at, low=0, high=1) == pytest.approx(at)
    values = np.repeat([0.1, 0.6], [30, 10])
    counted = bins.with_counts(bins.observe(pa.array(values)).tolist())
    found = quantiles_of(counted, (0.5,), low=0, high=1)
    assert found is not None
    assert 0 < found[0] <= 0.25
    assert quantiles_of(bins.with_counts((0, 0, 0, 0, 7)), at, low=0, high=1) is None


def test_the_profile_is_the_one_that_the_manifest_binds(
    world: World, champion: ScoringModel, tmp_path: Path
) -> None:
    project = world.project
    manifest = MANIFEST.model_copy(update={"model": champion.record("champion")})
    assert training_profile(project, manifest) == champion.artifact.profile
    assert training_profile(world.with_lake(tmp_path), manifest) is None
    copy = copied_model(project, tmp_path)
    assert training_profile(copy, manifest) == champion.artifact.profile
    (path,) = (copy.lake / "_models").glob("*/v1-*/profile.json")
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert training_profile(copy, manifest) is None


def copied_model(project: Project, folder: Path) -> Project:
    shutil.copytree(project.lake / "_models", folder / "_models")
    return replace(project, lake=folder)
