"""Paired bootstrap differences of golden metrics."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
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
from batchinf_assets.evaluation.metrics.binary_task import BinaryTask
from batchinf_assets.evaluation.metrics.bootstrap import resample_counts
from batchinf_assets.promotion.bootstrap import Difference, paired_differences
from batchinf_assets.spec.evaluation import Metric

METRICS: tuple[Metric, ...] = tuple(name for name in FIGURES if name != "calibration_error")
"""What scikit-learn measures too."""

LOSSES = {"log_loss", "brier", "calibration_error"}

Floats = npt.NDArray[np.float64]


def compared(
    labels: list[bool] | npt.NDArray[np.bool_],
    champion: list[float] | Floats,
    candidate: list[float] | Floats,
    **changed: Any,
) -> dict[Metric, Difference]:
    """Compare with few resamples."""
    settings: dict[str, Any] = {
        "metrics": FIGURES,
        "task": BinaryTask(decision=0.5),
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
        "f1": f1_score(labels, scores >= 0.5, zero_division=np.nan),
        "accuracy": accuracy_score(labels, scores >= 0.5),
        "average_precision": average_precision_score(labels, scores),
        "auroc": roc_auc_score(labels, scores) if 0 < labels.sum() < len(labels) else math.nan,
        "log_loss": log_loss(labels, scores, labels=[False, True]),
        "brier": brier_score_loss(labels, scores, pos_label=True),
    }


def test_an_interval_spans_the_quantiles_of_paired_resamples_by_scikit_learn() -> None:
    labels, champion, candidate = random_pair(150)
    order = np.lexsort((labels, candidate, champion))
    labels, champion, candidate = labels[order], champion[order], candidate[order]
    drawn: dict[Metric, list[float]] = {metric: [] for metric in METRICS}
    for counts in resample_counts(np.ones(150, np.int64), 100, seed=11):
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


def test_the_size_of_the_pieces_does_not_change_the_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair = random_pair(60)
    whole = compared(*pair)
    monkeypatch.setattr(bootstrap, "HELD_AT_ONCE", 60 * 7)
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
    for metric in ("precision", "recall", "f1", "accuracy", "auroc", "average_precision"):
        assert found[metric].high is not None
        assert found[metric].high < 0
    for metric in ("log_loss", "brier"):
        assert found[metric].low is not None
        assert found[metric].low > 0


def test_intervals_of_two_equally_good_models_hold_zero_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(20)
    held = dict.fromkeys(FIGURES, 0)
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
        (False, {"auroc", "recall", "average_precision"}, "all labels are false"),
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
    for metric in LOSSES:
        assert found[metric].champion is not None
        assert found[metric].candidate is None
        assert found[metric].reason == "the candidate has scores outside 0 to 1"


def test_without_a_predicted_positive_precision_is_undefined() -> None:
    found = compared([True, False, True], [0.1, 0.6, 0.7], [0.1, 0.2, 0.3])
    assert found["precision"].champion == 0.5
    assert found["precision"].candidate is None
    assert found["precision"].reason == "the candidate has no score of at least 0.5"


def test_with_neither_a_positive_nor_a_predicted_one_f1_is_undefined() -> None:
    found = compared([False] * 3, [0.1, 0.2, 0.7], [0.1, 0.2, 0.3])["f1"]
    assert (found.champion, found.candidate) == (0.0, None)
    assert found.reason == "all labels are false, and the candidate has no score of at least 0.5"


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
            task=BinaryTask(decision=0.5),
            resamples=100,
            confidence=0.95,
            seed=0,
        )
