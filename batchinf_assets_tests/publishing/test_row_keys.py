"""Before publishing, rows are read from the files, whatever counters and records say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import WindowRefused
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.row_keys import check_kept_keys, check_rows
from batchinf_assets.scoring.predictions import manifests

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

Change = Callable[[pa.Table], pa.Table]
ROWS, SCORE = 737, "delay_probability"


def forge(desk: Desk, change: Change) -> None:
    """Write other rows, and a draft whose records and counts all fit the original ones."""
    draft = desk.draft()
    path = desk.output(draft.revision)
    file = write_parquet(path, change(pq.read_table(path, partitioning=None)), {})
    outputs = (draft.outputs[0].model_copy(update={"sha256": file.sha256, "bytes": file.bytes}),)
    desk.redraft(outputs=outputs)


def lose_a_row(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def repeat_a_row(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows.slice(0, 1), rows])


def exchange_a_row(rows: pa.Table) -> pa.Table:
    """As many rows, and all different: one is of a flight that never was."""
    index = rows.schema.get_field_index("flight")
    flights = pa.array([9999, *rows["flight"].to_pylist()[1:]], pa.int32())
    return rows.set_column(index, rows.schema.field(index), flights)


def with_column(name: str, values: list[object], kind: pa.DataType) -> Change:
    """Put the first row's value, and the same one for all others, in the place of a column."""

    def change(rows: pa.Table) -> pa.Table:
        index = rows.schema.get_field_index(name)
        field = pa.field(name, kind, nullable=None in values)
        others = [values[-1]] * (rows.num_rows - 1)
        return rows.set_column(index, field, pa.array([values[0], *others], kind))

    return change


def add_a_column(rows: pa.Table) -> pa.Table:
    names = pa.array(["somebody"] * rows.num_rows)
    return rows.append_column(pa.field("passenger", pa.string(), nullable=False), names)


def drop_the_scores(rows: pa.Table) -> pa.Table:
    return rows.drop_columns([SCORE])


def assert_refused(desk: Desk, sentence: str) -> None:
    with pytest.raises(WindowRefused, match=sentence) as refusal:
        desk.publish()
    assert [check.name for check in refusal.value.checks] == ["gate"]
    assert desk.visible() is None
    assert manifests(desk.project, desk.spec).revisions(desk.window) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lose_a_row, "rows: expected all kept, found 1 row"),
        (repeat_a_row, "rows: expected unique in their key, found 2 rows"),
        (exchange_a_row, "rows: expected among those given, found 1 row .*flight=9999"),
    ],
)
def test_rows_that_were_lost_repeated_or_invented_refuse_whatever_the_counters_say(
    desk: Desk, change: Change, sentence: str
) -> None:
    forge(desk, change)
    assert_refused(desk, sentence)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            with_column(SCORE, [7e9, 0.5], pa.float64()),
            f"column {SCORE}: expected .*1.*, found 1 row",
        ),
        (
            with_column(SCORE, [-0.1], pa.float64()),
            f"column {SCORE}: expected .*0.*, found {ROWS} rows",
        ),
        (
            with_column(SCORE, [float("nan"), 0.5], pa.float64()),
            f"column {SCORE}: expected finite, found 1 row",
        ),
        (
            with_column("risk", ["none"], pa.string()),
            f"column risk: expected one of .*, found {ROWS} rows",
        ),
    ],
)
def test_values_beyond_the_contract_refuse_whatever_the_checks_on_record_say(
    desk: Desk, change: Change, sentence: str
) -> None:
    forge(desk, change)
    assert_refused(desk, sentence)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (with_column(SCORE, ["=HYPERLINK()"], pa.string()), f"flight int32, {SCORE} string, late"),
        (with_column(SCORE, [0.5], pa.float32()), f"flight int32, {SCORE} float, late"),
        (drop_the_scores, "flight int32, late_expected bool"),
        (add_a_column, "risk string, passenger string"),
    ],
)
def test_columns_that_would_make_the_table_unreadable_refuse_and_name_the_file(
    desk: Desk, change: Change, found: str
) -> None:
    """Readers take the type of a column from the table, and fail at a file with another one."""
    forge(desk, change)
    declared = f"flight int32, {SCORE} double, late_expected bool, risk string"
    assert_refused(desk, rf"{declared} in part-00000\.parquet \(found .*{found}")


def test_forged_scores_within_the_contract_are_published_and_found_by_replay(desk: Desk) -> None:
    """Nothing but the model knows its scores, and publishing does not ask it."""
    forge(desk, with_column(SCORE, [0.5], pa.float64()))
    desk.publish()
    assert verify_window(desk.project, desk.registry, desk.spec, desk.window).holds
    replay = replay_window(desk.project, desk.registry, desk.pipeline, desk.window)
    assert (replay.rows, replay.same_rows, replay.same_bytes) == (ROWS, False, False)


def test_the_order_of_rows_in_a_file_does_not_matter(desk: Desk) -> None:
    forge(desk, lambda rows: rows.take(pa.array(range(rows.num_rows))[::-1]))
    found = check_rows(desk.project, desk.spec, desk.window, desk.draft())
    assert {check.name: check.passed for check in found} == dict.fromkeys(
        ("schema", "contract", "unique_key", "row_conservation"), True
    )
    assert check_kept_keys(desk.project, desk.spec, desk.window, desk.draft()) == found[-2:]


def test_the_gate_says_how_many_rows_it_counted(desk: Desk) -> None:
    gate = desk.publish().gate
    counts = {name: gate.measured[name] for name in ("rows_in", "scored", "quarantined")}
    assert counts == {"rows_in": ROWS, "scored": ROWS, "quarantined": 0}


def test_a_window_of_several_files_is_published_and_verifies(desk: Desk) -> None:
    spec = desk.spec.model_copy(update={"shard_rows": 300})
    cut = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    cut.prepare()
    assert [output.rows for output in cut.publish().manifest.outputs] == [300, 300, 137]
    assert cut.rows().num_rows == ROWS
    assert verify_window(cut.project, cut.registry, spec, cut.window).holds
