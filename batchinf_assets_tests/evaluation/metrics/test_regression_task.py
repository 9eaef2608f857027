"""What a task keeps of windows, and that they are measured together as if they were one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.metrics.bootstrap import MOST_CELLS
from batchinf_assets.evaluation.metrics.calibration import prediction_curve
from batchinf_assets.evaluation.metrics.regression_task import RegressionTask

TASK = RegressionTask(quantile=0.8)


def drawn(rows: int, seed: int, level: float) -> tuple[pa.Array, pa.Array]:
    random = np.random.default_rng(seed)
    labels = random.normal(level, 5, rows)
    return pa.array(labels), pa.array(labels + random.normal(1, 2, rows))


@pytest.mark.parametrize("rows", [(3, 5), (40, 2 * MOST_CELLS + 5)])
def test_sums_of_windows_give_the_figures_of_all_their_rows(rows: tuple[int, int]) -> None:
    # The windows' labels lie around different means, so their sums count from different origins.
    one, other = drawn(rows[0], 1, level=1e6), drawn(rows[1], 2, level=1e6 + 30)
    windows = [TASK.keep(*one).rows, TASK.keep(*other).rows]
    found, alone = TASK.pooled([windows, windows[:1]])
    assert alone.rows == rows[0]
    labels, scores = (pa.concat_arrays(list(pair)) for pair in zip(one, other, strict=True))
    together = TASK.measure(labels, scores)
    assert found.rows == together.rows
    assert found.figures == pytest.approx(together.figures, rel=1e-9)
    assert all(found.intervals[name] is not None for name in TASK.metrics)


def test_sums_answer_for_any_quantile() -> None:
    labels, scores = drawn(50, 3, level=0.0)
    kept = TASK.keep(labels, scores).rows
    for quantile in (0.1, 0.9):
        task = RegressionTask(quantile=quantile)
        assert task.pooled([[kept]])[0].quantile_loss == pytest.approx(
            task.measure(labels, scores).quantile_loss
        )


def test_no_window_leaves_every_figure_undefined() -> None:
    (found,) = TASK.pooled([[]])
    assert (found.rows, {*found.figures.values()}) == (0, {None})


def test_resamples_of_all_rows_once_give_the_figures() -> None:
    labels, scores = drawn(60, 4, level=10.0)
    paired = TASK.paired(labels.to_numpy(), scores.to_numpy())
    figures = TASK.measure(labels, scores).figures
    for name in TASK.metrics:
        assert paired.resampled(name, np.ones((1, 60)))[0] == pytest.approx(figures[name])


def test_equal_labels_cannot_tell_explained_variance_and_say_so() -> None:
    labels = np.array([2.0, 2.0])
    metrics = TASK.measure(pa.array(labels), pa.array([1.0, 3.0]))
    assert (metrics.tells("r_squared"), metrics.tells("mae")) == (False, True)
    why = TASK.why_undefined("r_squared", "champion", labels, np.array([1.0, 3.0]))
    assert why == "all labels are equal"
    missing = TASK.why_undefined("mae", "champion", labels, np.array([1.0, np.nan]))
    assert missing == "1 of the champion's 2 scores are no finite numbers"


def test_predictions_are_binned_at_their_deciles_and_ties_stay_together() -> None:
    predictions = np.array([*range(1, 10), *[10.0] * 11])
    curve = prediction_curve(2 * predictions, predictions)
    assert sum(each.rows for each in curve) == 20
    assert [each.mean_label for each in curve] == [2 * each.mean_score for each in curve]
    assert (curve[-1].mean_score, curve[-1].rows) == ((9 + 11 * 10) / 12, 12)
    assert prediction_curve(np.array([1.0]), np.array([np.inf])) == ()
    assert prediction_curve(np.empty(0), np.empty(0)) == ()
