"""Differences of paired scores, by hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.comparison.deltas import (
    LARGEST,
    LargestDeltas,
    score_deltas,
)
from batchinf_assets.evaluation.comparison.pairs import SCORE
from batchinf_assets.scoring.said import score_array

A = np.array([0.1, 0.5, 0.5, 0.9])
B = np.array([0.1, 0.25, 0.75, 0.4])


def scored(scores: list[float], start: int = 0) -> pa.Table:
    return pa.table({"k": range(start, start + len(scores)), SCORE: scores})


def test_means_and_quantiles_are_those_of_the_differences() -> None:
    found = score_deltas(A, B)
    assert (found.rows, found.changed) == (4, 3)
    assert (found.mean_a, found.mean_b) == (0.5, pytest.approx(0.375))
    assert found.mean == pytest.approx(-0.125)
    assert found.mean_absolute == pytest.approx(0.25)
    assert found.quantiles["p01"] == -0.5
    assert found.quantiles["p50"] == -0.25
    assert found.quantiles["p99"] == 0.25


def test_without_rows_no_mean_is_zero() -> None:
    found = score_deltas(np.empty(0), np.empty(0))
    assert (found.rows, found.changed) == (0, 0)
    assert {found.mean_a, found.mean_b, found.mean, found.mean_absolute} == {None}
    assert {*found.quantiles.values()} == {None}


def test_of_several_classes_it_is_by_class_and_all_together_how_far_rows_moved() -> None:
    a = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]])
    b = np.array([[0.2, 0.4, 0.4], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]])
    found = score_deltas(a, b, classes=["x", "y", "z"])
    assert (found.rows, found.changed) == (3, 2)
    assert (found.mean_a, found.mean_b, found.mean) == (None, None, None)
    # 0.3 of the first row's probability went elsewhere, and 0.1 of the last one's.
    assert found.mean_absolute == pytest.approx((0.3 + 0.1) / 3)
    assert (found.quantiles["p01"], found.quantiles["p99"]) == (0, pytest.approx(0.3))
    assert list(found.by_class) == ["x", "y", "z"]
    assert found.by_class["z"].mean == pytest.approx((0.2 - 0.1) / 3)
    assert (found.by_class["x"].changed, found.by_class["y"].changed) == (1, 2)
    assert found.by_class["x"].quantiles["p01"] == pytest.approx(-0.3)


def test_without_rows_of_several_classes_no_mean_is_zero() -> None:
    found = score_deltas(np.empty((0, 2)), np.empty((0, 2)), classes=["x", "y"])
    assert (found.rows, found.mean_absolute, found.by_class["y"].mean) == (0, None, None)


def test_most_changed_rows_of_several_classes_are_those_whose_probability_went_furthest() -> None:
    before, after = (
        pa.table({"k": [1, 2, 3], SCORE: score_array(np.array(scores))})
        for scores in (
            [[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.1, 0.1, 0.8]],
            [[0.5, 0.4, 0.1], [0.1, 0.3, 0.6], [0.1, 0.1, 0.8]],
        )
    )
    found = LargestDeltas(["k"], ["x", "y", "z"])
    found.add(before, after)
    first, second = found.rows()
    assert (first.key, first.class_a, first.a, first.class_b, first.b) == (
        "k=2",
        "x",
        0.4,
        "z",
        0.6,
    )
    assert first.moved == pytest.approx(0.3)
    assert (second.class_a, second.class_b, second.moved) == ("x", "x", pytest.approx(0.1))


def test_the_most_changed_rows_are_found_wherever_the_stream_is_cut() -> None:
    random = np.random.default_rng(3)
    before, after = random.random(100).tolist(), random.random(100).tolist()
    whole, cut = LargestDeltas(["k"]), LargestDeltas(["k"])
    whole.add(scored(before), scored(after))
    for start in range(0, 100, 7):
        end = start + 7
        cut.add(scored(before[start:end], start), scored(after[start:end], start))
    apart = sorted((abs(b - a) for a, b in zip(before, after, strict=True)), reverse=True)
    assert [abs(row.b - row.a) for row in whole.rows()] == apart[:LARGEST]
    assert cut.rows() == whole.rows()


def test_rows_that_did_not_change_are_not_among_the_most_changed() -> None:
    found = LargestDeltas(["k"])
    found.add(scored([0.1, 0.2, 0.3]), scored([0.1, 0.4, 0.3]))
    assert [(row.key, row.a, row.b) for row in found.rows()] == [("k=1", 0.2, 0.4)]
