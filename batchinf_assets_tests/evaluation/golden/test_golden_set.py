"""Reading the golden set, and what makes it a doubtful measure."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.evaluation.golden.golden_provenance import (
    LearnedFrom,
    Provenance,
    provenance_path,
)
from batchinf_assets.evaluation.golden.golden_set import (
    GoldenSet,
    judge_golden_set,
    read_golden_keys,
    read_golden_set,
)
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.manifest.inputs import WindowRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.spec.evaluation import Consequence, GateSpec, GoldenSpec
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

DRAWN_AT = datetime(2026, 3, 1, tzinfo=UTC)


def flights() -> PipelineSpec:
    """The demo pipeline's declaration."""
    return load_pipeline("flight_delays").spec


def project_in(folder: Path) -> Project:
    """A project whose committed data lies in a folder."""
    names = ("lake", "landing", "dagster_home", "keys")
    return Project(root=folder, **{name: folder / name for name in names})


def declared(**golden: object) -> PipelineSpec:
    """The demo pipeline with its golden set in `golden.parquet`."""
    stated = {"file": "golden.parquet", "label": "late", **golden}
    return flights().model_copy(update={"golden": GoldenSpec.model_validate(stated)})


def read(folder: Path, **golden: object) -> GoldenSet:
    return read_golden_set(project_in(folder), declared(**golden))


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
    table = read(tmp_path).rows
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
    assert read(tmp_path).rows.column("carrier_code").to_pylist() == ["UA", "AA", "UA"]


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
        read(tmp_path)
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
    keys = read_golden_keys(project_in(tmp_path), declared())
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
        read_golden_keys(project_in(tmp_path), declared())


def test_a_missing_golden_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GoldenSetInvalid, match=r"absent\.parquet is missing"):
        read(tmp_path, file="absent.parquet")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    path.write_bytes(b"late,score\n")
    with pytest.raises(GoldenSetInvalid, match="cannot be read"):
        read(tmp_path)


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
        read(tmp_path)


def provenance_of(path: Path, **changes: object) -> Provenance:
    """What is true of a golden file of `golden_table`, drawn from June 2013."""
    rows = pq.read_metadata(path).num_rows
    days = [flights().window.window(key) for key in ("2013-06-01", "2013-06-30")]
    first, last = (WindowRecord(key=day.key, start=day.start, end=day.end) for day in days)
    known = Provenance(
        version="3",
        sha256=file_sha256(path),
        rows=rows,
        positives=rows - rows // 2,
        drawn_at=DRAWN_AT,
        first=first,
        last=last,
        available=10_000,
        unlabelled=0,
        seed=1,
        method="uniformly",
        code_version="0.1.0",
        excluded=(
            LearnedFrom(what="declared training", start=date(2013, 1, 1), end=date(2013, 4, 1)),
        ),
    )
    return known.model_copy(update=changes)


def write_described(folder: Path, table: pa.Table, **changes: object) -> Path:
    """Write a golden set and its provenance."""
    path = folder / "golden.parquet"
    pq.write_table(table, path)
    provenance_path(path).write_bytes(provenance_of(path, **changes).to_json())
    return path


def test_the_record_names_file_version_and_time_of_drawing(tmp_path: Path) -> None:
    path = write_described(tmp_path, golden_table())
    golden = read(tmp_path)
    assert golden.provenance == provenance_of(path)
    assert golden.record.model_dump() == {
        "sha256": file_sha256(path),
        "version": "3",
        "drawn_at": DRAWN_AT,
    }


def test_a_golden_set_without_provenance_is_read_all_the_same(tmp_path: Path) -> None:
    pq.write_table(golden_table(), tmp_path / "golden.parquet")
    golden = read(tmp_path)
    assert golden.provenance is None
    assert (golden.record.version, golden.record.drawn_at) == (None, None)
    assert golden.record.sha256 == file_sha256(tmp_path / "golden.parquet")


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"rows": 4}, {"positives": 1}], ids=str)
@pytest.mark.parametrize("reads", ["rows", "keys"])
def test_a_file_that_is_not_the_one_its_provenance_names_is_refused(
    tmp_path: Path, changes: dict[str, object], reads: str
) -> None:
    write_described(tmp_path, with_keys(golden_table()), **changes)
    if reads == "keys" and "positives" in changes:
        assert read_golden_keys(project_in(tmp_path), declared()).num_rows == 3
        return
    with pytest.raises(GoldenSetInvalid, match=r"golden\.parquet .* its provenance") as refusal:
        read(tmp_path) if reads == "rows" else read_golden_keys(project_in(tmp_path), declared())
    assert "batchinf golden draw" in refusal.value.next_step


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"format_version": 2}, "format_version"),
        ({"note": "mine"}, "note"),
        ({"sha256": "abc"}, "sha256"),
        ({"drawn_at": "2026-03-01T00:00:00"}, "drawn_at"),
        ({"positives": 4}, "positives are some of the rows"),
        ({"strata": [{"values": {"late": "true"}, "available": 9, "drawn": 2}]}, "strata"),
    ],
    ids=str,
)
def test_a_document_that_is_no_provenance_is_refused(
    tmp_path: Path, change: dict[str, object], what: str
) -> None:
    path = provenance_path(write_described(tmp_path, golden_table()))
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(GoldenSetInvalid, match=rf"golden\.json is no provenance .*{what}"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_torn_provenance_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    provenance_path(write_described(tmp_path, golden_table())).write_bytes(content)
    with pytest.raises(GoldenSetInvalid, match=r"golden\.json is no provenance"):
        read(tmp_path)


def judged(folder: Path, window: str = "2013-07-04", **golden: object) -> CheckResult:
    spec = declared(**golden)
    found = read_golden_set(project_in(folder), spec)
    return judge_golden_set(found, spec, spec.window.window(window))


def test_a_described_balanced_recent_set_passes_with_its_figures(tmp_path: Path) -> None:
    path = write_described(tmp_path, golden_table(60))
    found = judged(tmp_path, segments=["origin_airport"])
    assert (found.name, found.asset, found.passed) == ("golden_set", "evaluation", True)
    assert found.measured == {
        "rows": 60,
        "positives": 30,
        "rarer_class": 0.5,
        "sha256": file_sha256(path),
        "version": "3",
        "drawn_from": "2013-06-01 to 2013-06-30",
        "age_days": 4,
    }


def test_a_set_without_provenance_is_named_and_its_age_unknown(tmp_path: Path) -> None:
    pq.write_table(golden_table(60), tmp_path / "golden.parquet")
    found = judged(tmp_path)
    assert [str(violation) for violation in found.violations] == [
        "expected the golden set's provenance in golden.json, found no such file"
    ]
    assert (found.measured["age_days"], found.measured["version"]) == ("unknown", "unknown")


# Drawn up to the end of 30 June: ten days later is the end of 10 July, whatever the year is now.
@pytest.mark.parametrize(("window", "fresh"), [("2013-07-10", True), ("2013-07-11", False)])
def test_age_runs_from_the_last_drawn_window_to_the_end_of_the_judged_one(
    tmp_path: Path, window: str, fresh: bool
) -> None:
    write_described(tmp_path, golden_table(60))
    found = judged(tmp_path, window, max_age_days=10)
    assert found.passed is fresh
    if not fresh:
        assert [str(violation) for violation in found.violations] == [
            "expected a golden set at most 10 days older than the window, found 11: it was drawn "
            "from windows up to 2013-06-30"
        ]


def test_a_window_before_the_drawn_ones_has_no_stale_set(tmp_path: Path) -> None:
    write_described(tmp_path, golden_table(60))
    found = judged(tmp_path, "2013-01-05", max_age_days=1)
    assert found.passed
    assert found.measured["age_days"] == 0


def skewed(rows: int, positives: int) -> pa.Table:
    labels = pa.array([row < positives for row in range(rows)])
    return with_column(golden_table(rows), "late", labels)


@pytest.mark.parametrize(
    ("positives", "fine"), [(0, False), (6, False), (7, True), (93, True), (94, False)]
)
def test_the_rarer_class_must_have_its_share(tmp_path: Path, positives: int, fine: bool) -> None:
    write_described(tmp_path, skewed(100, positives), positives=positives)
    found = judged(tmp_path, min_class_share=0.07)
    assert found.passed is fine
    if not fine:
        rarer = min(positives, 100 - positives)
        assert [str(violation) for violation in found.violations] == [
            "column late: expected share of the rarer class at least 0.07, found "
            f"{rarer / 100:.4f} ({rarer} of 100 rows)"
        ]


def test_a_thin_segment_is_named_with_its_rows(tmp_path: Path) -> None:
    airports = ["EWR"] * 40 + ["JFK"] * 30 + ["LGA"] * 29 + ["<b>"]
    carriers = ["=1", *(f"{row % 20:02}" for row in range(99))]
    table = with_column(golden_table(100), "origin_airport", pa.array(airports))
    table = with_column(table, "plane_age", pa.array([None] * 29 + [1.0] * 71))
    table = with_column(table, "carrier_code", pa.array(carriers))
    write_described(tmp_path, table)
    found = judged(tmp_path, segments=["origin_airport", "carrier_code", "plane_age"])
    assert [str(violation) for violation in found.violations] == [
        "column origin_airport: expected at least 30 golden rows in each segment, found "
        "\\x3cb\\x3e: 1, LGA: 29",
        "column carrier_code: expected at least 30 golden rows in each segment, found "
        "\\x3d1: 1, 19: 4, 00: 5, 01: 5, 02: 5 and 16 more",
        "column plane_age: expected at least 30 golden rows in each segment, found (missing): 29",
    ]


def test_a_number_is_thin_by_the_segments_that_it_is_measured_in(tmp_path: Path) -> None:
    ages = pa.array([float(row) for row in range(120)])
    write_described(tmp_path, with_column(golden_table(120), "plane_age", ages))
    assert judged(tmp_path, segments=["plane_age"]).passed
    lopsided = pa.array([0.0] * 20 + [float(row) for row in range(1, 81)])
    write_described(tmp_path, with_column(golden_table(100), "plane_age", lopsided))
    (violation,) = judged(tmp_path, segments=["plane_age"]).violations
    assert (
        violation.found == "up to 5: 25, above 5 up to 30: 25, above 30 up to 55: 25, above 55: 25"
    )


def test_rare_values_beyond_those_that_are_measured_are_one_segment(tmp_path: Path) -> None:
    carriers = [f"{row % 50:02}" for row in range(1500)] + [f"rare {row}" for row in range(30)]
    table = with_column(golden_table(1530), "carrier_code", pa.array(carriers))
    write_described(tmp_path, table)
    assert judged(tmp_path, segments=["carrier_code"]).passed


@pytest.mark.parametrize("consequence", get_args(Consequence))
def test_a_doubtful_set_blocks_only_where_that_is_declared(
    tmp_path: Path, consequence: Consequence
) -> None:
    write_described(tmp_path, golden_table(60))
    spec = declared(max_age_days=1).model_copy(update={"gate": GateSpec(golden_set=consequence)})
    found = judge_golden_set(
        read_golden_set(project_in(tmp_path), spec), spec, spec.window.window("2013-07-04")
    )
    assert (found.passed, found.blocking) == (False, consequence == "block")


def test_the_committed_set_is_described_and_fit_for_the_whole_year(tmp_path: Path) -> None:
    project = Project(**{**vars(project_in(tmp_path)), "root": CHECKOUT})
    golden, spec = read_golden_set(project, flights()), flights()
    assert golden.provenance is not None
    assert golden.record.version == "1"
    year = [
        judge_golden_set(golden, spec, spec.window.window(f"2013-{m:02}-01")) for m in range(1, 13)
    ]
    assert all(check.passed for check in year)
