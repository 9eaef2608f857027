"""What landed for a pattern, by window."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from batchinf_assets.snapshots.listing import identities, landed_files, landed_windows
from batchinf_assets.windows import WindowSpec


def drop(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_landed_files_are_found_by_their_windows(tmp_path: Path) -> None:
    days = WindowSpec(start=date(2013, 1, 1), end=date(2013, 2, 1))
    drop(
        tmp_path,
        "flights/2013-01-01.parquet",
        "flights/2013-01-31.parquet",
        "flights/2013-02-01.parquet",
        "flights/2012-12-31.parquet",
        "flights/today.parquet",
        "flights/.2013-01-02.parquet.17.tmp",
        "flights/2013-01-03.parquet.part",
        "flights/old/2013-01-04.parquet",
        "outcomes/2013-01-05.parquet",
    )
    assert landed_files(tmp_path, "flights/{window}.parquet", days) == {
        "2013-01-01": tmp_path / "flights/2013-01-01.parquet",
        "2013-01-31": tmp_path / "flights/2013-01-31.parquet",
    }


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{window}.parquet", "2013-01-01.parquet"),
        ("{window}/flights.parquet", "2013-01-01/flights.parquet"),
        ("day={window}/flights.parquet", "day=2013-01-01/flights.parquet"),
        ("in/{window}", "in/2013-01-01"),
    ],
)
def test_the_window_may_stand_anywhere_in_the_pattern(
    tmp_path: Path, pattern: str, name: str
) -> None:
    drop(tmp_path, name)
    days = WindowSpec(start=date(2013, 1, 1))
    assert landed_files(tmp_path, pattern, days) == {"2013-01-01": tmp_path / name}


def test_hours_are_found_with_the_colon_of_their_key(tmp_path: Path) -> None:
    hours = WindowSpec(every="hour", start=date(2013, 1, 1))
    drop(tmp_path, "2013-01-01-05:00.parquet", "2013-01-01-0500.parquet")
    assert list(landed_files(tmp_path, "{window}.parquet", hours)) == ["2013-01-01-05:00"]


def test_before_anything_landed_there_is_nothing(tmp_path: Path) -> None:
    days = WindowSpec(start=date(2013, 1, 1))
    assert landed_files(tmp_path / "absent", "flights/{window}.parquet", days) == {}


def test_a_file_that_went_after_it_was_listed_has_no_identity(tmp_path: Path) -> None:
    drop(tmp_path, "one", "two")
    files = {"a": tmp_path / "one", "b": tmp_path / "two"}
    (tmp_path / "one").unlink()
    assert list(identities(files)) == ["b"]


def test_where_there_is_no_landing_folder_nobody_knows_what_landed(tmp_path: Path) -> None:
    drop(tmp_path, "2013-01-01.parquet")
    days = WindowSpec(start=date(2013, 1, 1))
    assert landed_windows(tmp_path, "{window}.parquet", days) == {"2013-01-01"}
    assert landed_windows(tmp_path, "{window}.csv", days) == frozenset()
    assert landed_windows(tmp_path / "absent", "{window}.parquet", days) is None
