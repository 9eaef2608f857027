"""What is expected of calibrated scores comes true on labels that are drawn from them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from batchinf_assets.evaluation.metrics.estimate import ESTIMATED, estimated_metrics
from batchinf_assets.scoring.score_histogram import SCORE_BINS, count_scores

histograms = st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any)
decisions = st.floats(0, 1)


def estimated(scores: np.ndarray, decision: float) -> dict[str, float | None]:
    return estimated_metrics(count_scores(scores).tolist(), decision=decision)


def test_four_bins_give_the_figures_computed_by_hand() -> None:
    # Midpoints 1/8, 3/8, 5/8, 7/8 with 4, 0, 2 and 1 rows; positive from 1/2 on.
    found = estimated_metrics([4, 0, 2, 1, 0], decision=0.5)
    # TP = 2*5/8 + 7/8 = 17/8, FP = 2*3/8 + 1/8 = 7/8, FN = 4/8, TN = 4*7/8 = 28/8.
    assert found["precision"] == pytest.approx(17 / 24, abs=1e-15)
    assert found["recall"] == pytest.approx(17 / 21, abs=1e-15)
    assert found["f1"] == pytest.approx(34 / 45, abs=1e-15)
    assert found["accuracy"] == pytest.approx(45 / 56, abs=1e-15)
    # Positives 4/8, 10/8, 7/8; negatives 28/8, 6/8, 1/8. Of pairs of two rows, in 1/64:
    # above: 10*28 + 7*(28 + 6) = 518; tied: 4*3*1*7 = 84 in the first bin, 2*1*5*3 = 30 in the
    # third, none in the last; all: 21*35 less each row's own, 4*7 + 2*15 + 7 = 65, makes 670.
    assert found["auroc"] == pytest.approx((518 + 57) / 670, abs=1e-15)
    assert found["brier"] == pytest.approx(65 / 64 / 7, abs=1e-15)
    eighth = -(math.log(1 / 8) / 8 + math.log(7 / 8) * 7 / 8)
    other = -(math.log(5 / 8) * 5 / 8 + math.log(3 / 8) * 3 / 8)
    assert found["log_loss"] == pytest.approx((5 * eighth + 2 * other) / 7, abs=1e-15)
    assert tuple(found) == ESTIMATED


def test_a_bin_that_the_decision_cuts_is_shared_by_width() -> None:
    # [1/2, 1] is cut at 5/8: a quarter of its rows, at 9/16, is not predicted positive.
    found = estimated_metrics([0, 8, 0], decision=0.625)
    assert found["precision"] == pytest.approx(13 / 16, abs=1e-15)
    assert found["recall"] == pytest.approx((6 * 13) / (6 * 13 + 2 * 9), abs=1e-15)
    assert found["auroc"] == pytest.approx(0.5, abs=1e-15)


@pytest.mark.parametrize("decision", [0.25, 0.4, 0.617])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (0.4, 0.4)])
def test_estimates_meet_what_labels_drawn_from_the_scores_show(
    shape: tuple[float, float], decision: float
) -> None:
    random = np.random.default_rng([*(int(10 * each) for each in shape), int(1000 * decision)])
    scores = random.beta(*shape, 400_000)
    labels = random.random(len(scores)) < scores
    predicted = scores >= decision
    realised = {
        "precision": precision_score(labels, predicted),
        "recall": recall_score(labels, predicted),
        "f1": f1_score(labels, predicted),
        "accuracy": accuracy_score(labels, predicted),
        "auroc": roc_auc_score(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier_score_loss(labels, scores),
    }
    # Four standard errors of a share of 50,000 rows are 0.009; no figure rests on fewer.
    assert estimated(scores, decision) == pytest.approx(realised, abs=0.009)


def test_few_rows_are_estimated_without_bias() -> None:
    random = np.random.default_rng(11)
    scores = random.random(40)
    draws = random.random((20_000, 40)) < scores
    of_pairs = [
        (_pairs_won(labels, scores), labels.sum() * (~labels).sum()) for labels in draws[:4000]
    ]
    won, pairs = np.sum(of_pairs, axis=0)
    found = estimated(scores, 0.5)
    assert found["auroc"] == pytest.approx(won / pairs, abs=0.006)
    assert found["accuracy"] == pytest.approx((draws == (scores >= 0.5)).mean(), abs=0.004)
    assert found["precision"] == pytest.approx(draws[:, scores >= 0.5].mean(), abs=0.004)


def _pairs_won(labels: np.ndarray, scores: np.ndarray) -> float:
    return float((scores[labels][:, None] > scores[~labels]).sum())


@given(histograms, decisions)
def test_every_figure_is_inside_its_range(rows: list[int], decision: float) -> None:
    found = estimated_metrics([*rows, 0], decision=decision)
    for name in ("precision", "recall", "f1", "accuracy", "auroc"):
        value = found[name]
        assert value is None or 0 <= value <= 1 + 1e-12
    brier, loss = found["brier"], found["log_loss"]
    assert brier is not None
    assert loss is not None
    assert 0 < brier <= 0.25 + 1e-12
    assert 0 < loss <= math.log(2) + 1e-12


@given(histograms, decisions, st.integers(2, 50))
def test_as_many_rows_in_every_bin_change_no_share(
    rows: list[int], decision: float, times: int
) -> None:
    once = estimated_metrics([*rows, 0], decision=decision)
    more = estimated_metrics([*(each * times for each in rows), 0], decision=decision)
    del once["auroc"], more["auroc"]  # of more rows fewer pairs are a row with itself
    assert more == pytest.approx(once, rel=1e-9)


@pytest.mark.parametrize("counts", [(0,) * 5, (0, 3, 4, 1, 1), (0, 0, 0, 0, 2)])
def test_nothing_scored_or_a_score_that_is_no_probability_leaves_all_undefined(
    counts: tuple[int, ...],
) -> None:
    assert estimated_metrics(counts, decision=0.5) == dict.fromkeys(ESTIMATED)


def test_without_predicted_positives_there_is_no_precision() -> None:
    found = estimated(np.array([0.1, 0.2]), 0.5)
    assert (found["precision"], found["recall"], found["f1"]) == (None, 0.0, 0.0)
    assert found["auroc"] is not None


def test_one_row_makes_no_pair() -> None:
    assert estimated(np.array([0.7]), 0.5)["auroc"] is None


@pytest.mark.parametrize("decision", [0.0, 1.0])
def test_a_decision_at_either_end_predicts_all_or_nothing(decision: float) -> None:
    scores = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
    assert estimated(scores, decision)["recall"] == 1 - decision
