"""Freezing a window: the rows as declared, under their digest, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from batchinf_assets.contracts.declared_checks import declared_checks
from batchinf_assets.errors import (
    LandedFileMissing,
    ManifestInvalid,
    WindowMissing,
    WindowRefused,
)
from batchinf_assets.lake.digest import content_digest, file_sha256
from batchinf_assets.lake.schema import arrow_schema
from batchinf_assets.project import Project
from batchinf_assets.snapshots.freeze import (
    freeze_snapshot,
    frozen_rows,
    load_snapshot,
    snapshot_table,
    source_contract,
)
from batchinf_assets.spec.load import load_pipeline

SPEC = load_pipeline("flight_delays").spec
SCHEMA = arrow_schema(SPEC.source.columns)
DAY = SPEC.window.window("2013-07-01")
OTHER_DAY = SPEC.window.window("2013-07-02")
CHECKS = list(declared_checks(SPEC)["snapshot"])


def flights(count: int = 3, start: datetime = DAY.start) -> pa.Table:
    return pa.table(
        {
            "scheduled_departure": [
                start.astimezone(UTC) + timedelta(hours=n) for n in range(count)
            ],
            "carrier": ["UA", "AA", "DL"][:count],
            "flight": [7, 8, 9][:count],
            "tail_number": ["N1", None, "N3"][:count],
            "origin": ["JFK", "EWR", "LGA"][:count],
            "destination": ["BOS", "ATL", "SFO"][:count],
            "distance": [187, 746, 2586][:count],
            "departure_local": [0, 100, 200][:count],
            "arrival_local": [130, 330, 2400][:count],
        },
        schema=SCHEMA,
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "landing" / "flights").mkdir(parents=True)
    return Project(
        root=tmp_path,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def drop(project: Project, rows: pa.Table, **options: object) -> Path:
    path = project.landing / "flights" / f"{DAY}.parquet"
    pq.write_table(rows, path, **options)
    return path


def versions(project: Project) -> int:
    return DeltaTable(snapshot_table(project, SPEC).folder).version()


def test_landed_rows_are_frozen_under_their_digest(project: Project) -> None:
    path = drop(project, flights())
    snapshot = freeze_snapshot(project, SPEC, DAY)
    digest = content_digest(flights(), SPEC.source.key)
    assert snapshot.rows.equals(flights())
    assert (snapshot.record.digest, snapshot.record.rows) == (digest, 3)
    assert snapshot.record.source.sha256 == file_sha256(path)
    assert snapshot.record.source.path == "flights/2013-07-01.parquet"
    assert snapshot.path == frozen_rows(project, SPEC, DAY, snapshot.record).place
    assert (snapshot.record.landed, snapshot.record.quarantined) == (3, 0)
    assert snapshot.record.contract == source_contract(SPEC)
    assert {check.name: check.passed for check in snapshot.checks} == dict.fromkeys(CHECKS, True)


def test_a_frozen_snapshot_loads_as_it_was_taken(project: Project) -> None:
    drop(project, flights())
    taken = freeze_snapshot(project, SPEC, DAY)
    loaded = load_snapshot(project, SPEC, DAY)
    assert (loaded.record, loaded.checks, loaded.path) == (taken.record, taken.checks, taken.path)
    assert loaded.rows.equals(taken.rows)


def test_any_reader_of_delta_sees_the_snapshot(project: Project) -> None:
    drop(project, flights())
    freeze_snapshot(project, SPEC, DAY)
    seen = DeltaTable(snapshot_table(project, SPEC).folder).to_pyarrow_table()
    assert seen["flight"].to_pylist() == [7, 8, 9]
    assert seen["window"].to_pylist() == ["2013-07-01"] * 3


def test_rows_are_sorted_by_key_and_extra_columns_left_behind(project: Project) -> None:
    shuffled = flights().take([2, 0, 1]).append_column("price", pa.array([1.0, 2.0, 3.0]))
    drop(project, shuffled)
    assert freeze_snapshot(project, SPEC, DAY).rows.equals(flights())


REWRITTEN: dict[str, Callable[[pa.Table], pa.Table]] = {
    "the same again": lambda rows: rows,
    "other row order": lambda rows: rows.take([1, 2, 0]),
    "other column order": lambda rows: rows.select(rows.column_names[::-1]),
    "an extra column": lambda rows: rows.append_column("x", pa.array([1, 2, 3])),
    "wider integers": lambda rows: rows.set_column(
        2, rows.schema.field(2).with_type(pa.int64()), rows["flight"].cast(pa.int64())
    ),
}


ACCEPTING = SPEC.model_copy(
    update={"source": SPEC.source.model_copy(update={"accept": ("reordered", "widened")})}
)


@pytest.mark.parametrize("way", REWRITTEN)
def test_the_same_rows_in_another_file_change_nothing(project: Project, way: str) -> None:
    drop(project, flights())
    first = freeze_snapshot(project, ACCEPTING, DAY)
    before = versions(project), first.path.stat().st_mtime_ns
    drop(project, REWRITTEN[way](flights()), row_group_size=1, compression="none")
    again = freeze_snapshot(project, ACCEPTING, DAY)
    assert again.record.digest == first.record.digest
    assert (versions(project), again.path.stat().st_mtime_ns) == before


def test_a_changed_row_is_a_new_snapshot_in_the_place_of_the_old(project: Project) -> None:
    drop(project, flights())
    first = freeze_snapshot(project, SPEC, DAY)
    drop(project, flights(2))
    second = freeze_snapshot(project, SPEC, DAY)
    assert second.record.digest != first.record.digest
    assert snapshot_table(project, SPEC).files_of(DAY) == (second.path,)
    assert load_snapshot(project, SPEC, DAY).record.rows == 2
    assert first.path.is_file()


def test_rows_that_come_back_are_the_old_snapshot_again(project: Project) -> None:
    drop(project, flights())
    first = freeze_snapshot(project, SPEC, DAY)
    drop(project, flights(2))
    freeze_snapshot(project, SPEC, DAY)
    drop(project, flights())
    assert freeze_snapshot(project, SPEC, DAY).path == first.path
    assert load_snapshot(project, SPEC, DAY).record.digest == first.record.digest


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
def test_a_lost_or_damaged_snapshot_is_taken_again(
    project: Project, damage: Callable[[Path], None]
) -> None:
    drop(project, flights())
    first = freeze_snapshot(project, SPEC, DAY)
    damage(first.path)
    with pytest.raises(ManifestInvalid, match="run the window again"):
        load_snapshot(project, SPEC, DAY)
    freeze_snapshot(project, SPEC, DAY)
    assert load_snapshot(project, SPEC, DAY).rows.equals(flights())


def changed(name: str, values: list[object]) -> pa.Table:
    index = SCHEMA.get_field_index(name)
    return flights().set_column(index, name, pa.array(values, SCHEMA.field(index).type))


REFUSED: dict[str, tuple[pa.Table, str, str]] = {
    "a missing column": (flights().drop_columns(["carrier"]), "schema", "carrier"),
    "no rows": (flights(0), "in_window", "at least one"),
    "a null": (changed("carrier", ["UA", None, "DL"]), "contract", "carrier"),
    "a value out of bounds": (changed("distance", [187, 0, 2586]), "contract", "distance"),
    "a value not allowed": (changed("origin", ["JFK", "BOS", "LGA"]), "contract", "origin"),
    "a key twice": (pa.concat_tables([flights(), flights(1)]), "unique_key", "unique"),
    "rows of the day before": (
        flights(start=DAY.start - timedelta(microseconds=1)),
        "in_window",
        "scheduled_departure",
    ),
    "rows of the next day": (flights(start=DAY.end - timedelta(hours=2)), "in_window", "1 row"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_window_that_breaks_its_contract_is_refused_and_nothing_written(
    project: Project, fault: str
) -> None:
    rows, failed, named = REFUSED[fault]
    drop(project, rows)
    with pytest.raises(WindowRefused) as refusal:
        freeze_snapshot(project, SPEC, DAY)
    assert [check.name for check in refusal.value.checks if not check.passed] == [failed]
    assert refusal.value.message.startswith("flight_delays 2013-07-01 snapshot: ")
    assert "flights/2013-07-01.parquet" in refusal.value.next_step
    assert named in refusal.value.message
    assert not project.lake.exists()


def test_a_refused_correction_leaves_the_old_snapshot(project: Project) -> None:
    drop(project, flights())
    first = freeze_snapshot(project, SPEC, DAY)
    drop(project, flights().drop_columns(["carrier"]))
    with pytest.raises(WindowRefused):
        freeze_snapshot(project, SPEC, DAY)
    assert load_snapshot(project, SPEC, DAY).record == first.record


def test_the_first_and_the_last_instant_of_a_day_are_inside(project: Project) -> None:
    ends = [DAY.start.astimezone(UTC), DAY.end.astimezone(UTC) - timedelta(microseconds=1)]
    rows = flights(2).set_column(0, SCHEMA.field(0), pa.array(ends, SCHEMA.field(0).type))
    drop(project, rows)
    assert freeze_snapshot(project, SPEC, DAY).record.rows == 2
    assert ends[0] == datetime(2013, 7, 1, 4, tzinfo=UTC)


def test_a_file_that_has_not_landed_is_missing(project: Project) -> None:
    with pytest.raises(LandedFileMissing, match="landing/flights/2013-07-01"):
        freeze_snapshot(project, SPEC, DAY)


def test_a_window_that_was_never_frozen_is_missing(project: Project) -> None:
    drop(project, flights())
    freeze_snapshot(project, SPEC, DAY)
    with pytest.raises(WindowMissing, match="2013-07-02 of flight_delays has no snapshot"):
        load_snapshot(project, SPEC, OTHER_DAY)
