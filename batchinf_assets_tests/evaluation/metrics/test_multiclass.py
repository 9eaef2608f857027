"""Figures of class probabilities."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from batchinf_assets.evaluation.metrics.bootstrap import MOST_CELLS, resample_counts
from batchinf_assets.evaluation.metrics.intervals import wilson_interval
from batchinf_assets.evaluation.metrics.multiclass import MulticlassMetrics, multiclass_metrics

TEN_LABELS = [*"aaaabbbccc"]
TEN_PROBABILITIES = [
    (0.7, 0.2, 0.1),
    (0.5, 0.3, 0.2),
    (0.4, 0.4, 0.2),  # a tie: the first counts
    (0.2, 0.6, 0.2),
    (0.1, 0.8, 0.1),
    (0.3, 0.6, 0.1),
    (0.5, 0.4, 0.1),
    (0.1, 0.1, 0.8),
    (0.2, 0.3, 0.5),
    (0.6, 0.2, 0.2),
]


def measure(
    labels: Sequence[str | None],
    probabilities: Sequence[Sequence[float | None]],
    classes: str = "abc",
) -> MulticlassMetrics:
    """Measure Python lists."""
    columns = [[row[place] for row in probabilities] for place in range(len(classes))]
    table = {
        name: pa.array(column, pa.float64()) for name, column in zip(classes, columns, strict=True)
    }
    return multiclass_metrics(pa.array(labels, pa.string()), pa.table(table))


def random_rows(rows: int, seed: int = 0) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Labels drawn from their probabilities."""
    random = np.random.default_rng([rows, seed])
    probabilities = random.dirichlet([1.0, 2.0, 0.5], size=rows)
    drawn = (random.random((rows, 1)) > probabilities.cumsum(axis=1)[:, :2]).sum(axis=1)
    return [*np.array([*"abc"])[drawn]], probabilities


def test_ten_rows_give_the_figures_computed_by_hand() -> None:
    metrics = measure(TEN_LABELS, TEN_PROBABILITIES)
    assert (metrics.rows, metrics.classes) == (10, ("a", "b", "c"))
    # Predicted: a a a b, b b a, c c a.
    assert metrics.confusion == ((3, 1, 0), (1, 2, 0), (1, 0, 2))
    assert metrics.accuracy == pytest.approx(7 / 10, abs=1e-15)
    # F1 = 2 hits / (labels + predictions): a 6/(4+5), b 4/(3+3), c 4/(3+2).
    f1 = [6 / 9, 4 / 6, 4 / 5]
    assert metrics.macro_f1 == pytest.approx(sum(f1) / 3, abs=1e-15)
    assert metrics.weighted_f1 == pytest.approx((4 * f1[0] + 3 * f1[1] + 3 * f1[2]) / 10, abs=1e-15)
    product = 0.7 * 0.5 * 0.4 * 0.2 * 0.8 * 0.6 * 0.4 * 0.8 * 0.5 * 0.2
    assert metrics.log_loss == pytest.approx(-math.log(product) / 10, abs=1e-12)
    assert metrics.intervals["accuracy"] == wilson_interval(0.7, 10)


@st.composite
def classified(draw: st.DrawFn) -> tuple[list[str], list[list[float]]]:
    """Labels and probabilities with ties, certainties and missing classes."""
    weight = st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any)
    pairs = draw(st.lists(st.tuples(st.sampled_from("abc"), weight), min_size=1, max_size=30))
    rows = [[part / sum(parts) for part in parts] for _, parts in pairs]
    return [label for label, _ in pairs], rows


@given(classified())
@settings(max_examples=40, deadline=None)
def test_figures_of_any_rows_equal_scikit_learn(rows: tuple[list[str], list[list[float]]]) -> None:
    labels, probabilities = rows
    predicted = ["abc"[row.index(max(row))] for row in probabilities]
    metrics = measure(labels, probabilities)
    assert metrics.figures == pytest.approx(
        {
            "accuracy": accuracy_score(labels, predicted),
            "macro_f1": f1_score(labels, predicted, average="macro"),
            "weighted_f1": f1_score(labels, predicted, average="weighted"),
            "log_loss": log_loss(labels, probabilities, labels=[*"abc"]),
        },
        abs=1e-9,
    )
    assert metrics.confusion is not None
    assert np.array(metrics.confusion).tolist() == (
        confusion_matrix(labels, predicted, labels=[*"abc"]).tolist()
    )
    for figure in metrics.measured_figures.values():
        if figure.interval is not None:
            assert figure.value is not None
            assert 0 <= figure.interval.low <= figure.value <= figure.interval.high


@pytest.mark.parametrize("rows", [400, 3 * MOST_CELLS])
def test_row_order_changes_no_bit(rows: int) -> None:
    labels, probabilities = random_rows(rows)
    order = np.random.default_rng(1).permutation(rows)
    first = measure(labels, probabilities.tolist())
    again = measure([labels[place] for place in order], probabilities[order].tolist())
    assert first == again
    assert None not in first.intervals.values()


@pytest.mark.parametrize("rows", [300, 2 * MOST_CELLS])
def test_intervals_are_those_of_resampled_rows(rows: int) -> None:
    labels, probabilities = random_rows(rows)
    truth, predicted = np.array(labels), np.array([*"abc"])[probabilities.argmax(axis=1)]
    losses = -np.log(probabilities[np.arange(rows), ["abc".index(label) for label in labels]])
    macro, mean = [], []
    for counts in resample_counts(np.ones(rows, np.int64), 150, seed=2):
        for drawn in counts:
            weighted = {"average": "macro", "sample_weight": drawn}
            macro.append(f1_score(truth, predicted, **weighted))
            mean.append(drawn @ losses / rows)
    found = measure(labels, probabilities.tolist()).intervals
    for name, resampled in (("macro_f1", macro), ("log_loss", mean)):
        interval = found[name]
        assert interval is not None
        low, high = np.quantile(resampled, [0.025, 0.975])
        assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.25 * (high - low))


def test_no_rows_leave_every_figure_undefined() -> None:
    metrics = measure([], [])
    assert (metrics.rows, metrics.confusion) == (0, None)
    assert set(metrics.figures.values()) == {None}
    assert set(metrics.intervals.values()) == {None}


@pytest.mark.parametrize(
    ("label", "row"), [(None, (0.2, 0.8)), ("a", (0.2, None)), ("a", (math.nan, 0.8))]
)
def test_a_missing_value_leaves_every_figure_undefined(
    label: str | None, row: tuple[float | None, float | None]
) -> None:
    metrics = measure(["a", label], [(0.5, 0.5), row], "ab")
    assert metrics.rows == 2
    assert metrics.confusion is None
    assert set(metrics.figures.values()) == {None}


@pytest.mark.parametrize("row", [(0.5, 0.6), (1.2, -0.2), (math.inf, 0.0), (0.4, 0.5)])
def test_what_is_no_distribution_has_predictions_but_no_loss(row: tuple[float, float]) -> None:
    metrics = measure(["a", "b"], [(0.9, 0.1), row], "ab")
    assert metrics.accuracy is not None
    assert metrics.log_loss is None
    assert metrics.intervals["macro_f1"] is not None
    assert metrics.intervals["log_loss"] is None


def test_a_label_without_a_probability_is_a_wrong_prediction_without_loss() -> None:
    metrics = measure(["a", "z", "b"], [(0.9, 0.1), (0.2, 0.8), (0.3, 0.7)], "ab")
    assert metrics.classes == ("a", "b", "z")
    assert metrics.confusion == ((1, 0, 0), (0, 1, 0), (0, 1, 0))
    assert metrics.accuracy == pytest.approx(2 / 3, abs=1e-15)
    # F1: a 1, b 2/3, z 0.
    assert metrics.macro_f1 == pytest.approx(5 / 9, abs=1e-15)
    assert metrics.log_loss is None


def test_a_class_that_nothing_has_does_not_count() -> None:
    metrics = measure(["a", "a"], [(0.9, 0.1, 0.0), (0.8, 0.2, 0.0)])
    assert metrics.macro_f1 == 1.0
    assert metrics.confusion == ((2, 0, 0), (0, 0, 0), (0, 0, 0))


def test_labels_and_probabilities_must_be_equally_long() -> None:
    with pytest.raises(ValueError, match="1 labels for 2 rows of probabilities of 2 classes"):
        measure(["a"], [(0.5, 0.5), (0.5, 0.5)], "ab")
    with pytest.raises(ValueError, match="of 0 classes"):
        multiclass_metrics(pa.array([], pa.string()), pa.table({}))
