"""How files land, told by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchinf_assets.errors import LandedFileMissing, UsageError
from batchinf_assets.scaffold.drop import Drop


def landed(folder: Path, *names: str) -> Drop:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Drop.around(folder / names[0], folder)


def test_a_drop_is_all_files_of_one_pattern_in_order(tmp_path: Path) -> None:
    names = ("visits/2025-05-02.parquet", "visits/2025-05-01.parquet")
    drop = landed(tmp_path, *names, "visits/notes.parquet", "other/2025-05-03.parquet")
    assert drop.pattern == "visits/{window}.parquet"
    assert list(drop.files) == ["2025-05-01", "2025-05-02"]
    assert drop.files["2025-05-01"] == tmp_path / "visits" / "2025-05-01.parquet"


@pytest.mark.parametrize(
    ("keys", "every"),
    [
        (["2025-05-01"], "day"),
        (["2025-05-01", "2025-05-02", "2025-05-09"], "day"),
        (["2025-05-01", "2025-05-08", "2025-05-22"], "week"),
        (["2025-01-31", "2025-03-31"], "day"),
        (["2025-01-01", "2025-02-01", "2025-05-01"], "month"),
        (["2025-05-01-00:15", "2025-05-01-01:15"], "hour"),
    ],
)
def test_the_names_tell_how_far_windows_lie_apart(
    tmp_path: Path, keys: list[str], every: str
) -> None:
    drop = landed(tmp_path, *(f"visits/{key}.csv" for key in keys))
    assert drop.every == every
    assert drop.starts_at == ("00:15" if every == "hour" else "00:00")
    assert list(drop.files) == keys


def test_a_window_may_be_a_folder_of_the_path(tmp_path: Path) -> None:
    drop = landed(tmp_path, "2025-05-01/visits.parquet", "2025-05-02/visits.parquet")
    assert drop.pattern == "{window}/visits.parquet"
    assert list(drop.files) == ["2025-05-01", "2025-05-02"]


@pytest.mark.parametrize(
    "name", ["visits/today.parquet", "2025-05-01/2025-05-01.parquet", "visits/2025-02-30.parquet"]
)
def test_a_path_that_names_no_window_or_two_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="does not name one window"):
        landed(tmp_path, name)


def test_a_file_elsewhere_or_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "2025-05-01.parquet").touch()
    with pytest.raises(UsageError, match="does not lie below the landing folder"):
        Drop.around(tmp_path / "landing" / ".." / "2025-05-01.parquet", tmp_path / "landing")
    with pytest.raises(LandedFileMissing, match="There is no file"):
        Drop.around(tmp_path / "landing" / "2025-05-01.parquet", tmp_path / "landing")
