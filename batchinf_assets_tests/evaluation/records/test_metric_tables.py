"""Figures that this version keeps, beside those of versions that knew fewer columns."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from deltalake import DeltaTable

from batchinf_assets.evaluation.records.figure_records import METRIC_SCHEMA
from batchinf_assets.evaluation.records.metric_tables import MetricTable
from batchinf_assets.lake.table import WindowTable
from batchinf_assets.windows import Window, WindowSpec

DAYS = WindowSpec.model_validate({"start": "2013-01-01"})
FIRST_SCHEMA = pa.schema(
    [
        pa.field("revision", pa.string(), nullable=False),
        pa.field("subject_kind", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("verdict", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
    ]
)


def old_rows() -> pa.Table:
    rows = [
        {"subject_kind": "golden", "subject": "auroc", "value": 0.7, "rows": 9},
        {"subject_kind": "drift", "subject": "speed", "value": 0.3, "verdict": "major", "rows": 5},
    ]
    return pa.Table.from_pylist([{"revision": "r1", **row} for row in rows], schema=FIRST_SCHEMA)


def new_rows(value: float = 0.5) -> pa.Table:
    row = {"revision": "r2", "subject_kind": "drift", "subject": "speed", "measure": "psi"}
    return pa.Table.from_pylist(
        [{**row, "reference": "training", "value": value, "rows": 5}], schema=METRIC_SCHEMA
    )


def day(number: int) -> Window:
    return DAYS.window(f"2013-01-{number:02d}")


def test_rows_of_the_first_version_read_as_what_they_meant(tmp_path: Path) -> None:
    WindowTable(tmp_path, FIRST_SCHEMA).keep(day(1), "a", old_rows(), {})
    found = MetricTable(tmp_path).read(day(1))
    assert found is not None
    assert found.schema == METRIC_SCHEMA
    golden, drift = found.to_pylist()
    assert (golden["subject"], golden["value"], golden["measure"]) == ("auroc", 0.7, None)
    assert (drift["measure"], drift["reference"], drift["verdict"]) == ("psi", "training", "major")


def test_new_figures_stand_in_the_same_table_as_old_ones(tmp_path: Path) -> None:
    WindowTable(tmp_path, FIRST_SCHEMA).keep(day(1), "a", old_rows(), {})
    table = MetricTable(tmp_path)
    table.keep_figures(day(2), new_rows(), {})
    old, new = table.read(day(1)), table.read(day(2))
    assert old is not None
    assert new == new_rows()
    assert (old.num_rows, old.column("revision").unique().to_pylist()) == (2, ["r1"])
    # Any reader of Delta sees both, the older with nulls.
    names = {field.name for field in DeltaTable(tmp_path).schema().fields}
    assert names == {"window", *METRIC_SCHEMA.names}


def test_a_window_that_was_never_evaluated_has_no_rows(tmp_path: Path) -> None:
    assert MetricTable(tmp_path).read(day(1)) is None


def test_keeping_the_same_figures_again_changes_nothing(tmp_path: Path) -> None:
    table = MetricTable(tmp_path)
    first = table.keep_figures(day(1), new_rows(), {"source": "a"})
    before = DeltaTable(tmp_path).version()
    assert table.keep_figures(day(1), new_rows(), {"source": "a"}) == first
    assert DeltaTable(tmp_path).version() == before
    assert table.keep_figures(day(1), new_rows(0.6), {"source": "a"}) != first
