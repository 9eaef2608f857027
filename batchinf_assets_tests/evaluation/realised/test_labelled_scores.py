"""Labelled rows by score: exact while there are few scores, near while there are many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from batchinf_assets.evaluation.metrics.binary_task import BinaryTask
from batchinf_assets.evaluation.metrics.score_counts import (
    MOST_SCORES,
    SCHEMA,
    counted_scores,
    pooled_scores,
)
from batchinf_assets.evaluation.metrics.task import Kept
from batchinf_assets.evaluation.realised.labelled_scores import (
    LabelledScores,
    MeasuredWindow,
)
from batchinf_assets.evaluation.realised.trailing import metric_trends, trailing_metrics
from batchinf_assets.windows import WindowSpec

DAYS = WindowSpec.model_validate({"start": "2013-01-01"})
DECISION = 0.4


def rows(labels: object, scores: object) -> pa.Table:
    return pa.table({"label": pa.array(labels), "score": pa.array(scores, pa.float64())})


def counted(labelled: pa.Table, *, decision: float) -> pa.Table:
    return counted_scores(*labelled.columns, decision=decision)


def day(number: int, counts: pa.Table, **figures: float | None) -> LabelledScores:
    labelled = sum(counts.column("positives").to_pylist() + counts.column("negatives").to_pylist())
    return LabelledScores(
        window=DAYS.window(f"2013-01-{number:02d}"),
        measured=MeasuredWindow(
            revision="0" * 16, outcomes="f" * 64, rows=100, labelled=labelled, figures=figures
        ),
        kept=Kept(rows=counts),
    )


def drawn(number: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    scores = random.random(number)
    return rows(random.random(number) < scores, scores)


def test_rows_of_one_score_are_counted_together_in_order() -> None:
    found = counted(rows([True, False, True, False], [0.5, 0.2, 0.5, 0.5]), decision=DECISION)
    assert found.schema == SCHEMA
    assert found.to_pylist() == [
        {"score": 0.2, "positives": 0, "negatives": 1},
        {"score": 0.5, "positives": 2, "negatives": 1},
    ]


def test_windows_add_up_score_by_score() -> None:
    one = counted(rows([True, False], [0.5, 0.2]), decision=DECISION)
    other = counted(rows([False, False], [0.5, 0.9]), decision=DECISION)
    found = pooled_scores([one, other], decision=DECISION)
    assert found.to_pylist() == [
        {"score": 0.2, "positives": 0, "negatives": 1},
        {"score": 0.5, "positives": 1, "negatives": 1},
        {"score": 0.9, "positives": 0, "negatives": 1},
    ]


def test_of_many_scores_no_row_is_lost_and_none_changes_sides() -> None:
    table = drawn(200_000, seed=3)
    found = counted(table, decision=DECISION)
    assert found.num_rows <= MOST_SCORES + 2 < 200_000
    score, positives, negatives = (found.column(name).to_numpy() for name in SCHEMA.names)
    labels, scores = (table.column(name).to_numpy() for name in ("label", "score"))
    assert (positives.sum(), negatives.sum()) == (labels.sum(), (~labels).sum())
    above = score >= DECISION
    assert positives[above].sum() == labels[scores >= DECISION].sum()
    assert negatives[~above].sum() == (~labels[scores < DECISION]).sum()
    assert (score * (positives + negatives)).sum() == pytest.approx(scores.sum(), rel=1e-12)
    assert np.all(np.diff(score) > 0)


def test_of_many_scores_the_metrics_stay_within_the_width_of_a_cell() -> None:
    table = drawn(100_000, seed=4)
    history = [day(1, counted(table, decision=DECISION))]
    (found,) = trailing_metrics({7: history}, BinaryTask(decision=DECISION))
    labels, scores = (table.column(name).to_numpy() for name in ("label", "score"))
    assert found.metrics.rows == 100_000
    assert found.metrics.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-5)
    assert found.metrics.brier == pytest.approx(np.mean((scores - labels) ** 2), abs=1e-5)
    assert found.metrics.precision == labels[scores >= DECISION].mean()


def test_a_score_beside_the_decision_stays_on_its_side() -> None:
    near = np.nextafter(DECISION, 0)
    scores = np.concatenate([np.linspace(0, 1, MOST_SCORES + 10), [near, DECISION] * 7])
    found = counted(rows([True] * len(scores), scores), decision=DECISION)
    above = sum(r["positives"] for r in found.to_pylist() if r["score"] >= DECISION)
    assert above == (scores >= DECISION).sum()


def test_a_metric_that_a_window_lacks_is_left_out_of_its_trend() -> None:
    counts = counted(rows([True, False], [0.5, 0.2]), decision=DECISION)
    history = [
        day(1, counts, auroc=0.7, brier=0.1),
        day(2, counts, auroc=None, brier=0.2),
        day(4, counts, auroc=0.7, brier=0.4),
    ]
    grid = [DAYS.window(f"2013-01-{number:02d}") for number in range(1, 5)]
    trends = metric_trends(history, grid, BinaryTask(decision=DECISION))
    assert trends["auroc"] is None
    brier = trends["brier"]
    assert brier is not None
    assert brier.slope == pytest.approx(0.1, abs=1e-12)
    assert brier.windows == 3


def test_sets_of_windows_are_measured_together_as_each_would_be_alone() -> None:
    task = BinaryTask(decision=DECISION)
    windows = [counted(drawn(rows, seed=rows), decision=DECISION) for rows in (30, 700, 2_000)]
    sets = [windows, windows[1:], [], windows[:1]]
    assert task.pooled(sets) == [task.pooled([each])[0] for each in sets]
