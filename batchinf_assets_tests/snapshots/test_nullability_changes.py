"""Windows whose files say otherwise than those before which columns may hold nulls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from batchinf_assets.contracts.nullability import (
    FORMAT_SAYS_NOTHING,
    NO_WINDOW_SAYS,
    RequiredBefore,
)
from batchinf_assets.errors import WindowRefused
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.lake.place import Place
from batchinf_assets.project import Project
from batchinf_assets.side_by_side import Order
from batchinf_assets.snapshots.freeze import (
    Snapshot,
    SnapshotFooter,
    freeze_snapshot,
    frozen_record,
    required_before,
    snapshot_table,
)
from batchinf_assets.spec.contract import AcceptedChange
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window
from batchinf_assets_tests.side_by_side import Awaiting

NON_NULL = ("departure", "carrier", "miles")


def declared(*accept: AcceptedChange, files: str = "flights/{window}.parquet") -> PipelineSpec:
    document = load_pipeline("flight_delays").spec.model_dump(mode="json")
    document["source"] = {
        "files": files,
        "key": ["departure", "carrier"],
        "time": "departure",
        "columns": {
            "departure": {"type": "timestamp"},
            "carrier": {"type": "string"},
            "tail": {"type": "string", "nullable": True},
            "miles": {"type": "int32"},
        },
        "accept": accept,
    }
    document["outcomes"], document["references"] = None, {}
    return PipelineSpec.model_validate(document)


SPEC = declared()
ACCEPTING = declared("became_optional")
DAYS = SPEC.window.between("2013-07-01", "2013-07-09")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def rows_of(day: Window, *required: str, miles: int = 7) -> pa.Table:
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        "departure": (pa.timestamp("us", tz="UTC"), [day.start]),
        "carrier": (pa.string(), ["UA"]),
        "tail": (pa.string(), ["N7"]),
        "miles": (pa.int32(), [miles]),
    }
    fields = [
        pa.field(name, kind, nullable=name not in required) for name, (kind, _) in columns.items()
    ]
    return pa.table([values for _, values in columns.values()], schema=pa.schema(fields))


def freeze(
    project: Project,
    day: Window,
    *required: str,
    spec: PipelineSpec = SPEC,
    part: str | None = None,
    miles: int = 7,
    order: Order | None = None,
) -> Snapshot:
    pattern = spec.source.files.replace("{window}", day.key).replace("*", part or "")
    path = project.landing / pattern
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows_of(day, *required, miles=miles)
    (pacsv.write_csv if path.suffix == ".csv" else pq.write_table)(rows, path)
    return freeze_snapshot(project, spec, day, order=order)


def schema_check(snapshot: Snapshot) -> dict[str, Any]:
    (check,) = [check for check in snapshot.checks if check.name == "schema"]
    return dict(check.measured)


def refusal(project: Project, day: Window, *required: str, **how: Any) -> str:
    with pytest.raises(WindowRefused) as refused:
        freeze(project, day, *required, **how)
    failed = [check.name for check in refused.value.checks if not check.passed]
    assert failed == ["schema"]
    return str(refused.value)


def test_a_frozen_window_records_what_its_file_says_of_nulls(project: Project) -> None:
    assert freeze(project, DAYS[0], *NON_NULL).record.required == ("carrier", "departure", "miles")
    recorded = frozen_record(project, SPEC, DAYS[0])
    assert recorded is not None
    assert recorded.required == ("carrier", "departure", "miles")


def test_a_column_that_became_optional_blocks_and_nothing_is_written(project: Project) -> None:
    freeze(project, DAYS[0], *NON_NULL)
    told = refusal(project, DAYS[1], "departure", "carrier")
    assert (
        "flight_delays 2013-07-02 snapshot: column miles: expected required as in window "
        "2013-07-01, found optional (passes where `accept` has became_optional)." in told
    )
    assert snapshot_table(project, SPEC).files_of(DAYS[1]) == ()


def test_writers_that_call_every_column_optional_are_never_stopped(project: Project) -> None:
    for day in DAYS[:3]:
        freeze(project, day)
    assert schema_check(freeze(project, DAYS[3]))["nullability"] == "compared with 2013-07-03"


def test_accepted_once_the_next_windows_need_no_acceptance(project: Project) -> None:
    freeze(project, DAYS[0], *NON_NULL)
    accepted = schema_check(freeze(project, DAYS[1], "departure", "carrier", spec=ACCEPTING))
    assert (accepted["accepted"], accepted["became_optional"]) == ("became_optional", "miles")
    freeze(project, DAYS[2], "departure", "carrier")
    assert "carrier" in refusal(project, DAYS[3], "departure")


def test_every_window_of_a_range_is_held_against_the_last_one_that_was_frozen(
    project: Project,
) -> None:
    freeze(project, DAYS[0], *NON_NULL)
    refusal(project, DAYS[1], "departure", "carrier")
    freeze(project, DAYS[2], *NON_NULL)
    assert "as in window 2013-07-03" in refusal(project, DAYS[3], "departure", "carrier")


def test_a_window_waits_for_one_that_is_frozen_beside_it(project: Project) -> None:
    beside = Awaiting(lambda: freeze(project, DAYS[0], *NON_NULL))
    assert "as in window 2013-07-01" in refusal(project, DAYS[1], "departure", order=beside)


def test_corrected_data_is_held_against_the_window_before_and_not_against_itself(
    project: Project,
) -> None:
    freeze(project, DAYS[0])
    freeze(project, DAYS[1], *NON_NULL)
    assert freeze(project, DAYS[1], miles=8).record.required == ()
    freeze(project, DAYS[2], *NON_NULL)
    assert "2013-07-03" in refusal(project, DAYS[3])


def test_without_a_window_before_corrected_data_is_held_against_what_it_replaces(
    project: Project,
) -> None:
    freeze(project, DAYS[0], *NON_NULL)
    told = refusal(project, DAYS[0], "departure", "carrier", miles=8)
    assert "column miles: expected required as in window 2013-07-01, found optional" in told


def test_later_windows_say_nothing_of_earlier_ones(project: Project) -> None:
    freeze(project, DAYS[5], *NON_NULL)
    assert schema_check(freeze(project, DAYS[0]))["nullability"] == NO_WINDOW_SAYS


def test_the_same_rows_under_other_nullability_are_the_same_snapshot(project: Project) -> None:
    one = freeze(project, DAYS[0])
    other = freeze(project, DAYS[0], *NON_NULL)
    assert (one.record.content, one.path) == (other.record.content, other.path)


def test_text_files_say_nothing_of_nulls_and_that_is_named(project: Project) -> None:
    texts = declared(files="flights/{window}.csv")
    freeze(project, DAYS[0], *NON_NULL)
    frozen = freeze(project, DAYS[1], spec=texts)
    assert frozen.record.required is None
    assert schema_check(frozen)["nullability"] == FORMAT_SAYS_NOTHING
    before = required_before(project, SPEC, DAYS[2])
    assert before == RequiredBefore(window="2013-07-01", columns=frozenset(NON_NULL))


def test_a_column_is_required_where_every_file_of_the_window_says_so(project: Project) -> None:
    folder = declared(files="flights/{window}/*.parquet")
    freeze(project, DAYS[0], "carrier", spec=folder, part="1")
    both = freeze(project, DAYS[0], *NON_NULL, spec=folder, part="2", miles=8)
    assert both.record.required == ("carrier",)
    freeze(project, DAYS[1], "carrier", spec=folder, part="1")
    told = refusal(project, DAYS[1], spec=folder, part="2")
    assert "flights/2013-07-02/2.parquet: column carrier: expected required" in told


def rewritten(path: Place, footer: dict[str, Any]) -> None:
    rows = pq.read_table(path).replace_schema_metadata(None)
    write_parquet(path, rows, footer)


def test_windows_that_an_older_version_froze_or_that_are_damaged_are_passed_over(
    project: Project,
) -> None:
    freeze(project, DAYS[0], *NON_NULL)
    old, damaged = freeze(project, DAYS[1], *NON_NULL), freeze(project, DAYS[2], *NON_NULL)
    footer = SnapshotFooter(record=old.record, checks=old.checks).model_dump(mode="json")
    del footer["record"]["required"]
    rewritten(old.path, footer)
    damaged.path.write_bytes(b"not a Parquet file")
    assert "as in window 2013-07-01" in refusal(project, DAYS[3])
