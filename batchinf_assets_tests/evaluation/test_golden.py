"""Metrics on labelled scores, their bounds, and reading the golden set."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score, roc_auc_score

from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.evaluation.golden import (
    BinaryMetrics,
    binary_metrics,
    judge_golden,
    read_golden_keys,
    read_golden_set,
)
from batchinf_assets.evaluation_spec import GoldenSpec
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.spec import PipelineSpec, load_pipeline

TEN_SCORES = [0.1, 0.2, 0.2, 0.4, 0.5, 0.5, 0.5, 0.8, 0.9, 1.0]
TEN_LABELS = [False, False, True, False, True, False, True, True, False, True]


def measure(labels: list[bool], scores: list[float], decision: float = 0.5) -> BinaryMetrics:
    """Measure Python lists."""
    return binary_metrics(
        pa.array(labels, pa.bool_()), pa.array(scores, pa.float64()), decision=decision
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
        "log_loss": log_loss(labels, scores),
        "brier": brier_score_loss(labels, scores),
    }
    assert metrics.figures == pytest.approx(expected, abs=1e-9)


def test_log_loss_clips_certain_errors_as_scikit_learn_does() -> None:
    labels, scores = [True, False, True, False], [0.0, 1.0, 1e-17, 1 - 2**-53]
    assert measure(labels, scores).log_loss == pytest.approx(log_loss(labels, scores), abs=1e-9)
    # All four are clipped to the likelihood 2**-52: 52 ln 2 each.
    assert measure(labels, scores).log_loss == pytest.approx(52 * math.log(2), abs=1e-12)


def test_row_order_does_not_change_a_bit() -> None:
    random = np.random.default_rng(5)
    labels, scores = random.random(5000) < 0.4, random.random(5000).round(3)
    orders = [random.permutation(5000) for _ in range(8)]
    assert len({measure(labels[order].tolist(), scores[order].tolist()) for order in orders}) == 1


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
    assert (metrics.log_loss, metrics.brier) == (None, None)


def test_labels_and_scores_must_be_equally_long() -> None:
    with pytest.raises(pa.ArrowInvalid):
        measure([True], [0.5, 0.6])


def golden_spec(**bounds: dict[str, float]) -> GoldenSpec:
    """Declare bounds."""
    return GoldenSpec.model_validate({"file": "golden.parquet", **bounds})


def test_figures_inside_their_bounds_pass() -> None:
    metrics = measure(TEN_LABELS, TEN_SCORES)
    result = judge_golden(metrics, golden_spec(at_least={"auroc": 0.7}, at_most={"brier": 0.25}))
    assert (result.asset, result.name) == ("evaluation", "golden_quality")
    assert result.passed
    assert result.blocking
    assert result.measured["auroc"] == metrics.auroc
    assert (result.measured["rows"], result.measured["positives"]) == (10, 5)


def test_every_broken_bound_is_named_with_what_was_found() -> None:
    spec = golden_spec(at_least={"auroc": 0.75, "recall": 0.8}, at_most={"brier": 0.2})
    result = judge_golden(measure(TEN_LABELS, TEN_SCORES), spec)
    assert not result.passed
    assert [violation.rule for violation in result.violations] == [
        "auroc at least 0.75 (found 0.7000)",
        "brier at most 0.2 (found 0.2450)",
    ]
    assert all(violation.column is None for violation in result.violations)


def test_an_undefined_figure_breaks_its_bound() -> None:
    spec = golden_spec(at_least={"auroc": 0.0}, at_most={"log_loss": 100.0})
    result = judge_golden(measure([], []), spec)
    assert [violation.rule for violation in result.violations] == [
        "auroc at least 0 (undefined)",
        "log_loss at most 100 (undefined)",
    ]
    assert result.measured["auroc"] == "undefined"


def flights() -> PipelineSpec:
    """The demo pipeline's declaration."""
    return load_pipeline("flight_delays").spec


def golden_table(rows: int = 3) -> pa.Table:
    """A valid golden set of the demo pipeline, with one column too many, in another order."""
    columns: dict[str, pa.Array] = {
        "late": pa.array([row % 2 == 0 for row in range(rows)], pa.bool_()),
        "note": pa.array(["-"] * rows, pa.string()),
    }
    for field in arrow_schema(flights().features.columns):
        value = "EWR" if field.type == pa.string() else 1.0
        columns[field.name] = pa.array([value] * rows, field.type)
    return pa.table(columns)


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """Replace one column."""
    return table.set_column(table.column_names.index(name), name, values)


def test_a_golden_set_has_the_features_then_the_label(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    pq.write_table(golden_table(), path)
    table = read_golden_set(path, flights())
    assert table.column_names == [*flights().features.columns, "late"]
    assert table.num_rows == 3
    assert table.column("late").to_pylist() == [True, False, True]


def test_strings_may_be_encoded_in_any_way(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    table = with_column(
        golden_table(), "carrier_code", pa.array(["UA", "AA", "UA"]).dictionary_encode()
    )
    pq.write_table(
        with_column(table, "origin_airport", pa.array(["EWR"] * 3, pa.large_string())), path
    )
    assert read_golden_set(path, flights()).column("carrier_code").to_pylist() == ["UA", "AA", "UA"]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (golden_table(rows=0), "has no rows"),
        (golden_table().drop_columns(["pressure"]), "must have one column 'pressure'"),
        (golden_table().drop_columns(["late"]), "must have one column 'late'"),
        (
            with_column(golden_table(), "late", pa.array([1, 0, 1])),
            "has int64 in column 'late', not bool",
        ),
        (
            with_column(golden_table(), "late", pa.array([True, None, False])),
            "lacks 1 values in column 'late'",
        ),
        (
            with_column(golden_table(), "pressure", pa.array([1.0] * 3, pa.float32())),
            "has float in column 'pressure', not double",
        ),
        (
            with_column(golden_table(), "distance_miles", pa.array([1.0, None, 2.0])),
            "lacks 1 values in column 'distance_miles'",
        ),
    ],
)
def test_a_golden_set_that_does_not_fit_is_refused(
    tmp_path: Path, table: pa.Table, what: str
) -> None:
    path = tmp_path / "golden.parquet"
    pq.write_table(table, path)
    with pytest.raises(GoldenSetInvalid, match=r"golden\.parquet " + what) as refusal:
        read_golden_set(path, flights())
    assert "build it again" in refusal.value.next_step


def with_keys(table: pa.Table) -> pa.Table:
    """Add the key columns of the demo pipeline."""
    rows = table.num_rows
    moments = pa.array([1_000_000 * row for row in range(rows)], pa.timestamp("us", tz="UTC"))
    return (
        table.append_column("scheduled_departure", moments)
        .append_column("carrier", pa.array(["UA"] * rows))
        .append_column("flight", pa.array(range(rows), pa.int32()))
    )


def test_the_keys_of_a_golden_set_are_read_as_declared(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    pq.write_table(with_keys(golden_table()), path)
    keys = read_golden_keys(path, flights())
    assert keys.schema.equals(arrow_schema(flights().key_columns))
    assert keys.column("flight").to_pylist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (
            golden_table(),
            "lacks the key columns scheduled_departure, carrier, flight: its rows cannot be kept",
        ),
        (with_keys(golden_table()).drop_columns(["flight"]), "lacks the key column flight: "),
        (with_keys(golden_table(rows=0)), "has no rows"),
        (
            with_column(with_keys(golden_table()), "flight", pa.array([0, 1, 2])),
            "has int64 in column 'flight', not int32",
        ),
        (
            with_column(with_keys(golden_table()), "carrier", pa.array(["UA", None, "AA"])),
            "lacks 1 values in column 'carrier'",
        ),
    ],
)
def test_a_golden_set_whose_rows_cannot_be_told_apart_is_refused(
    tmp_path: Path, table: pa.Table, what: str
) -> None:
    path = tmp_path / "golden.parquet"
    pq.write_table(table, path)
    with pytest.raises(GoldenSetInvalid, match=r"golden\.parquet " + what):
        read_golden_keys(path, flights())


def test_a_missing_golden_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GoldenSetInvalid, match=r"absent\.parquet is missing"):
        read_golden_set(tmp_path / "absent.parquet", flights())


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    path.write_bytes(b"late,score\n")
    with pytest.raises(GoldenSetInvalid, match="cannot be read"):
        read_golden_set(path, flights())


def test_one_flipped_bit_in_a_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    distances = pa.array(np.random.default_rng(0).random(2000))
    table = with_column(golden_table(2000), "distance_miles", distances)
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    at = content.find(distances.to_numpy().tobytes()) + 8000
    assert at > 8000
    content[at] ^= 1
    path.write_bytes(content)
    assert pq.ParquetFile(path).read().num_rows == 2000  # silent without verification
    with pytest.raises(GoldenSetInvalid, match="cannot be read"):
        read_golden_set(path, flights())
