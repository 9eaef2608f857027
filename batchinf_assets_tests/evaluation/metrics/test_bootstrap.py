"""Figures of many resamples at once, and how the resamples are drawn."""

import math
import tracemalloc

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from batchinf_assets.evaluation.metrics import bootstrap
from batchinf_assets.evaluation.metrics.binary import FIGURES, binary_metrics
from batchinf_assets.evaluation.metrics.bootstrap import (
    MOST_CELLS,
    ScoredLabels,
    resample_counts,
    resampled_figures,
)
from batchinf_assets.spec.evaluation import Metric

METRICS: tuple[Metric, ...] = tuple(name for name in FIGURES if name != "calibration_error")
"""What scikit-learn measures too."""

TEN_LABELS = [False, False, True, False, True, False, True, True, False, True]
TEN_SCORES = [0.1, 0.2, 0.2, 0.4, 0.5, 0.5, 0.5, 0.8, 0.9, 1.0]


def random_rows(
    rows: int, *, levels: int = 20
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Labels and scores with ties."""
    random = np.random.default_rng([rows, levels])
    scores = random.integers(0, levels + 1, rows) / levels
    return random.random(rows) < 0.2 + 0.6 * scores, scores


def sklearn_figures(
    labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]
) -> dict[Metric, float]:
    """The same metrics by scikit-learn; it refuses or warns of what is undefined."""
    predicted = scores >= 0.5
    return {
        "precision": precision_score(labels, predicted, zero_division=np.nan),
        "recall": recall_score(labels, predicted, zero_division=np.nan),
        "f1": f1_score(labels, predicted, zero_division=np.nan),
        "accuracy": accuracy_score(labels, predicted),
        "auroc": roc_auc_score(labels, scores) if 0 < labels.sum() < len(labels) else math.nan,
        "average_precision": average_precision_score(labels, scores) if labels.any() else math.nan,
        "log_loss": log_loss(labels, scores, labels=[False, True]),
        "brier": brier_score_loss(labels, scores, pos_label=True),
    }


def test_ten_rows_drawn_once_each_give_the_figures_computed_by_hand() -> None:
    model = ScoredLabels(
        labels=np.array(TEN_LABELS), scores=np.array(TEN_SCORES, np.float64), decision=0.5
    )
    counts = np.ones((1, 10))
    # At 0.5 or above: 6 rows, 4 of them positive; 5 positives in all.
    assert model.resampled("precision", counts) == pytest.approx([4 / 6], abs=1e-15)
    assert model.resampled("recall", counts) == pytest.approx([4 / 5], abs=1e-15)
    # Pairs won by positives: 0.2 beats .1 and ties .2: 1.5; 0.5 twice beats .1 .2 .4, ties .5:
    # 3.5 each; 0.8 beats .1 .2 .4 .5: 4; 1.0 beats all 5. In all 17.5 of 25.
    assert model.resampled("auroc", counts) == pytest.approx([17.5 / 25], abs=1e-15)
    assert model.resampled("brier", counts) == pytest.approx([0.245], abs=1e-15)
    assert model.resampled("f1", counts) == pytest.approx([8 / 11], abs=1e-15)
    assert model.resampled("accuracy", counts) == pytest.approx([7 / 10], abs=1e-15)
    # From above, precision where positives are: 1, 2/3, twice 4/6, 5/9.
    assert model.resampled("average_precision", counts) == pytest.approx([32 / 45], abs=1e-15)
    # |positives - scores| by tenth: .1, .6, .4, .5, .2, .9.
    assert model.resampled("calibration_error", counts) == pytest.approx([0.27], abs=1e-15)
    product = 0.9 * 0.8 * 0.2 * 0.6 * 0.5 * 0.5 * 0.5 * 0.8 * 0.1
    assert model.resampled("log_loss", counts) == pytest.approx(
        [-math.log(product) / 10], abs=1e-12
    )


def test_multiplicities_count_as_often_as_the_row_was_drawn() -> None:
    model = ScoredLabels(
        labels=np.array([True, False, True]), scores=np.array([0.9, 0.6, 0.3]), decision=0.5
    )
    counts = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    # First the negative once and the positive at 0.3 twice, then the positive at 0.9 twice.
    assert model.resampled("auroc", counts).tolist() == [0.0, 1.0]
    assert model.resampled("precision", counts).tolist() == [0.0, 2 / 3]
    assert model.resampled("recall", counts).tolist() == [0.0, 1.0]
    assert model.resampled("brier", counts) == pytest.approx(
        [(0.36 + 2 * 0.49) / 3, (2 * 0.01 + 0.36) / 3], abs=1e-15
    )


@pytest.mark.parametrize(("rows", "levels"), [(3, 2), (12, 4), (257, 10), (400, 10**9)])
def test_resamples_equal_scikit_learn_on_the_repeated_rows(rows: int, levels: int) -> None:
    labels, scores = random_rows(rows, levels=levels)
    model = ScoredLabels(labels=labels, scores=scores, decision=0.5)
    compared_figures = 0
    for counts in resample_counts(np.ones(rows, np.int64), 12, seed=3):
        found = {metric: model.resampled(metric, counts) for metric in METRICS}
        for number, multiplicities in enumerate(counts):
            drawn = np.repeat(np.arange(rows), multiplicities.astype(int))
            expected = sklearn_figures(labels[drawn], scores[drawn])
            for metric in METRICS:
                assert found[metric][number] == pytest.approx(
                    expected[metric], abs=1e-12, nan_ok=True
                )
                compared_figures += not math.isnan(expected[metric])
    assert compared_figures >= 24


def test_measured_rows_and_resamples_are_the_same_arithmetic() -> None:
    labels, scores = random_rows(300)
    model = ScoredLabels(labels=labels, scores=scores, decision=0.5)
    measured = binary_metrics(pa.array(labels), pa.array(scores), decision=0.5, intervals=False)
    expected = measured.figures
    for metric in FIGURES:
        once_each = model.resampled(metric, np.ones((1, 300)))
        assert once_each == pytest.approx([expected[metric]], abs=1e-12)


def test_every_resample_holds_as_many_rows_as_there_are() -> None:
    pieces = list(resample_counts(np.ones(9, np.int64), 500, seed=0))
    counts = np.concatenate(pieces)
    assert counts.shape == (500, 9)
    assert (counts.sum(axis=1) == 9).all()
    # A row's multiplicity is binomial (9, 1/9): mean 1, variance 8/9.
    assert counts.mean(axis=0) == pytest.approx(np.ones(9), abs=0.2)
    assert counts.var() == pytest.approx(8 / 9, abs=0.1)


def test_resamples_come_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "HELD_AT_ONCE", 40)
    nine, fifty = np.ones(9, np.int64), np.ones(50, np.int64)
    assert [piece.shape for piece in resample_counts(nine, 10, seed=0)] == [(4, 9), (4, 9), (2, 9)]
    assert [piece.shape for piece in resample_counts(fifty, 2, seed=0)] == [(1, 50), (1, 50)]


def test_a_cell_weighs_as_much_as_its_rows() -> None:
    weights = np.array([1, 5, 3])
    (counts,) = resample_counts(weights, 2000, seed=1)
    assert (counts.sum(axis=1) == 9).all()
    assert counts.mean(axis=0) == pytest.approx([1, 5, 3], abs=0.15)
    # Binomial (9, 5/9): variance 9 * 5/9 * 4/9.
    assert counts[:, 1].var() == pytest.approx(20 / 9, abs=0.25)


def test_cells_of_many_rows_are_drawn_from_the_same_distribution() -> None:
    weights = np.array([1, 5, 3]) * 100
    (counts,) = resample_counts(weights, 2000, seed=1)
    assert (counts.sum(axis=1) == 900).all()
    for cell, weight in enumerate(weights):
        assert stats.kstest(counts[:, cell], stats.binom(900, weight / 900).cdf).statistic < 0.06


def test_ties_of_grouped_rows_measure_as_the_rows_do() -> None:
    labels, scores = random_rows(200, levels=5)
    cells, weights = np.unique(np.stack([scores, labels]), axis=1, return_counts=True)
    grouped = ScoredLabels(labels=cells[1] == 1, scores=cells[0], decision=0.5)
    by_row = ScoredLabels(labels=labels, scores=scores, decision=0.5)
    for metric in FIGURES:
        assert grouped.resampled(metric, weights[np.newaxis].astype(np.float64)) == pytest.approx(
            by_row.resampled(metric, np.ones((1, 200))), abs=1e-12
        )


def test_the_same_seed_gives_the_same_resamples() -> None:
    weights = np.array([3, 1, 2])
    first, second = (np.concatenate(list(resample_counts(weights, 50, seed=s))) for s in (4, 4))
    other = np.concatenate(list(resample_counts(weights, 50, seed=5)))
    assert (first == second).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("weights", "resamples"),
    [(np.ones(200_000, np.int64), 8), (np.full(MOST_CELLS, 500_000), 600)],
    ids=["200 thousand rows", "a billion rows"],
)
def test_memory_does_not_grow_with_the_rows(
    weights: npt.NDArray[np.int64], resamples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", resamples)
    scores = np.linspace(0, 1, len(weights))
    cells = ScoredLabels(labels=np.arange(len(weights)) % 3 == 0, scores=scores, decision=0.5)
    tracemalloc.start()
    try:
        found = resampled_figures(cells.resampled, weights, FIGURES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(len(drawn) == resamples for drawn in found.values())
    assert peak < 64e6
