"""Before publishing, keys are read from the files, whatever counters and records say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.errors import WindowRefused
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.publishing.row_keys import check_kept_keys
from batchinf_assets.publishing.verify import verify_window
from batchinf_assets.scoring.predictions import manifests

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.conftest import Desk


def forge(desk: Desk, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write other rows, and a draft whose records and counts all fit the original ones."""
    draft = desk.draft()
    path = desk.output(draft.revision)
    file = write_parquet(path, change(pq.read_table(path)), {})
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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lose_a_row, "rows must be all kept: 1 row"),
        (repeat_a_row, "rows must be unique in their key: 2 rows"),
        (exchange_a_row, "rows must be among those given: 1 row .*flight=9999"),
    ],
)
def test_rows_that_were_lost_repeated_or_invented_refuse_whatever_the_counters_say(
    desk: Desk, change: Callable[[pa.Table], pa.Table], sentence: str
) -> None:
    forge(desk, change)
    with pytest.raises(WindowRefused, match=sentence) as refusal:
        desk.publish()
    assert [check.name for check in refusal.value.checks] == ["gate"]
    assert desk.visible() is None
    assert manifests(desk.project, desk.spec).revisions(desk.window) == []


def test_the_order_of_rows_in_a_file_does_not_matter(desk: Desk) -> None:
    forge(desk, lambda rows: rows.take(pa.array(range(rows.num_rows))[::-1]))
    unique, kept = check_kept_keys(desk.project, desk.spec, desk.window, desk.draft())
    assert (unique.passed, kept.passed) == (True, True)


def test_the_gate_says_how_many_rows_it_counted(desk: Desk) -> None:
    gate = desk.publish().gate
    assert (gate.measured["rows_in"], gate.measured["rows_out"]) == (737, 737)


def test_a_window_of_several_files_is_published_and_verifies(desk: Desk) -> None:
    spec = desk.spec.model_copy(update={"shard_rows": 300})
    cut = replace(desk, pipeline=replace(desk.pipeline, spec=spec))
    cut.prepare()
    assert [output.rows for output in cut.publish().manifest.outputs] == [300, 300, 137]
    assert cut.rows().num_rows == 737
    assert verify_window(cut.project, cut.registry, spec, cut.window).holds
