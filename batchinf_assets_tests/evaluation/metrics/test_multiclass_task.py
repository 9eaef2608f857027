"""What the task of several classes keeps, and that its resamples give its figures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.metrics.multiclass_task import MulticlassTask
from batchinf_assets.promotion.bootstrap import Difference, label_values, paired_differences
from batchinf_assets.scoring.said import Scores, score_array
from batchinf_assets.spec.evaluation import Metric

CLASSES = ("low", "medium", "high")
TASK = MulticlassTask(classes=CLASSES)


def drawn(rows: int, seed: int) -> tuple[pa.ChunkedArray, Scores]:
    random = np.random.default_rng(seed)
    labels = pa.chunked_array([random.choice(CLASSES, rows).tolist()])
    return labels, random.dirichlet([1.0, 2.0, 3.0], rows)


def test_cells_of_windows_give_the_figures_of_all_their_rows() -> None:
    (one, p), (other, q) = drawn(30, 1), drawn(50, 2)
    windows = [TASK.keep(one, score_array(p)).rows, TASK.keep(other, score_array(q)).rows]
    found, alone = TASK.pooled([windows, windows[:1]])
    assert alone.rows == 30
    labels = pa.chunked_array([*one.chunks, *other.chunks])
    together = TASK.measure(labels, score_array(np.concatenate([p, q])))
    assert (found.rows, found.confusion) == (80, together.confusion)
    assert found.figures == pytest.approx(together.figures, rel=1e-12)
    assert all(found.intervals[name] is not None for name in TASK.metrics)


def test_no_window_and_classes_of_another_declaration_leave_every_figure_undefined() -> None:
    (nothing,) = TASK.pooled([[]])
    assert {*nothing.figures.values()} == {None}
    labels, scores = drawn(20, 3)
    kept = TASK.keep(labels, score_array(scores)).rows
    (renamed,) = MulticlassTask(classes=("low", "medium", "huge")).pooled([[kept]])
    assert (renamed.rows, {*renamed.figures.values()}) == (20, {None})


def test_classes_in_another_order_are_the_same_classes() -> None:
    labels, scores = drawn(20, 4)
    kept = TASK.keep(labels, score_array(scores)).rows
    (turned,) = MulticlassTask(classes=CLASSES[::-1]).pooled([[kept]])
    assert turned.figures == pytest.approx(TASK.pooled([[kept]])[0].figures)


def test_resamples_of_all_rows_once_give_the_figures() -> None:
    labels, scores = drawn(60, 5)
    paired = TASK.paired(label_values(labels), scores)
    figures = TASK.measure(labels, score_array(scores)).figures
    for name in TASK.metrics:
        assert paired.resampled(name, np.ones((1, 60)))[0] == pytest.approx(figures[name])
    assert np.isnan(paired.resampled("auroc", np.ones((1, 60)))).all()


def test_two_models_differ_whatever_the_order_of_the_rows() -> None:
    labels, one = drawn(200, 6)
    other, truth = drawn(200, 7)[1], label_values(labels)

    def compared(order: slice) -> dict[Metric, Difference]:
        return paired_differences(
            truth[order],
            one[order],
            other[order],
            task=TASK,
            metrics=TASK.metrics,
            resamples=100,
            confidence=0.95,
            seed=0,
        )

    found, turned = compared(slice(None)), compared(slice(None, None, -1))
    assert found == turned
    assert all(each.low is not None for each in found.values())


def test_why_a_figure_is_undefined_is_said() -> None:
    labels = np.array(["low", "high"])
    lacking = np.array([[np.nan, 0.5, 0.5], [0.2, 0.3, 0.5]])
    why = TASK.why_undefined("accuracy", "champion", labels, lacking)
    assert why == "1 of the champion's 2 rows lack a probability"
    unsound = np.array([[0.9, 0.9, 0.9], [0.2, 0.3, 0.5]])
    assert TASK.measure(pa.array(labels), score_array(unsound)).log_loss is None
    why = TASK.why_undefined("log_loss", "champion", labels, unsound)
    assert why == "the champion has probabilities that do not add up to 1"
