"""Paired bootstrap differences of golden metrics."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score, roc_auc_score

from batchinf_assets.evaluation.golden import binary_metrics
from batchinf_assets.promotion import bootstrap
from batchinf_assets.promotion.bootstrap import (
    Difference,
    ScoredLabels,
    paired_differences,
    resample_counts,
)
from batchinf_assets.spec import Metric

METRICS: tuple[Metric, ...] = ("precision", "recall", "auroc", "log_loss", "brier")

Floats = npt.NDArray[np.float64]

TEN_LABELS = [False, False, True, False, True, False, True, True, False, True]
TEN_SCORES = [0.1, 0.2, 0.2, 0.4, 0.5, 0.5, 0.5, 0.8, 0.9, 1.0]


def compared(
    labels: list[bool] | npt.NDArray[np.bool_],
    champion: list[float] | Floats,
    candidate: list[float] | Floats,
    **changed: Any,
) -> dict[Metric, Difference]:
    """Compare with few resamples."""
    settings: dict[str, Any] = {
        "metrics": METRICS,
        "decision": 0.5,
        "resamples": 200,
        "confidence": 0.95,
        "seed": 7,
        **changed,
    }
    return paired_differences(
        np.asarray(labels, dtype=np.bool_),
        np.asarray(champion, dtype=np.float64),
        np.asarray(candidate, dtype=np.float64),
        **settings,
    )


def random_pair(
    rows: int, *, levels: int = 20, seed: int = 0
) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
    """Labels and two models' scores with ties."""
    random = np.random.default_rng([rows, levels, seed])
    champion = random.integers(0, levels + 1, rows) / levels
    candidate = np.clip(champion + random.integers(-3, 4, rows) / levels, 0, 1)
    return random.random(rows) < 0.2 + 0.6 * champion, champion, candidate


def sklearn_figures(labels: npt.NDArray[np.bool_], scores: Floats) -> dict[Metric, float]:
    """The same metrics by scikit-learn; it refuses or warns of what is undefined."""
    return {
        "precision": precision_score(labels, scores >= 0.5, zero_division=np.nan),
        "recall": recall_score(labels, scores >= 0.5, zero_division=np.nan),
        "auroc": roc_auc_score(labels, scores) if 0 < labels.sum() < len(labels) else math.nan,
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
    labels, scores, _ = random_pair(rows, levels=levels)
    model = ScoredLabels(labels=labels, scores=scores, decision=0.5)
    compared_figures = 0
    for counts in resample_counts(rows, 12, seed=3):
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


def test_an_interval_spans_the_quantiles_of_paired_resamples_by_scikit_learn() -> None:
    labels, champion, candidate = random_pair(150)
    order = np.lexsort((labels, candidate, champion))
    labels, champion, candidate = labels[order], champion[order], candidate[order]
    drawn: dict[Metric, list[float]] = {metric: [] for metric in METRICS}
    for counts in resample_counts(150, 100, seed=11):
        for multiplicities in counts:
            rows = np.repeat(np.arange(150), multiplicities.astype(int))
            before = sklearn_figures(labels[rows], champion[rows])
            after = sklearn_figures(labels[rows], candidate[rows])
            for metric in METRICS:
                drawn[metric].append(after[metric] - before[metric])
    found = compared(labels, champion, candidate, resamples=100, seed=11, confidence=0.8)
    for metric in METRICS:
        low, high = np.quantile(drawn[metric], [0.1, 0.9])
        assert found[metric].low == pytest.approx(low, abs=1e-12)
        assert found[metric].high == pytest.approx(high, abs=1e-12)
        assert found[metric].resamples == 100


def test_points_equal_the_golden_metrics() -> None:
    labels, champion, candidate = random_pair(300)
    expected = [
        binary_metrics(pa.array(labels), pa.array(scores), decision=0.5).figures
        for scores in (champion, candidate)
    ]
    for metric, difference in compared(labels, champion, candidate).items():
        before, after = expected[0][metric], expected[1][metric]
        assert before is not None
        assert after is not None
        assert difference.champion == pytest.approx(before, abs=1e-12)
        assert difference.candidate == pytest.approx(after, abs=1e-12)
        assert difference.difference == pytest.approx(after - before, abs=1e-12)


def test_golden_metrics_and_resamples_are_the_same_arithmetic() -> None:
    labels, scores, _ = random_pair(300)
    model = ScoredLabels(labels=labels, scores=scores, decision=0.5)
    for metric in METRICS:
        once_each = model.resampled(metric, np.ones((1, 300)))
        assert once_each == pytest.approx([model.point[metric]], abs=1e-12)


def test_every_resample_holds_as_many_rows_as_there_are() -> None:
    pieces = list(resample_counts(9, 500, seed=0))
    counts = np.concatenate(pieces)
    assert counts.shape == (500, 9)
    assert (counts.sum(axis=1) == 9).all()
    # A row's multiplicity is binomial (9, 1/9): mean 1, variance 8/9.
    assert counts.mean(axis=0) == pytest.approx(np.ones(9), abs=0.2)
    assert counts.var() == pytest.approx(8 / 9, abs=0.1)


def test_resamples_come_in_pieces_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CELLS", 40)
    assert [piece.shape for piece in resample_counts(9, 10, seed=0)] == [(4, 9), (4, 9), (2, 9)]
    assert [piece.shape for piece in resample_counts(50, 2, seed=0)] == [(1, 50), (1, 50)]


def test_the_size_of_the_pieces_does_not_change_the_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = random_pair(60)
    whole = compared(*pair)
    monkeypatch.setattr(bootstrap, "CELLS", 60 * 7)
    for metric, difference in compared(*pair).items():
        assert difference.low == pytest.approx(whole[metric].low, abs=1e-15)
        assert difference.high == pytest.approx(whole[metric].high, abs=1e-15)


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_ones() -> None:
    pair = random_pair(200)
    assert compared(*pair) == compared(*pair)
    assert compared(*pair)["brier"].low != compared(*pair, seed=8)["brier"].low


def test_row_order_does_not_change_a_bit() -> None:
    labels, champion, candidate = random_pair(500)
    champion[:2], candidate[:2] = [0.0, -0.0], [-0.0, 0.0]
    random = np.random.default_rng(1)
    first = compared(labels, champion, candidate)
    for order in (random.permutation(500) for _ in range(4)):
        assert compared(labels[order], champion[order], candidate[order]) == first


def test_only_the_metrics_asked_for_come_back_in_their_order() -> None:
    assert list(compared(*random_pair(50), metrics=("brier", "auroc"))) == ["brier", "auroc"]


def test_a_model_differs_from_itself_by_exactly_nothing() -> None:
    labels, champion, _ = random_pair(100)
    for difference in compared(labels, champion, champion).values():
        assert (difference.difference, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_a_clearly_worse_model_has_an_interval_apart_from_zero() -> None:
    random = np.random.default_rng(2)
    labels = random.random(1000) < 0.5
    good = np.where(labels, 0.7, 0.3) + random.normal(0, 0.1, 1000)
    poor = np.where(labels, 0.55, 0.45) + random.normal(0, 0.2, 1000)
    found = compared(labels, np.clip(good, 0, 1), np.clip(poor, 0, 1))
    for metric in ("precision", "recall", "auroc"):
        assert found[metric].high is not None
        assert found[metric].high < 0
    for metric in ("log_loss", "brier"):
        assert found[metric].low is not None
        assert found[metric].low > 0


def test_intervals_of_two_equally_good_models_hold_zero_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(20)
    held = dict.fromkeys(METRICS, 0)
    for trial in range(60):
        truth = random.random(250)
        labels = random.random(250) < truth
        champion, candidate = np.clip(truth + random.normal(0, 0.15, (2, 250)), 0.02, 0.98)
        found = compared(labels, champion, candidate, confidence=0.9, seed=trial)
        for metric, difference in found.items():
            assert difference.low is not None
            assert difference.high is not None
            held[metric] += difference.low <= 0 <= difference.high
    # Binomial (60, 0.9): mean 54, standard deviation 2.3; 47 is three of them below.
    assert min(held.values()) >= 47
    assert min(held.values()) < 60


def test_no_rows_leave_everything_undefined_and_say_so() -> None:
    assert set(compared([], [], []).values()) == {
        Difference(
            champion=None,
            candidate=None,
            difference=None,
            low=None,
            high=None,
            resamples=0,
            reason="there are no rows",
        )
    }


def test_one_row_has_figures_but_no_interval() -> None:
    found = compared([True], [0.6], [0.9])
    assert found["brier"].difference == pytest.approx(0.01 - 0.16, abs=1e-15)
    assert (found["brier"].low, found["brier"].high, found["brier"].resamples) == (None, None, 0)
    assert found["brier"].reason == "one row has no spread"
    assert found["auroc"].reason == "all labels are true"


@pytest.mark.parametrize(
    ("labels", "undefined", "reason"),
    [
        (True, {"auroc"}, "all labels are true"),
        (False, {"auroc", "recall"}, "all labels are false"),
    ],
)
def test_one_class_only_leaves_ranks_undefined_and_losses_defined(
    labels: bool, undefined: set[Metric], reason: str
) -> None:
    found = compared([labels] * 6, [0.1, 0.6, 0.7, 0.8, 0.9, 0.95], [0.2, 0.6, 0.6, 0.7, 0.9, 0.9])
    assert {metric for metric, d in found.items() if d.difference is None} == undefined
    for metric in undefined:
        assert (found[metric].low, found[metric].resamples) == (None, 0)
        assert found[metric].reason == reason
    assert found["brier"].resamples == 200
    assert found["brier"].reason is None


@pytest.mark.parametrize("model", ["champion", "candidate"])
def test_a_nan_score_leaves_every_metric_undefined_and_names_the_model(model: str) -> None:
    scores = {"champion": [0.2, 0.7, 0.9], "candidate": [0.1, 0.8, 0.9]}
    scores[model][1] = math.nan
    for difference in compared([False, True, True], *scores.values()).values():
        assert (difference.difference, difference.low, difference.high) == (None, None, None)
        assert difference.reason == f"1 of the {model}'s 3 scores are NaN"


def test_scores_that_are_no_probabilities_have_ranks_but_no_losses() -> None:
    labels, champion, candidate = random_pair(100)
    found = compared(labels, champion, 3 * candidate - 1)
    assert found["auroc"].resamples == 200
    for metric in ("log_loss", "brier"):
        assert found[metric].champion is not None
        assert found[metric].candidate is None
        assert found[metric].reason == "the candidate has scores outside 0 to 1"


def test_without_a_predicted_positive_precision_is_undefined() -> None:
    found = compared([True, False, True], [0.1, 0.6, 0.7], [0.1, 0.2, 0.3])
    assert found["precision"].champion == 0.5
    assert found["precision"].candidate is None
    assert found["precision"].reason == "the candidate has no score of at least 0.5"


def test_an_interval_is_undefined_where_too_many_resamples_lack_the_metric() -> None:
    # The only positive is absent from about (1 - 1/20)**20 = 36 % of the resamples.
    labels = [True] + [False] * 19
    scores = np.linspace(0.9, 0.1, 20)
    found = compared(labels, scores, scores[::-1])["auroc"]
    assert found.difference == -1.0
    assert (found.low, found.high) == (None, None)
    assert 0 < found.resamples < 195
    assert found.reason == f"undefined in {200 - found.resamples} of 200 resamples"


def test_an_interval_is_kept_where_few_resamples_lack_the_metric() -> None:
    # Four of 20 rows are positive: absent from (1 - 4/20)**20 = 1.2 % of the resamples.
    labels = [True] * 4 + [False] * 16
    scores = np.linspace(0.9, 0.1, 20)
    found = compared(labels, scores, scores[::-1], resamples=2000)["auroc"]
    assert 1950 <= found.resamples < 2000
    assert (found.low, found.high, found.reason) == (-1.0, -1.0, None)


@pytest.mark.parametrize(
    ("labels", "champion", "candidate", "what"),
    [
        (np.array([True]), np.array([0.5, 0.6]), np.array([0.5, 0.6]), "of one shape"),
        (np.array([True]), np.array([0.5]), np.array([0.5, 0.6]), "of one shape"),
        (np.array([[True]]), np.array([[0.5]]), np.array([[0.5]]), "of one shape"),
        (np.array([1.0]), np.array([0.5]), np.array([0.5]), "must be booleans, not float64"),
    ],
)
def test_arrays_that_do_not_pair_are_refused(
    labels: Any, champion: Floats, candidate: Floats, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        paired_differences(
            labels,
            champion,
            candidate,
            metrics=METRICS,
            decision=0.5,
            resamples=100,
            confidence=0.95,
            seed=0,
        )
