"""What changed between two versions of a window's rows, against sets of Python rows."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchinf_assets.checks import SAMPLE_KEYS
from batchinf_assets.errors import ManifestInvalid
from batchinf_assets.lake.row_groups import RowGroups, write_row_groups
from batchinf_assets.snapshots.changes import RowChanges, compare_rows

SCHEMA = pa.schema(
    [
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("flight", pa.int32(), nullable=False),
        pa.field("delay", pa.float64()),
    ]
)
KEY = ("carrier", "flight")
Rows = dict[tuple[str, int], float | None]

ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["AA", "UA", "Ü"]), st.integers(1, 12)),
    st.none() | st.sampled_from([0.0, 1.5, math.nan]),
    max_size=30,
)


def write(path: Path, rows: Rows, group_rows: int = 4, schema: pa.Schema = SCHEMA) -> RowGroups:
    records = [
        {"carrier": carrier, "flight": flight, "delay": rows[carrier, flight]}
        for carrier, flight in sorted(rows, key=lambda key: (key[0].encode(), key[1]))
    ]
    table = pa.Table.from_pylist(records, schema=schema)
    groups = [table.slice(s, group_rows) for s in range(0, table.num_rows, group_rows)]
    write_row_groups(path, schema, groups)
    return RowGroups(path)


def changes(tmp_path: Path, before: Rows, after: Rows) -> RowChanges:
    old, new = write(tmp_path / "before.parquet", before), write(tmp_path / "after.parquet", after)
    return compare_rows(old, new, KEY)


@settings(deadline=None)
@given(before=ROWS, after=ROWS, old_groups=st.integers(1, 9), new_groups=st.integers(1, 9))
def test_every_row_is_added_removed_changed_or_unchanged(
    before: Rows, after: Rows, old_groups: int, new_groups: int
) -> None:
    with TemporaryDirectory() as folder:
        old = write(Path(folder) / "before.parquet", before, old_groups)
        new = write(Path(folder) / "after.parquet", after, new_groups)
        found = compare_rows(old, new, KEY)
    both = before.keys() & after.keys()
    changed = {key for key in both if repr(before[key]) != repr(after[key])}
    assert (found.added, found.removed) == (len(after.keys() - both), len(before.keys() - both))
    assert (found.changed, found.unchanged) == (len(changed), len(both) - len(changed))
    assert len(found.changed_keys) == min(len(changed), SAMPLE_KEYS)


def test_the_keys_of_what_changed_are_named(tmp_path: Path) -> None:
    before: Rows = {("AA", 1): 0.0, ("AA", 2): 0.0, ("UA", 1): 0.0}
    after: Rows = {("AA", 1): 0.0, ("UA", 1): -0.0, ("UA", 9): None}
    assert changes(tmp_path, before, after) == RowChanges(
        added=1,
        removed=1,
        changed=1,
        unchanged=1,
        added_keys=("carrier=UA, flight=9",),
        removed_keys=("carrier=AA, flight=2",),
        changed_keys=("carrier=UA, flight=1",),
    )


def test_the_first_ten_keys_are_named_over_all_row_groups(tmp_path: Path) -> None:
    found = changes(tmp_path, {}, {("AA", flight): 0.0 for flight in range(1, 31)})
    assert found.added == 30
    assert found.added_keys == tuple(f"carrier=AA, flight={flight}" for flight in range(1, 11))


def test_the_share_is_of_the_rows_that_there_are_now(tmp_path: Path) -> None:
    before: Rows = {("AA", 1): 0.0, ("AA", 2): 0.0, ("AA", 3): 0.0}
    after: Rows = {("AA", 1): 1.0, ("AA", 2): 0.0, ("AA", 4): 0.0, ("AA", 5): 0.0}
    assert changes(tmp_path, before, after).share == 0.75
    assert changes(tmp_path, before, {}).share == 0.0


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA.append(pa.field("gate", pa.string())),
        SCHEMA.set(2, pa.field("delay", pa.float32())),
    ],
    ids=["added", "retyped"],
)
def test_another_column_or_type_changes_every_row(tmp_path: Path, schema: pa.Schema) -> None:
    rows: Rows = {("AA", 1): 0.0, ("AA", 2): None}
    old = write(tmp_path / "before.parquet", rows)
    new = write(tmp_path / "after.parquet", rows, schema=schema)
    found = compare_rows(old, new, KEY)
    assert (found.changed, found.unchanged) == (2, 0)


def test_keys_of_another_type_cannot_be_compared(tmp_path: Path) -> None:
    rows: Rows = {("AA", 1): 0.0}
    old = write(tmp_path / "before.parquet", rows)
    wider = SCHEMA.set(1, pa.field("flight", pa.int64()))
    new = write(tmp_path / "after.parquet", rows, schema=wider)
    with pytest.raises(ValueError, match="differ in type"):
        compare_rows(old, new, KEY)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    rows: Rows = {("AA", flight): 0.0 for flight in range(1, 200)}
    old, new = (write(tmp_path / f"{name}.parquet", rows, 50) for name in ("before", "after"))
    damaged = bytearray((tmp_path / "before.parquet").read_bytes())
    damaged[100] ^= 1
    (tmp_path / "before.parquet").write_bytes(bytes(damaged))
    with pytest.raises(ManifestInvalid, match=r"before\.parquet"):
        compare_rows(old, new, KEY)
