"""Metrics of two sides on the same labelled rows, overall and by segment."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from batchinf_assets.evaluation.comparison.held import HeldRows
from batchinf_assets.evaluation.comparison.labels import UNKNOWN
from batchinf_assets.evaluation.metrics.binary import FIGURES
from batchinf_assets.promotion.comparison.quality import (
    compare_quality,
    compare_segments,
)
from batchinf_assets.spec.load import Pipeline


def held(rows: int, seed: int = 0) -> HeldRows:
    random = np.random.default_rng(seed)
    a = random.random(rows)
    return HeldRows(
        a=a,
        b=np.clip(a + random.normal(0, 0.2, rows), 0, 1),
        labels=(random.random(rows) < a).astype(np.float64),
        segments=pa.table({"c": random.choice(["x", "y", "z"], rows)}),
        largest=(),
    )


def test_all_nine_figures_of_both_sides_come_with_an_interval(pipeline: Pipeline) -> None:
    rows = held(300)
    found = compare_quality(rows, pipeline.spec, "landed")
    labels = rows.labels == 1
    assert (found.state, found.labelled, found.positives) == ("measured", 300, labels.sum())
    assert {*found.metrics} == {*FIGURES}
    assert len(FIGURES) == 9
    expected = {
        "auroc": roc_auc_score,
        "average_precision": average_precision_score,
        "brier": brier_score_loss,
    }
    for name, metric in expected.items():
        each = found.metrics[name]  # pyright: ignore[reportArgumentType]
        assert each.a == pytest.approx(metric(labels, rows.a), abs=1e-9)
        assert each.b == pytest.approx(metric(labels, rows.b), abs=1e-9)
        assert each.difference == pytest.approx((each.b or 0) - (each.a or 0))
        assert None not in (each.low, each.high)
        assert each.low <= each.difference <= each.high


def test_rows_whose_label_is_not_known_do_not_count(pipeline: Pipeline) -> None:
    rows = held(200)
    unknown = rows.of(np.arange(200) >= 0)
    unknown.labels[150:] = UNKNOWN
    found = compare_quality(unknown, pipeline.spec, "landed")
    known = compare_quality(rows.of(np.arange(200) < 150), pipeline.spec, "landed")
    assert found.labelled == 150
    assert found.metrics == known.metrics


def test_an_interval_from_some_of_the_rows_is_about_as_wide(pipeline: Pipeline) -> None:
    rows = held(4000)
    whole = compare_quality(rows, pipeline.spec, "landed").metrics["brier"]
    some = compare_quality(rows, pipeline.spec, "landed", most=1000).metrics["brier"]
    assert (some.a, some.b, some.difference) == pytest.approx((whole.a, whole.b, whole.difference))
    assert None not in (some.low, some.high, whole.low, whole.high, some.difference)
    assert some.low < some.difference < some.high
    assert (some.high - some.low) / (whole.high - whole.low) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(
    ("state", "expected"),
    [("no outcomes yet", "no outcomes yet"), ("landed", "no labels")],
)
def test_without_labels_nothing_is_measured_and_the_reason_said(
    pipeline: Pipeline, state: str, expected: str
) -> None:
    rows = held(10)
    rows.labels[:] = UNKNOWN
    found = compare_quality(rows, pipeline.spec, state)  # pyright: ignore[reportArgumentType]
    assert (found.state, found.labelled, found.metrics) == (expected, 0, {})


def test_figures_that_one_class_leaves_undefined_say_why(pipeline: Pipeline) -> None:
    rows = held(50)
    rows.labels[:] = 0
    auroc = compare_quality(rows, pipeline.spec, "landed").metrics["auroc"]
    assert (auroc.a, auroc.b, auroc.difference, auroc.low) == (None, None, None, None)
    assert auroc.reason == "all labels are false"


def test_reasons_name_the_sides_and_no_champion(pipeline: Pipeline) -> None:
    rows = held(50)
    rows.b[:] = 0.1
    precision = compare_quality(rows, pipeline.spec, "landed").metrics["precision"]
    assert precision.a is not None
    assert precision.reason == "b has no score of at least 0.4"


def test_segments_part_the_rows_and_the_most_changed_comes_first(pipeline: Pipeline) -> None:
    rows = held(300)
    names = np.asarray(rows.segments.column("c").to_pylist())
    rows.b[names == "y"] = 1 - rows.a[names == "y"]
    found = compare_segments(rows, pipeline.spec, "landed")
    assert found[0].value == "y"
    assert sum(each.rows for each in found) == 300
    assert sum(each.quality.labelled for each in found) == 300
    own = rows.of(names == "y")
    assert found[0].mean_absolute == pytest.approx(np.abs(own.b - own.a).mean())
    assert found[0].quality.metrics["auroc"].b == pytest.approx(
        roc_auc_score(own.labels == 1, own.b)
    )
