"""The nine figures of a binary label and their intervals."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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

from batchinf_assets.evaluation.metrics.binary import (
    BOOTSTRAPPED,
    FIGURES,
    BinaryMetrics,
    binary_by_group,
    binary_metrics,
)
from batchinf_assets.evaluation.metrics.bootstrap import MOST_CELLS, ScoredLabels, resampled_figures
from batchinf_assets.evaluation.metrics.figures import Interval
from batchinf_assets.evaluation.metrics.intervals import (
    Z,
    auroc_interval,
    bootstrap_interval,
    strayed_interval,
)
from batchinf_assets.spec.evaluation import Loss, Quality

TEN_SCORES = [0.1, 0.2, 0.2, 0.4, 0.5, 0.5, 0.5, 0.8, 0.9, 1.0]
TEN_LABELS = [False, False, True, False, True, False, True, True, False, True]

OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""
"""Albumin, total protein, K-G score and outcome of those 43 of the 49 patients of DeLong and others
(1988) for whom all are known, as the SAS/STAT User's Guide prints them (The LOGISTIC Procedure,
Comparing Receiver Operating Characteristic Curves)."""

WFNS = {True: (2, 12, 1, 8, 18), False: (37, 20, 3, 8, 4)}
"""How many of 113 patients with a haemorrhage had each grade, by whether they fared badly: tied
scores (Turck and others 2010)."""

NDKA = {
    True: """3.87 5.18 5.19 5.37 7.42 8.23 8.38 8.9 9.57 9.63 9.85 10.4 11.09 11.6 11.67 11.72 12.22
        12.75 12.9 13.2 13.56 13.67 14.04 14.26 15.54 15.89 15.96 17.4 21.22 21.48 21.57 21.93 22.63
        32.37 32.41 34.06 40.34 47.61 54.82 72.57 419.19""",
    False: """3.01 4.61 5.03 6 6.01 6.29 6.3 6.39 6.54 6.59 6.79 7.06 7.63 7.66 7.75 7.96 8.02 8.09
        8.53 8.54 9.01 9.44 9.44 9.47 9.63 9.7 9.8 9.81 9.83 9.95 10.33 10.42 10.51 10.55 10.6 10.83
        11.07 11.68 11.73 11.97 12.53 12.57 12.59 12.67 12.71 12.8 12.9 12.98 13.12 13.41 13.45
        13.87 14.34 14.57 15.54 16.11 17.21 17.3 17.86 18.21 19.46 20.75 22.27 22.43 24.58 27.19
        28.49 41.43 46.83 49.94 58.83 80.3""",
}
"""Of the same patients a concentration in the blood."""

Floats = npt.NDArray[np.float64]


def measure(
    labels: Sequence[bool], scores: Sequence[float], decision: float = 0.5
) -> BinaryMetrics:
    """Measure Python lists."""
    return binary_metrics(
        pa.array(labels, pa.bool_()), pa.array(scores, pa.float64()), decision=decision
    )


def calibration_error(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """The definition, bin by bin."""
    truth, said = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    bins = np.minimum(np.floor(said * 10), 9)
    return sum(
        np.mean(bins == bin_) * abs(truth[bins == bin_].mean() - said[bins == bin_].mean())
        for bin_ in np.unique(bins)
    )


def delong_variance(labels: npt.NDArray[np.bool_], scores: Floats) -> float:
    """The definition: the structural components from all pairs."""
    above = scores[labels][:, np.newaxis] - scores[~labels]
    wins = (above > 0) + 0.5 * (above == 0)
    by_positive, by_negative = wins.mean(axis=1), wins.mean(axis=0)
    return float(
        by_positive.var(ddof=1) / len(by_positive) + by_negative.var(ddof=1) / len(by_negative)
    )


def test_ten_rows_give_the_figures_computed_by_hand() -> None:
    metrics = measure(TEN_LABELS, TEN_SCORES)
    assert (metrics.rows, metrics.positives) == (10, 5)
    # At 0.5 or above: 0.5 T, 0.5 F, 0.5 T, 0.8 T, 0.9 F, 1.0 T = 6 rows, 4 of them positive.
    assert metrics.precision == pytest.approx(4 / 6, abs=1e-15)
    assert metrics.recall == pytest.approx(4 / 5, abs=1e-15)
    # Average ranks: 0.1 is 1; 0.2 twice (2+3)/2 = 2.5; 0.4 is 4; 0.5 three times (5+6+7)/3 = 6;
    # 0.8 is 8; 0.9 is 9; 1.0 is 10. Positives: 2.5 + 6 + 6 + 8 + 10 = 32.5.
    # U = 32.5 - 5*6/2 = 17.5 of 5*5 = 25 pairs.
    assert metrics.auroc == pytest.approx(17.5 / 25, abs=1e-15)
    # Squares: .01 + .04 + .64 + .16 + .25 + .25 + .25 + .04 + .81 + 0 = 2.45.
    assert metrics.brier == pytest.approx(0.245, abs=1e-15)
    # Likelihoods of the labels: .9 .8 .2 .6 .5 .5 .5 .8 .1 and 1 (clipped at 1 - 2**-52).
    product = 0.9 * 0.8 * 0.2 * 0.6 * 0.5 * 0.5 * 0.5 * 0.8 * 0.1
    assert metrics.log_loss == pytest.approx(-math.log(product) / 10, abs=1e-12)
    assert metrics.f1 == pytest.approx(2 * 4 / (2 * 4 + 2 + 1), abs=1e-15)
    assert metrics.accuracy == pytest.approx((4 + 3) / 10, abs=1e-15)
    # From above: 1.0 finds one positive at precision 1; 0.8 one at 2/3; 0.5 two at 4/6; 0.2 one at
    # 5/9. Each positive is a fifth of the recall.
    assert metrics.average_precision == pytest.approx(
        (1 + 2 / 3 + 2 * 4 / 6 + 5 / 9) / 5, abs=1e-15
    )
    # |positives - sum of scores| by tenth: .1, then |1 - .4|, .4, |2 - 1.5|, |1 - .8|, and 0.9 with
    # 1.0 in the last: |1 - 1.9|. In all 2.7.
    assert metrics.calibration_error == pytest.approx(0.27, abs=1e-15)


def test_a_score_at_the_decision_counts_as_positive() -> None:
    assert measure([True, False], [0.4, 0.3], decision=0.4).recall == 1.0
    assert measure([True, False], [0.4, 0.3], decision=0.41).recall == 0.0


@pytest.mark.parametrize("rows", [2, 3, 10, 257, 5000])
@pytest.mark.parametrize("levels", [2, 7, 10**9])
@pytest.mark.parametrize("seed", [0, 1])
def test_figures_equal_scikit_learn(rows: int, levels: int, seed: int) -> None:
    random = np.random.default_rng([rows, levels, seed])
    scores = random.integers(0, levels + 1, rows) / levels
    labels = random.random(rows) < 0.3 + 0.4 * scores
    labels[0], labels[1] = True, False
    scores[0] = 0.7
    metrics = measure(labels.tolist(), scores.tolist())
    expected = {
        "precision": precision_score(labels, scores >= 0.5),
        "recall": recall_score(labels, scores >= 0.5),
        "auroc": roc_auc_score(labels, scores),
        "f1": f1_score(labels, scores >= 0.5),
        "accuracy": accuracy_score(labels, scores >= 0.5),
        "average_precision": average_precision_score(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier_score_loss(labels, scores),
        "calibration_error": calibration_error(labels, scores),
    }
    assert metrics.figures == pytest.approx(expected, abs=1e-9)


def test_log_loss_clips_certain_errors_as_scikit_learn_does() -> None:
    labels, scores = [True, False, True, False], [0.0, 1.0, 1e-17, 1 - 2**-53]
    assert measure(labels, scores).log_loss == pytest.approx(log_loss(labels, scores), abs=1e-9)
    # All four are clipped to the likelihood 2**-52: 52 ln 2 each.
    assert measure(labels, scores).log_loss == pytest.approx(52 * math.log(2), abs=1e-12)


def test_no_rows_leave_every_figure_undefined() -> None:
    metrics = measure([], [])
    assert (metrics.rows, metrics.positives) == (0, 0)
    assert set(metrics.figures.values()) == {None}


def test_without_positives_recall_and_auroc_are_undefined() -> None:
    metrics = measure([False, False], [0.2, 0.6])
    assert (metrics.recall, metrics.auroc) == (None, None)
    assert metrics.precision == 0.0  # one predicted positive, none of them right
    assert metrics.brier == pytest.approx((0.04 + 0.36) / 2, abs=1e-15)
    assert metrics.log_loss == pytest.approx(-math.log(0.8 * 0.4) / 2, abs=1e-15)
    assert (metrics.f1, metrics.accuracy, metrics.average_precision) == (0.0, 0.5, None)
    assert metrics.calibration_error == pytest.approx((0.2 + 0.6) / 2, abs=1e-15)


def test_without_negatives_auroc_is_undefined() -> None:
    metrics = measure([True, True], [0.2, 0.6])
    assert (metrics.recall, metrics.auroc) == (0.5, None)


def test_without_predicted_positives_precision_is_undefined() -> None:
    metrics = measure([True, False], [0.2, 0.1])
    assert (metrics.precision, metrics.recall, metrics.auroc) == (None, 0.0, 1.0)


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_score_leaves_every_figure_undefined(missing: float | None) -> None:
    scores = pa.array([0.9, missing, 0.1], pa.float64())
    metrics = binary_metrics(pa.array([True, True, False]), scores, decision=0.5)
    assert metrics.rows == 3
    assert set(metrics.figures.values()) == {None}


def test_a_missing_label_leaves_every_figure_undefined() -> None:
    metrics = binary_metrics(pa.array([True, None]), pa.array([0.9, 0.1]), decision=0.5)
    assert set(metrics.figures.values()) == {None}


def test_scores_that_are_no_probabilities_have_ranks_but_no_losses() -> None:
    metrics = measure([True, False], [1.5, -0.5])
    assert (metrics.auroc, metrics.precision) == (1.0, 1.0)
    assert (metrics.log_loss, metrics.brier, metrics.calibration_error) == (None, None, None)
    assert (metrics.f1, metrics.accuracy, metrics.average_precision) == (1.0, 1.0, 1.0)


def test_labels_and_scores_must_be_equally_long() -> None:
    with pytest.raises(pa.ArrowInvalid):
        measure([True], [0.5, 0.6])


@st.composite
def labelled_scores(draw: st.DrawFn) -> tuple[list[bool], list[float]]:
    """Labels and scores with few or many ties, of one class or both."""
    score = draw(
        st.sampled_from(
            [st.floats(0, 1), st.integers(0, 4).map(lambda n: n / 4), st.sampled_from([0.0, 1.0])]
        )
    )
    label = draw(st.sampled_from([st.booleans(), st.just(value=True), st.just(value=False)]))
    rows = draw(st.lists(st.tuples(label, score), min_size=1, max_size=40))
    return [label for label, _ in rows], [score for _, score in rows]


def expected_figures(labels: list[bool], scores: list[float]) -> dict[str, float | None]:
    """What scikit-learn says, None where it refuses or only has a convention."""
    predicted = [score >= 0.5 for score in scores]
    both = len({*labels}) == 2
    return {
        "precision": precision_score(labels, predicted) if any(predicted) else None,
        "recall": recall_score(labels, predicted) if any(labels) else None,
        "f1": f1_score(labels, predicted) if any(labels) or any(predicted) else None,
        "accuracy": accuracy_score(labels, predicted),
        "auroc": roc_auc_score(labels, scores) if both else None,
        "average_precision": average_precision_score(labels, scores) if any(labels) else None,
        "log_loss": log_loss(labels, scores, labels=[False, True]),
        "brier": brier_score_loss(labels, scores, pos_label=True),
        "calibration_error": calibration_error(labels, scores),
    }


@given(labelled_scores())
@settings(max_examples=50, deadline=None)
def test_figures_of_any_rows_equal_scikit_learn(rows: tuple[list[bool], list[float]]) -> None:
    labels, scores = rows
    metrics = binary_metrics(
        pa.array(labels), pa.array(scores, pa.float64()), decision=0.5, intervals=False
    )
    assert list(metrics.figures) == list(FIGURES)
    assert metrics.figures == pytest.approx(expected_figures(labels, scores), abs=1e-9)
    assert metrics.intervals == {}


@given(labelled_scores())
@settings(max_examples=25, deadline=None)
def test_every_interval_holds_its_figure_inside_its_range(
    rows: tuple[list[bool], list[float]],
) -> None:
    measured = measure(*rows).measured_figures
    assert list(measured) == list(FIGURES)
    for name, figure in measured.items():
        if figure.interval is None:
            continue
        assert figure.value is not None
        assert 0 <= figure.interval.low <= figure.value <= figure.interval.high
        assert figure.interval.high <= (math.inf if name == "log_loss" else 1)


@given(labelled_scores())
@settings(max_examples=25, deadline=None)
def test_the_interval_of_an_auroc_is_that_of_the_structural_components(
    rows: tuple[list[bool], list[float]],
) -> None:
    labels, scores = np.array(rows[0]), np.array(rows[1])
    found = measure(*rows).intervals["auroc"]
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if min(positives, negatives) < 2:
        assert found is None
        return
    auroc, variance = float(roc_auc_score(labels, scores)), delong_variance(labels, scores)
    variance = 0.0 if variance < 1e-18 else variance
    expected = auroc_interval(auroc, variance, positives=positives, negatives=negatives)
    assert found is not None
    assert expected is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_areas_of_published_patients_have_the_variances_that_proc_publishes() -> None:
    """The R package pROC (Robin and others 2011) holds itself to these figures, by DeLong."""
    grades = [
        (bad, float(grade))
        for bad, counts in WFNS.items()
        for grade, count in enumerate(counts)
        for _ in range(count)
    ]
    metrics = measure(*map(list, zip(*grades, strict=True)))
    interval = metrics.intervals["auroc"]
    assert interval is not None
    assert metrics.auroc == pytest.approx(0.823678861788618, abs=1e-14)
    assert ((interval.high - interval.low) / 2 / Z) ** 2 == pytest.approx(
        0.00146991470882363, abs=1e-14
    )
    values = [(bad, float(value)) for bad, text in NDKA.items() for value in text.split()]
    metrics = measure(*map(list, zip(*values, strict=True)))
    interval = metrics.intervals["auroc"]
    assert interval is not None
    assert (interval.low, metrics.auroc, interval.high) == pytest.approx(
        (0.501244999271703, 0.611957994579946, 0.722670989888189), abs=1e-14
    )


@pytest.mark.parametrize(
    ("test", "area", "error", "low", "high"),
    [
        ("albumin", 0.7366, 0.0927, 0.5549, 0.9182),
        ("total protein", 0.6478, 0.1000, 0.4518, 0.8439),
        ("K-G score", 0.7258, 0.1028, 0.5243, 0.9273),
    ],
)
def test_the_areas_of_delongs_patients_have_the_intervals_of_the_definition(
    test: str, area: float, error: float, low: float, high: float
) -> None:
    """Published are the patients; the figures are computed from them, pair by pair."""
    albumin, protein, kg_score, outcome = np.array(OVARIAN.split(), np.float64).reshape(-1, 4).T
    scores = {"albumin": albumin, "total protein": protein, "K-G score": 10 - kg_score}[test]
    metrics = measure((outcome == 1).tolist(), scores.tolist())
    interval = metrics.intervals["auroc"]
    assert interval is not None
    assert delong_variance(outcome == 1, scores) ** 0.5 == pytest.approx(error, abs=5e-5)
    assert metrics.auroc == pytest.approx(area, abs=5e-5)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)
    assert (interval.high - interval.low) / 2 / Z == pytest.approx(error, abs=5e-5)


def test_scores_without_a_mistake_have_an_interval_of_the_area_below_one() -> None:
    metrics = measure([False] * 30 + [True] * 20, np.linspace(0, 1, 50).tolist())
    interval = metrics.intervals["auroc"]
    assert metrics.auroc == 1.0
    assert interval is not None
    # Wilson's interval of 20 successes in 20 trials: 20 / (20 + 1.96²).
    assert interval.low == pytest.approx(20 / (20 + Z * Z), abs=1e-12)
    assert interval.high == 1.0


def test_a_single_positive_has_an_area_without_interval() -> None:
    metrics = measure([True, False, False, False], [0.8, 0.1, 0.9, 0.3])
    assert metrics.auroc == pytest.approx(2 / 3, abs=1e-15)
    assert metrics.intervals["auroc"] is None
    assert metrics.intervals["recall"] is not None


def test_one_row_has_proportions_with_intervals_and_no_other_ones() -> None:
    intervals = measure([True], [0.7]).intervals
    assert {name for name, interval in intervals.items() if interval} == {
        "precision",
        "recall",
        "accuracy",
    }


def test_no_rows_have_no_intervals() -> None:
    assert measure([], []).intervals == dict.fromkeys(FIGURES)


@pytest.mark.parametrize("infinite", [math.inf, -math.inf])
def test_an_infinite_score_has_a_rank_and_no_loss(infinite: float) -> None:
    metrics = measure([True, False, True], [infinite, 0.5, 0.6])
    assert metrics.auroc == (1.0 if infinite > 0 else 0.5)
    assert (metrics.log_loss, metrics.brier, metrics.calibration_error) == (None, None, None)
    assert metrics.average_precision == pytest.approx(
        average_precision_score([1, 0, 1], [np.sign(infinite) * 9, 0.5, 0.6])
    )


@pytest.mark.parametrize("rows", [300, 3 * MOST_CELLS])
def test_row_order_changes_no_bit_of_an_interval(rows: int) -> None:
    random = np.random.default_rng(6)
    scores = random.random(rows)
    scores[:4] = [0.0, -0.0, 0.0, -0.0]
    labels = random.random(rows) < scores
    orders = [np.arange(rows), *(random.permutation(rows) for _ in range(2))]
    found = [measure(labels[order].tolist(), scores[order].tolist()) for order in orders]
    assert found[0] == found[1] == found[2]
    assert None not in found[0].intervals.values()


def test_groups_of_scores_have_the_intervals_of_resampled_rows() -> None:
    rows = 2 * MOST_CELLS + 1
    random = np.random.default_rng(7)
    scores = np.sort(random.random(rows))
    labels = random.random(rows) < scores**2
    by_row = ScoredLabels(labels=labels, scores=scores, decision=0.5)
    once = np.ones((1, rows))

    def measured(name: Quality | Loss, counts: Floats) -> Floats:
        if name == "calibration_error":
            return by_row.calibration_strays(counts, once)
        return by_row.resampled(name, counts)

    drawn = resampled_figures(measured, np.ones(rows, np.int64), BOOTSTRAPPED)
    metrics = measure(labels.tolist(), scores.tolist())
    for name in BOOTSTRAPPED:
        interval = strayed_interval if name == "calibration_error" else bootstrap_interval
        expected = interval(metrics.figures[name], drawn[name])
        found = metrics.intervals[name]
        assert found is not None
        assert expected is not None
        # Ends of 1,000 resamples stray by about a tenth of the half width.
        tolerance = 0.1 * (expected.high - expected.low)
        assert (found.low, found.high) == pytest.approx(
            (expected.low, expected.high), abs=tolerance
        )


def test_groups_are_measured_as_if_they_were_alone() -> None:
    random = np.random.default_rng(8)
    scores, groups = random.integers(0, 30, 400) / 30, random.integers(0, 3, 400)
    labels = random.random(400) < scores
    scores[groups == 2] = 0.2
    together = binary_by_group(
        pa.array(labels), pa.array(scores), pa.array(groups), 4, decision=0.5, intervals=True
    )
    alone = [measure(labels[groups == g].tolist(), scores[groups == g].tolist()) for g in range(4)]
    assert together == alone
    assert [metrics.rows > 0 for metrics in together] == [True, True, True, False]


def test_a_group_without_a_defined_figure_leaves_the_others_theirs() -> None:
    found = binary_by_group(
        pa.array([True, False, True, None]),
        pa.array([0.9, 0.1, math.nan, 0.5]),
        pa.array([0, 0, 1, 2]),
        3,
        decision=0.5,
        intervals=True,
    )
    assert found[0].auroc == 1.0
    for undefined in found[1:]:
        assert set(undefined.figures.values()) == {None}
        assert set(undefined.intervals.values()) == {None}


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    trials, rows = 100, 120
    random = np.random.default_rng(9)
    scores = random.random(trials * rows)
    found = binary_by_group(
        pa.array(random.random(trials * rows) < scores),
        pa.array(scores),
        pa.array(np.repeat(np.arange(trials), rows)),
        trials,
        decision=0.5,
        intervals=True,
    )
    # Scores are uniform and the chance of the label: a positive's has density 2s, a negative's
    # 2(1 - s), so it is below with chance 5/6.
    truth = {"precision": 3 / 4, "recall": 3 / 4, "accuracy": 3 / 4, "f1": 3 / 4, "auroc": 5 / 6}
    truth |= {"log_loss": 1 / 2, "brier": 1 / 6}
    for name, true in truth.items():
        intervals = [metrics.intervals[name] for metrics in found]
        held = sum(each is not None and each.low <= true <= each.high for each in intervals)
        # Binomial (100, 0.95): mean 95, standard deviation 2.2; a bootstrap of 120 rows is a little
        # short.
        assert 88 <= held < 100, name


def test_more_rows_of_the_same_kind_have_narrower_intervals() -> None:
    few, many = measure(TEN_LABELS * 5, TEN_SCORES * 5), measure(TEN_LABELS * 80, TEN_SCORES * 80)
    assert few.figures == pytest.approx(many.figures, abs=1e-12)
    for name in FIGURES:
        narrow, wide = many.intervals[name], few.intervals[name]
        assert isinstance(narrow, Interval)
        assert isinstance(wide, Interval)
        assert narrow.high - narrow.low < wide.high - wide.low
