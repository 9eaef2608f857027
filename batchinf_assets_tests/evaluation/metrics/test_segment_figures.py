"""Figures of numbers and of several classes by segment, held against scikit-learn."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)

from batchinf_assets.evaluation.metrics.bootstrap import MOST_CELLS
from batchinf_assets.evaluation.metrics.multiclass import (
    MulticlassMetrics,
    multiclass_by_group,
    multiclass_metrics,
)
from batchinf_assets.evaluation.metrics.regression import (
    FIGURES,
    RegressionMetrics,
    regression_by_group,
    regression_metrics,
)
from batchinf_assets.evaluation.metrics.segments import multiclass_by_segment, regression_by_segment

CLASSES = ("early", "on time", "late")

NUMBERS = st.integers(-50, 50).map(lambda number: number / 4)  # many ties
SEGMENTS = st.sampled_from(["a", "b", "c", None])


def by_name(segments: Sequence[str | None]) -> dict[str, list[int]]:
    """The places of every segment's rows, as segments are named."""
    names = ["(missing)" if name is None else name for name in segments]
    return {
        name: [row for row, own in enumerate(names) if own == name] for name in dict.fromkeys(names)
    }


@given(st.lists(st.tuples(SEGMENTS, NUMBERS, NUMBERS), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_errors_of_every_segment_equal_scikit_learn(
    rows: list[tuple[str | None, float, float]],
) -> None:
    segments = [segment for segment, _, _ in rows]
    labels, predictions = (np.array([row[side] for row in rows]) for side in (1, 2))
    found = regression_by_segment(
        pa.array(labels), pa.array(predictions), pa.table({"airport": segments}), quantile=0.8
    )
    assert {each.value for each in found} == {*by_name(segments)}
    for each in found:
        own = by_name(segments)[each.value]
        y, p = labels[own], predictions[own]
        figures = dict(each.metrics.figures)
        explained = figures.pop("r_squared")
        assert explained == (pytest.approx(r2_score(y, p), abs=1e-9) if len({*y}) > 1 else None)
        assert figures == pytest.approx(
            {
                "mae": mean_absolute_error(y, p),
                "rmse": root_mean_squared_error(y, p),
                "quantile_loss": mean_pinball_loss(y, p, alpha=0.8),
                "bias": np.mean(p - y),
            },
            abs=1e-9,
        )


@st.composite
def classified(draw: st.DrawFn) -> list[tuple[str | None, str, tuple[float, ...]]]:
    """Rows of segment, label and probabilities, with ties and certainties."""
    weight = st.lists(st.integers(0, 3), min_size=3, max_size=3).filter(any)
    rows = st.tuples(SEGMENTS, st.sampled_from(CLASSES), weight)
    return [
        (segment, label, tuple(part / sum(parts) for part in parts))
        for segment, label, parts in draw(st.lists(rows, min_size=1, max_size=30))
    ]


@given(classified())
@settings(max_examples=40, deadline=None)
def test_figures_of_classes_of_every_segment_equal_scikit_learn(
    rows: list[tuple[str | None, str, tuple[float, ...]]],
) -> None:
    segments, labels = [row[0] for row in rows], np.array([row[1] for row in rows])
    matrix = np.array([row[2] for row in rows])
    table = pa.table({name: matrix[:, place] for place, name in enumerate(CLASSES)})
    found = multiclass_by_segment(pa.array(labels), table, pa.table({"airport": segments}))
    assert {each.value for each in found} == {*by_name(segments)}
    for each in found:
        own = by_name(segments)[each.value]
        y, said = labels[own], np.array(CLASSES)[matrix[own].argmax(axis=1)]
        metrics = each.metrics
        assert isinstance(metrics, MulticlassMetrics)
        assert metrics.figures == pytest.approx(
            {
                "accuracy": accuracy_score(y, said),
                "macro_f1": f1_score(y, said, average="macro"),
                "weighted_f1": f1_score(y, said, average="weighted"),
                "log_loss": _log_loss(y, matrix[own]),
            },
            abs=1e-9,
        )
        expected = confusion_matrix(y, said, labels=list(CLASSES))
        assert metrics.confusion == tuple(map(tuple, expected.tolist()))


def _log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    places = np.argsort(CLASSES)  # scikit-learn wants the columns in the order of the names
    return float(log_loss(labels, probabilities[:, places], labels=sorted(CLASSES)))


@pytest.mark.parametrize("rows", [300, 2 * MOST_CELLS + 11])
def test_a_group_is_measured_as_if_it_were_alone(rows: int) -> None:
    random = np.random.default_rng(rows)
    labels, groups = random.normal(1e6, 3, rows), random.integers(0, 2, rows)
    predictions = labels + random.normal(size=rows)
    found = regression_by_group(pa.array(labels), pa.array(predictions), pa.array(groups), 2)
    for group, metrics in enumerate(found):
        own = pa.array(groups == group)
        alone = regression_metrics(pa.array(labels).filter(own), pa.array(predictions).filter(own))
        assert metrics == alone
        assert None not in metrics.intervals.values()


def test_a_group_of_classes_is_measured_as_if_it_were_alone() -> None:
    random = np.random.default_rng(4)
    groups = random.integers(0, 2, 3 * MOST_CELLS)
    matrix = random.dirichlet([1, 2, 1], len(groups))
    labels = pa.array(np.array(CLASSES)[random.integers(0, 3, len(groups))])
    table = pa.table({name: matrix[:, place] for place, name in enumerate(CLASSES)})
    found = multiclass_by_group(labels, table, pa.array(groups), 2)
    for group, metrics in enumerate(found):
        own = pa.array(groups == group)
        assert metrics == multiclass_metrics(labels.filter(own), table.filter(own))
        assert None not in metrics.intervals.values()


def test_a_group_without_rows_has_no_figures() -> None:
    empty, one = regression_by_group(pa.array([1.0]), pa.array([2.0]), pa.array([1]), 2)
    assert (empty.rows, empty.figures) == (0, dict.fromkeys(FIGURES))
    assert (one.rows, one.mae) == (1, 1.0)
    probabilities = pa.table({"a": [0.9], "b": [0.1]})
    nobody, _ = multiclass_by_group(pa.array(["a"]), probabilities, pa.array([1]), 2)
    assert (nobody.rows, nobody.confusion, {*nobody.figures.values()}) == (0, None, {None})


def test_what_is_no_number_spoils_its_own_segment_only() -> None:
    found = regression_by_segment(
        pa.array([1.0, 2.0, math.nan, None]),
        pa.array([1.5, 2.5, 1.0, 1.0]),
        pa.table({"airport": ["EWR", "EWR", "JFK", "LGA"]}),
    )
    spoiled = [each.value for each in found if each.metrics.figures["mae"] is None]
    assert spoiled == ["JFK", "LGA"]
    assert found[0].metrics.figures["mae"] == pytest.approx(0.5, abs=1e-15)


def test_a_segment_of_equal_labels_has_no_explained_variance() -> None:
    found = regression_by_segment(
        pa.array([3.0, 3.0, 1.0, 2.0]),
        pa.array([2.0, 5.0, 1.0, 2.0]),
        pa.table({"airport": ["EWR", "EWR", "JFK", "JFK"]}),
    )
    first, second = (each.metrics for each in found)
    assert isinstance(first, RegressionMetrics)
    assert isinstance(second, RegressionMetrics)
    assert (first.r_squared, first.bias) == (None, 0.5)
    assert second.r_squared == 1.0


def test_a_segment_of_one_class_has_its_accuracy_and_f1_of_what_occurs() -> None:
    probabilities = pa.table({"late": [0.6, 0.2, 0.9], "early": [0.4, 0.8, 0.1]})
    found = multiclass_by_segment(
        pa.array(["late", "late", "late"]), probabilities, pa.table({"day": ["mo", "mo", "tu"]})
    )
    monday, tuesday = (each.metrics.figures for each in found)
    assert monday["macro_f1"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-15)
    assert (tuesday["accuracy"], tuesday["macro_f1"]) == (1.0, 1.0)


def test_groups_must_be_as_many_as_rows() -> None:
    with pytest.raises(ValueError, match="in 2 places"):
        regression_by_group(pa.array([1.0]), pa.array([1.0]), pa.array([0, 1]), 2)
    with pytest.raises(ValueError, match="in 2 places"):
        multiclass_by_group(pa.array(["a"]), pa.table({"a": [1.0]}), pa.array([0, 1]), 2)
