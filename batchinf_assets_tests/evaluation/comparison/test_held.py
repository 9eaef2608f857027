"""What is held of paired rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from batchinf_assets.evaluation.comparison.held import (
    HeldRows,
    RowHolder,
    joined,
    segment_columns,
)
from batchinf_assets.evaluation.comparison.labels import UNKNOWN
from batchinf_assets.evaluation.comparison.pairs import SCORE
from batchinf_assets.scoring.said import score_array
from batchinf_assets.spec.load import Pipeline

A = pa.table({"k": [1, 2, 3], "c": ["x", "x", "y"], SCORE: [0.1, 0.2, 0.3]})
B = pa.table({"k": [1, 2, 3], "c": ["x", "y", "y"], SCORE: [0.1, 0.3, 0.9]})
LABELS = np.array([1, UNKNOWN, 0])


def test_rows_are_held_in_order_with_the_segments_of_b() -> None:
    holder = RowHolder(["k"], ["c"])
    holder.add(A.slice(0, 2), B.slice(0, 2), LABELS[:2])
    holder.add(A.slice(2), B.slice(2), LABELS[2:])
    held = holder.held()
    assert (held.a.tolist(), held.b.tolist()) == ([0.1, 0.2, 0.3], [0.1, 0.3, 0.9])
    assert held.segments.to_pydict() == {"c": ["x", "y", "y"]}
    assert held.labelled.labels.tolist() == [1, 0]
    assert held.labelled.b.tolist() == [0.1, 0.9]
    assert [row.key for row in held.largest] == ["k=3", "k=2"]


def test_a_segment_that_an_earlier_file_lacks_is_missing_there() -> None:
    holder = RowHolder(["k"], ["c"])
    holder.add(A.slice(0, 1), B.slice(0, 1).drop_columns(["c"]), LABELS[:1])
    holder.add(A.slice(1), B.slice(1), LABELS[1:])
    assert holder.held().segments.to_pydict() == {"c": [None, "y", "y"]}


def test_nothing_held_is_empty() -> None:
    held = joined([HeldRows.none()], ())
    assert (len(held.a), len(held.labels), held.segments.num_columns) == (0, 0, 0)
    assert RowHolder(["k"], [], ["x", "y", "z"]).held().b.shape == (0, 3)


def test_rows_of_several_classes_hold_every_probability() -> None:
    a, b = (
        pa.table({"k": [1, 2], SCORE: score_array(np.array(scores))})
        for scores in ([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]])
    )
    holder = RowHolder(["k"], [], ["x", "y", "z"])
    holder.add(a, b, np.array([UNKNOWN, 2]))
    held = holder.held()
    assert held.b.tolist() == [[0.5, 0.3, 0.2], [0.6, 0.2, 0.2]]
    assert (held.labelled.a.tolist(), held.labelled.labels.tolist()) == ([[0.1, 0.2, 0.7]], [2])
    assert [(row.class_a, row.class_b) for row in held.largest] == [("z", "x")]


def test_every_declared_segment_is_reported_once(pipeline: Pipeline) -> None:
    spec = pipeline.spec
    golden = spec.golden.model_copy(update={"segments": ("origin_airport", "plane_age")})
    found = segment_columns(spec.model_copy(update={"golden": golden}))
    assert found == ("origin_airport", "plane_age", "carrier_code")


def test_where_no_segment_is_declared_texts_are_reported_by(pipeline: Pipeline) -> None:
    promotion = pipeline.spec.model.promotion
    canary = promotion.canary.model_copy(update={"segments": ()})
    model = pipeline.spec.model.model_copy(
        update={"promotion": promotion.model_copy(update={"canary": canary})}
    )
    spec = pipeline.spec.model_copy(update={"model": model})
    assert segment_columns(spec) == ("carrier_code", "origin_airport", "destination_airport")
