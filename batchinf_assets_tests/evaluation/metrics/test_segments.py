"""Figures by segment, and how a column parts rows."""

import math

import numpy as np
import pyarrow as pa
import pytest

from batchinf_assets.evaluation.metrics.binary import binary_metrics
from batchinf_assets.evaluation.metrics.segments import (
    MAX_SEGMENT_VALUES,
    binary_by_segment,
    segment_codes,
)

LABELS = pa.array([True, False, True, False, True, False])
SCORES = pa.array([0.9, 0.1, 0.4, 0.6, 0.7, 0.2])
COLUMNS = pa.table(
    {
        "airport": pa.array(["EWR", "JFK", "EWR", None, "JFK", "EWR"]),
        "delay": pa.array([1.0, 2.0, 3.0, 4.0, math.nan, None]),
    }
)


def test_every_value_of_every_column_is_measured_by_itself() -> None:
    found = binary_by_segment(LABELS, SCORES, COLUMNS, decision=0.5)
    assert [(each.column, each.value, each.metrics.rows) for each in found] == [
        ("airport", "EWR", 3),
        ("airport", "JFK", 2),
        ("airport", "(missing)", 1),
        ("delay", "up to 1", 1),
        ("delay", "above 1 up to 2", 1),
        ("delay", "above 2 up to 3", 1),
        ("delay", "above 3", 1),
        ("delay", "(missing)", 2),
    ]
    ewr = binary_metrics(LABELS.take([0, 2, 5]), SCORES.take([0, 2, 5]), decision=0.5)
    assert found[0].metrics == ewr
    assert ewr.recall == 0.5
    assert ewr.intervals["recall"] is not None


def test_a_segment_of_one_class_lacks_what_the_class_decides() -> None:
    found = binary_by_segment(LABELS, SCORES, COLUMNS.select(["airport"]), decision=0.5)
    missing = found[2].metrics
    assert missing.counts == {"positives": 0}
    assert (missing.figures["recall"], missing.figures["auroc"]) == (None, None)
    assert missing.figures["brier"] == pytest.approx(0.36, abs=1e-15)


def test_an_empty_table_has_no_segments() -> None:
    assert binary_by_segment(LABELS[:0], SCORES[:0], COLUMNS.slice(0, 0), decision=0.5) == []
    assert binary_by_segment(LABELS, SCORES, COLUMNS.select([]), decision=0.5) == []


def test_a_category_without_rows_is_no_segment() -> None:
    codes = pa.array([0, 0, 2, 2, 0, 2], pa.int8())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b", "c"]))
    found = binary_by_segment(LABELS, SCORES, pa.table({"kind": column}), decision=0.5)
    assert [each.value for each in found] == ["a", "c"]


def test_intervals_may_be_left_out() -> None:
    found = binary_by_segment(LABELS, SCORES, COLUMNS, decision=0.5, intervals=False)
    assert all(each.metrics.intervals == {} for each in found)


def test_columns_must_be_as_long_as_the_scores() -> None:
    with pytest.raises(pa.ArrowInvalid):
        binary_by_segment(LABELS, SCORES, COLUMNS.slice(1), decision=0.5)


def test_the_most_frequent_values_stand_for_themselves() -> None:
    values = [f"v{n:02d}" for n in range(MAX_SEGMENT_VALUES + 2) for _ in range(2)] + ["v51"]
    names, codes = segment_codes(pa.chunked_array([values]))
    assert names == [
        *(f"v{n:02d}" for n in range(MAX_SEGMENT_VALUES - 1)),
        "v51",
        "(2 other values)",
        "(missing)",
    ]
    assert np.bincount(codes).tolist() == [*[2] * (MAX_SEGMENT_VALUES - 1), 3, 4]


def test_values_that_read_the_same_are_told_apart() -> None:
    long = ["x" * 200 + "a", "x" * 200 + "b", "(missing)"]
    names, codes = segment_codes(pa.chunked_array([[*long, None]]))
    assert len({*names}) == len(names)
    assert {names[code] for code in codes} >= {"(missing)", "(missing) (2)"}
    assert len({*codes.tolist()}) == 4


def test_markup_and_formulas_are_shown_as_text() -> None:
    names, _ = segment_codes(pa.chunked_array([["<b>", "=1+1"]]))
    assert names[:2] == ["\\x3cb\\x3e", "\\x3d1+1"]


def test_edges_next_to_each_other_keep_all_their_digits() -> None:
    column = pa.chunked_array([[1_000_000.25, 1_000_000.5, 1_000_000.75, 1_000_001.0]])
    assert segment_codes(column)[0] == [
        "up to 1000000.25",
        "above 1000000.25 up to 1000000.5",
        "above 1000000.5 up to 1000000.75",
        "above 1000000.75",
        "(missing)",
    ]


def test_numbers_that_are_all_missing_are_one_segment() -> None:
    names, codes = segment_codes(pa.chunked_array([pa.array([None, math.nan], pa.float64())]))
    assert (names, codes.tolist()) == (["(missing)"], [0, 0])
