"""`contract infer` and `contract check`: a file is looked at, and nothing is written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.snapshots import sample
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.spec.contract import ColumnSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.source import SourceSpec

WINDOW = "2013-07-01"

Run = Callable[..., Result]
Told = Callable[..., str]
Refused = Callable[..., str]


@pytest.fixture
def flights(project: Project) -> Path:
    return project.landing / "flights" / f"{WINDOW}.parquet"


@pytest.fixture
def elsewhere(flights: Path, tmp_path: Path) -> Callable[[pa.Table], Path]:
    """Write changed rows of the window beside the landing folder, under the window's name."""

    def write(rows: pa.Table) -> Path:
        path = tmp_path / "inbox" / flights.name
        path.parent.mkdir(exist_ok=True)
        pq.write_table(rows, path)
        return path

    return write


def rows_of(path: Path) -> pa.Table:
    return pq.read_table(path)


def with_values(rows: pa.Table, name: str, values: dict[int, object]) -> pa.Table:
    column = rows[name].to_pylist()
    for row, value in values.items():
        column[row] = value
    index = rows.column_names.index(name)
    return rows.set_column(index, rows.schema.field(name), pa.array(column, rows[name].type))


def check(batchinf: Run, path: Path, *more: str) -> tuple[int, dict[str, object]]:
    result = batchinf("contract", "check", "flight_delays", str(path), "--json", *more)
    return result.exit_code, json.loads(result.stdout)


def files_below(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def source_of(told: str) -> SourceSpec:
    written = yaml.safe_load(told)["source"]
    return SourceSpec.model_validate({"files": "flights/{window}.parquet", **written})


def test_a_proposal_from_a_days_flights_accepts_them(fine: Told, flights: Path) -> None:
    source = source_of(fine("contract", "infer", str(flights), "--key", "carrier,flight"))
    assert source.key == ("carrier", "flight")
    assert source.time == "scheduled_departure"
    assert source.columns["origin"].allowed == ("EWR", "JFK", "LGA")
    assert source.columns["distance"] == ColumnSpec(type="int32", min=0, max=6000)
    assert source.columns["tail_number"].nullable


def test_a_proposal_as_json_has_the_same_columns(fine: Told, flights: Path) -> None:
    told = json.loads(fine("contract", "infer", str(flights), "--json"))
    source = source_of(fine("contract", "infer", str(flights)))
    columns = {name: ColumnSpec.model_validate(of) for name, of in told["columns"].items()}
    assert columns == source.columns
    assert tuple(told["key"]) == source.key
    assert told["rows"] == told["rows_in_file"] == rows_of(flights).num_rows
    assert told["notes"]["columns"]["distance"] == ["seen 94 to 4983"]


def as_csv(rows: pa.Table, path: Path) -> None:
    index = rows.column_names.index("scheduled_departure")
    times = pc.strftime(rows["scheduled_departure"], "%Y-%m-%dT%H:%M:%SZ")
    pacsv.write_csv(rows.set_column(index, "scheduled_departure", times), path)


def as_json_lines(rows: pa.Table, path: Path) -> None:
    objects = (
        {**row, "scheduled_departure": row["scheduled_departure"].isoformat()}
        for row in rows.to_pylist()
    )
    text = "".join(f"{json.dumps(found)}\n" for found in objects)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.mark.parametrize(
    ("ending", "write"), [("csv", as_csv), ("jsonl", as_json_lines), ("jsonl.gz", as_json_lines)]
)
def test_text_files_give_the_same_proposal_with_wide_numbers(
    fine: Told,
    flights: Path,
    tmp_path: Path,
    ending: str,
    write: Callable[[pa.Table, Path], None],
) -> None:
    path = tmp_path / f"{WINDOW}.{ending}"
    write(rows_of(flights), path)
    found = source_of(fine("contract", "infer", str(path))).columns
    expected = source_of(fine("contract", "infer", str(flights))).columns
    wide = {
        name: of.model_copy(update={"type": "int64"}) if of.type == "int32" else of
        for name, of in expected.items()
    }
    assert found == wide
    told = fine("contract", "check", "flight_delays", str(path))
    assert told.endswith("It would be accepted: 966 of 966 rows go on.\n")


@pytest.mark.parametrize(
    ("cells", "column_type"),
    [
        (["1", "-20", ""], "int64"),
        (["007", "010"], "string"),
        (["1.5", "2", "3e-4"], "float64"),
        (["true", "false"], "bool"),
        (["2013-07-01", "2013-07-02"], "date"),
        (["2013-07-01", "2013-13-02"], "string"),
        (["2013-07-01T00:00:00Z", "2013-07-01 00:00:00+02:00"], "timestamp"),
        (["1", "x"], "string"),
        (["99999999999999999999"], "float64"),
        (['"1"', '""'], "string"),
    ],
)
def test_cells_of_a_csv_are_typed_only_where_there_is_no_doubt(
    fine: Told, tmp_path: Path, cells: list[str], column_type: str
) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("id,c\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells)))
    told = json.loads(fine("contract", "infer", str(path), "--json"))
    assert told["columns"]["c"]["type"] == column_type


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, 2.5, None], "float64"),
        ([True, None], "bool"),
        (["7", "8"], "string"),
        ([[1]], "nested values cannot be declared"),
        ([{"a": 1}, None], "nested values cannot be declared"),
        ([1, "x"], "values of several kinds: number, text"),
        ([True, 1], "values of several kinds: number, true or false"),
        ([2**70], "whole numbers beyond 64 bits cannot be declared"),
        (["\ud800"], "texts with half of a surrogate pair are not UTF-8"),
        ([None], "no value seen: the type could not be told"),
    ],
)
def test_values_of_json_lines_are_typed_or_left_to_the_owner(
    fine: Told, tmp_path: Path, values: list[object], told: str
) -> None:
    path = tmp_path / "values.jsonl"
    path.write_text("".join(json.dumps({"id": n, "c": v}) + "\n" for n, v in enumerate(values)))
    found = json.loads(fine("contract", "infer", str(path), "--json"))
    declared = found["columns"].get("c")
    assert (declared["type"] if declared else found["notes"]["columns"]["c"][0]) == told


def test_of_a_large_file_a_sample_is_read_that_says_so(
    fine: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 1_000)
    rows = pa.table({"id": pa.array(range(100_000), pa.int64()), "c": ["x", "y"] * 50_000})
    path = tmp_path / "large.parquet"
    pq.write_table(rows, path, row_group_size=2_000)
    told = fine("contract", "infer", str(path))
    assert told.startswith("# Proposed from large.parquet: a sample of ")
    assert " of 100,000 rows.\n" in told
    found = json.loads(fine("contract", "infer", str(path), "--json"))
    assert 500 <= found["rows"] <= 1_000
    assert found["columns"]["c"]["allowed"] == ["x", "y"]
    # From the first row group to one of the last.
    assert found["notes"]["columns"]["id"][0].startswith("seen 0 to 9")


@pytest.mark.parametrize("zipped", [False, True])
def test_of_a_large_text_file_the_beginning_is_read(
    fine: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool
) -> None:
    monkeypatch.setattr(sample, "SAMPLE_BYTES", 2**20)
    line = b'1,"a\nb"\n'
    content = b"id,c\n" + line * (30 * 2**20 // len(line))
    path = tmp_path / ("large.csv.gz" if zipped else "large.csv")
    path.write_bytes(gzip.compress(content, 1) if zipped else content)
    told = json.loads(fine("contract", "infer", str(path), "--json"))
    assert told["rows_in_file"] is None
    assert 100_000 < told["rows"] < 2_000_000
    assert "a sample, the first " in fine("contract", "infer", str(path))


def test_a_text_that_repeats_for_ever_is_not_written_out(fine: Told, tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 600_000, pa.int32()), ["x" * 60_000])
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"c": text}), path, row_group_size=300_000)
    told = json.loads(fine("contract", "infer", str(path), "--json"))
    assert told["columns"]["c"] == {"type": "string", "max_length": 72_000}


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("gone.parquet", None, 1, "is not there. Check the path."),
        ("notes.txt", b"x", 2, "has no ending that tells its format"),
        ("empty.csv", b"", 1, "is empty (0 bytes)"),
        ("empty.parquet", b"", 1, "is empty (0 bytes)"),
        ("text.parquet", b"a,b\n1,2\n", 1, "is no whole Parquet file"),
        ("cut.csv", b"a,b\n1\n", 1, "has 1 cells in line 2, expected 2"),
        ("bad.csv", b"a\n\xff\n", 1, "is not UTF-8 in line 2"),
        ("list.jsonl", b'{"a": 1}\n[1]\n', 1, "has no JSON object in line 2"),
        ("deep.jsonl", b"[" * 100_000, 1, "has no JSON object in line 1"),
        ("plain.csv.gz", b"a\n1\n", 1, "is no gzip file"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_in_one_line(
    refused: Refused, tmp_path: Path, name: str, content: bytes | None, code: int, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert said in refused("contract", "infer", str(tmp_path / name), code=code)


def test_a_folder_is_no_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "x.parquet").mkdir()
    assert "is no file" in refused("contract", "infer", str(tmp_path / "x.parquet"))


def test_a_key_that_the_file_lacks_is_wrong_use(refused: Refused, flights: Path) -> None:
    line = refused("contract", "infer", str(flights), "--key", "carrier, nothing", code=2)
    assert "has no column 'nothing'" in line


def test_a_landed_file_would_be_accepted(fine: Told, flights: Path) -> None:
    told = fine("contract", "check", "flight_delays", str(flights))
    assert told.endswith("It would be accepted: 966 of 966 rows go on.\n")


def test_checking_writes_nothing(
    fine: Told, batchinf: Run, project: Project, elsewhere: Callable[[pa.Table], Path]
) -> None:
    path = elsewhere(rows_of(project.landing / "flights" / f"{WINDOW}.parquet").slice(0, 0))
    before = files_below(project.landing.parent)
    fine("contract", "check", "flight_delays", str(project.landing / "flights/2013-07-02.parquet"))
    assert batchinf("contract", "check", "flight_delays", str(path)).exit_code == 1
    assert files_below(project.landing.parent) == before


def test_a_file_blocks_here_exactly_where_a_run_would(
    batchinf: Run, flights: Path, elsewhere: Callable[[pa.Table], Path]
) -> None:
    rows = rows_of(flights)
    path = elsewhere(pa.concat_tables([rows, rows.slice(0, 2)]))
    code, told = check(batchinf, path)
    flights.write_bytes(path.read_bytes())
    run = batchinf("run", "flight_delays", WINDOW)
    assert (code, told["accepted"], run.exit_code) == (1, False, 1)
    (broken,) = [c for c in told["checks"] if not c["passed"]]
    assert broken["name"] == "unique_key"
    (violation,) = broken["violations"]
    assert violation["count"] == 4
    assert violation["samples"][0] in run.stderr


def test_a_dropped_column_blocks_and_a_new_one_warns(
    batchinf: Run, flights: Path, elsewhere: Callable[[pa.Table], Path]
) -> None:
    rows = rows_of(flights)
    path = elsewhere(rows.append_column("gate", rows["origin"]))
    told = batchinf("contract", "check", "flight_delays", str(path))
    assert told.exit_code == 0
    assert "warns" in told.stdout
    assert "gate string" in told.stdout
    assert told.stdout.endswith("It would be accepted: 966 of 966 rows go on.\n")
    told = batchinf("contract", "check", "flight_delays", str(elsewhere(rows.drop(["carrier"]))))
    assert told.exit_code == 1
    assert "column carrier: expected string, found no such column" in told.stdout
    assert "Not judged: values. Its columns come first.\n" in told.stdout
    assert "It would block window 2013-07-01" in told.stdout


def test_few_bad_rows_are_set_aside_and_many_block(
    batchinf: Run, flights: Path, elsewhere: Callable[[pa.Table], Path], pipeline: Pipeline
) -> None:
    assert pipeline.spec.source.quarantine is not None
    rows = rows_of(flights)
    late = with_values(rows, "departure_local", {0: 2400, 5: 9999})
    few = with_values(late, "destination", {5: "<b>"})
    path = elsewhere(few)
    code, told = check(batchinf, path)
    assert (code, told["accepted"], told["set_aside"], told["rows"]) == (0, True, 2, 966)
    shown = batchinf("contract", "check", "flight_delays", str(path)).stdout
    shown = " ".join(shown.replace("│", " ").split())
    assert "sets aside" in shown
    assert "column departure_local: expected int32 in [0, 2359], found 2 rows outside" in shown
    assert "<b>" not in shown
    assert shown.endswith("964 of 966 rows go on; 2 would be set aside.")
    many: dict[int, object] = dict.fromkeys(range(200), "nowhere")
    code, told = check(batchinf, elsewhere(with_values(rows, "destination", many)))
    assert (code, told["set_aside"]) == (1, 200)


def test_another_window_than_the_names_can_be_asked_for(batchinf: Run, flights: Path) -> None:
    code, told = check(batchinf, flights, "--window", "2013-07-02")
    assert (code, told["window"]) == (1, "2013-07-02")


def test_nullability_is_judged_by_the_window_before_and_else_said_not_to_be(
    fine: Told,
    batchinf: Run,
    flights: Path,
    elsewhere: Callable[[pa.Table], Path],
    project: Project,
    pipeline: Pipeline,
) -> None:
    told = fine("contract", "check", "flight_delays", str(flights))
    note = "no window before it in the lake says which columns are required"
    assert f"Not judged: nullability ({note}).\n" in told
    freeze_snapshot(project, pipeline.spec, pipeline.spec.window.window("2013-06-30"))
    rows = rows_of(flights)
    optional = rows.cast(pa.schema([field.with_nullable(True) for field in rows.schema]))
    code, judged = check(batchinf, elsewhere(optional))
    assert code == 1
    (broken,) = [c for c in judged["checks"] if not c["passed"]]
    assert broken["name"] == "schema"
    assert broken["violations"][0]["rule"] == "required as in window 2013-06-30"
    assert "nullability" not in fine("contract", "check", "flight_delays", str(flights))


def test_a_text_file_says_nothing_of_nulls(
    fine: Told, flights: Path, tmp_path: Path, project: Project, pipeline: Pipeline
) -> None:
    freeze_snapshot(project, pipeline.spec, pipeline.spec.window.window("2013-06-30"))
    text = tmp_path / f"{WINDOW}.csv"
    as_csv(rows_of(flights), text)
    told = fine("contract", "check", "flight_delays", str(text))
    assert "Not judged: nullability (its format does not say which columns are required)." in told


def test_volume_is_judged_by_the_windows_in_the_lake_and_else_said_not_to_be(
    fine: Told,
    batchinf: Run,
    flights: Path,
    elsewhere: Callable[[pa.Table], Path],
    project: Project,
    pipeline: Pipeline,
) -> None:
    told = fine("contract", "check", "flight_delays", str(flights))
    assert "Not judged: volume (too few windows before it in the lake).\n" in told
    for window in pipeline.spec.window.between("2013-06-26", "2013-06-30"):
        freeze_snapshot(project, pipeline.spec, window)
    code, judged = check(batchinf, elsewhere(rows_of(flights).slice(0, 90)))
    assert code == 1
    assert [c["name"] for c in judged["checks"] if not c["passed"]] == ["volume"]
    told = fine("contract", "check", "flight_delays", str(flights))
    assert told == "It would be accepted: 966 of 966 rows go on.\n"


@pytest.mark.parametrize("name", ["planes.parquet", "flights/2012-01-01.parquet", "x\x1b.parquet"])
def test_a_file_whose_name_says_no_window_needs_one(refused: Refused, name: str) -> None:
    line = refused("contract", "check", "flight_delays", name, code=2)
    assert "names no window of flight_delays. Say which with --window" in line
    assert line.isprintable()


@pytest.mark.parametrize("window", ["2013-07-32", "../../etc", "2013-07-01\0", "x" * 300])
def test_a_window_that_is_none_is_wrong_use(refused: Refused, flights: Path, window: str) -> None:
    path = str(flights)
    line = refused("contract", "check", "flight_delays", path, "--window", window, code=2)
    assert "is not a window" in line


def test_a_file_that_is_not_there_is_told(refused: Refused, tmp_path: Path) -> None:
    line = refused("contract", "check", "flight_delays", str(tmp_path / f"{WINDOW}.parquet"))
    assert "has not landed" in line
