"""Differences of paired scores, by hand-computed numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.comparison.deltas import (
    LARGEST,
    LargestDeltas,
    label_flips,
    score_deltas,
)
from batchinf_assets.evaluation.comparison.pairs import SCORE

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
    assert label_flips(np.empty(0), np.empty(0), 0.5).share is None


def test_labels_flip_both_ways_and_the_decision_itself_is_positive() -> None:
    flips = label_flips(A, B, 0.5)
    assert (flips.count, flips.up, flips.down, flips.share) == (2, 0, 2, 0.5)
    turned = label_flips(B, A, 0.5)
    assert (turned.up, turned.down) == (2, 0)
    assert label_flips(np.array([0.4]), np.array([0.5]), 0.5).up == 1


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
