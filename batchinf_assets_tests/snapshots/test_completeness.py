"""When what landed counts as complete."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from batchinf_assets.snapshots.completeness import is_whole
from batchinf_assets.snapshots.parts import landed_at
from batchinf_assets.spec.contract import CompleteSpec
from batchinf_assets_tests.spec.test_pipeline import toy

QUIET = CompleteSpec(quiet_for=timedelta(seconds=30))
READY, SUCCESS = CompleteSpec(marker="{file}.ready"), CompleteSpec(marker="_SUCCESS")


def drop(path: Path) -> datetime:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"rows")
    return landed_at(path)


@pytest.mark.parametrize("name", ["day.parquet", "day/*.parquet"])
def test_without_a_marker_a_file_is_complete_once_it_kept_its_bytes(
    tmp_path: Path, name: str
) -> None:
    at = drop(tmp_path / name.replace("*", "part"))
    assert not is_whole(tmp_path / name, QUIET, at + timedelta(seconds=29))
    assert is_whole(tmp_path / name, QUIET, at + timedelta(seconds=30))


def test_a_file_from_the_future_is_not_complete(tmp_path: Path) -> None:
    at = drop(tmp_path / "day.parquet")
    assert not is_whole(tmp_path / "day.parquet", QUIET, at - timedelta(days=1))


def test_where_files_are_renamed_into_their_place_clocks_do_not_matter(tmp_path: Path) -> None:
    at = drop(tmp_path / "day.parquet")
    renamed = CompleteSpec(quiet_for=timedelta(0))
    assert is_whole(tmp_path / "day.parquet", renamed, at - timedelta(days=1))


def test_a_marker_decides_whatever_the_time(tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    at = drop(path)
    assert not is_whole(path, READY, at + timedelta(days=1))
    drop(tmp_path / "day.parquet.ready")
    assert is_whole(path, READY, at)


def test_the_marker_of_an_earlier_file_says_nothing_of_the_one_that_replaces_it(
    tmp_path: Path,
) -> None:
    path, marker = tmp_path / "day.parquet", tmp_path / "day.parquet.ready"
    at = drop(path)
    drop(marker)
    while landed_at(path) <= landed_at(marker):  # until the kernel's clock ticks
        drop(path)
    assert not is_whole(path, READY, at)
    drop(marker)
    assert is_whole(path, READY, at)


def test_a_folder_is_complete_with_its_one_marker_or_with_one_for_each_file(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "day"
    at = drop(folder / "a.parquet")
    drop(folder / "b.parquet")
    assert not is_whole(folder / "*.parquet", SUCCESS, at)
    drop(folder / "_SUCCESS")
    assert is_whole(folder / "*.parquet", SUCCESS, at)
    drop(folder / "a.parquet.ready")
    assert not is_whole(folder / "*.parquet", READY, at)
    drop(folder / "b.parquet.ready")
    assert is_whole(folder / "*.parquet", READY, at)


def test_what_is_gone_is_not_complete(tmp_path: Path) -> None:
    for name in ("day.parquet", "day/*.parquet"):
        assert not is_whole(tmp_path / name, QUIET, datetime.now().astimezone())


def test_by_default_a_file_must_have_been_quiet_for_half_a_minute() -> None:
    assert toy().source.complete == QUIET


@pytest.mark.parametrize("marker", ["_SUCCESS", "done"])
def test_one_marker_for_all_windows_is_no_marker(marker: str) -> None:
    with pytest.raises(ValidationError, match="one for all windows"):
        toy(source__complete={"marker": marker})
    files = {"source__files": "in/{window}/rows.parquet"}
    assert toy(source__complete={"marker": marker}, **files).source.complete.marker == marker


def test_a_marker_that_looks_like_a_file_is_refused() -> None:
    with pytest.raises(ValidationError, match="ends like the files"):
        toy(source__complete={"marker": "{file}.parquet"})


@pytest.mark.parametrize("marker", ["../done", "a/b", ".hidden", "", "{window}.done"])
def test_a_marker_is_a_plain_name(marker: str) -> None:
    with pytest.raises(ValidationError, match=r"complete\.marker"):
        toy(source__complete={"marker": marker})
