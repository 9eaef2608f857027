"""Which window a stored file belongs to, and which files a write left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchinf_assets.errors import UnknownWindow
from batchinf_assets.lake.files import aside
from batchinf_assets.publishing.stored_files import (
    all_files,
    files_by_window,
    files_of_window,
    is_temporary,
    window_of,
)
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import WindowSpec

OF_ONE_WINDOW = (
    "_checkpoints/2013-07-01-0500/0123456789abcdef/00000.json",
    "_manifests/2013-07-01-0500/draft.json",
    "features/window=2013-07-01-0500/a.parquet",
    "predictions/window=2013-07-01-0500/0123456789abcdef/part-00000.parquet",
)
OF_NONE = (
    "_definitions/0.json",
    "_leases/2013-07-01-0500.json",
    "_manifests/notes.txt",
    "features/window=x/a.parquet",
    "other/window=2013-07-01-0500/a.parquet",
)


@pytest.fixture
def hourly(pipeline: Pipeline) -> PipelineSpec:
    window = WindowSpec.model_validate({"every": "hour", "start": "2013-07-01"})
    return pipeline.spec.model_copy(update={"window": window})


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_files_are_sorted_by_the_folder_of_their_window(tmp_path: Path) -> None:
    put(tmp_path, *OF_ONE_WINDOW, *OF_NONE, "features/_delta_log/00000000000000000000.json")
    found = files_by_window(tmp_path, all_files(tmp_path))
    assert found == {
        "2013-07-01-0500": [tmp_path / name for name in OF_ONE_WINDOW],
        None: [tmp_path / name for name in OF_NONE],
    }
    assert sorted(files_of_window(tmp_path, "2013-07-01-0500")) == found["2013-07-01-0500"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert list(all_files(tmp_path / "nowhere")) == []


def test_the_folder_of_an_hour_names_its_window(hourly: PipelineSpec) -> None:
    window = window_of(hourly, "2013-07-01-0500")
    assert window.key == "2013-07-01-05:00"


def test_the_folder_of_an_hour_that_comes_twice_names_the_pass(pipeline: Pipeline) -> None:
    declared = {"every": "hour", "start": "2013-01-01", "timezone": "Europe/London"}
    window = WindowSpec.model_validate(declared)
    local = pipeline.spec.model_copy(update={"window": window})
    for key in ("2013-10-27-01:00", "2013-10-27-01:00+0000"):
        assert window_of(local, window.window(key).folder_name).key == key


@pytest.mark.parametrize("name", ["2012-07-01", "2013-07-01-0500", "2013", "0"])
def test_a_folder_of_no_declared_window_is_named_as_it_is(pipeline: Pipeline, name: str) -> None:
    with pytest.raises(UnknownWindow, match=name):
        window_of(pipeline.spec, name)


@pytest.mark.parametrize(
    ("name", "left_behind"),
    [
        ("_leases/.2013-07-01.json.17-18.tmp", True),
        ("features/window=2013-07-01/.a.parquet.17.tmp", True),
        ("features/.abc_1234/_delta_log/00000000000000000000.json", True),
        ("_leases/.2013-07-01.json.lock", False),
        ("features/.abc_1234/.a.json.lock", False),
        ("features/.gitkeep", False),
        ("features/window=2013-07-01/a.parquet", False),
        ("features/window=2013-07-01/a.17.tmp", False),
    ],
)
def test_what_a_write_left_behind_is_told_by_its_name(
    tmp_path: Path, name: str, *, left_behind: bool
) -> None:
    assert is_temporary(tmp_path / name, tmp_path) is left_behind


def test_what_is_being_written_is_told_by_its_name(tmp_path: Path) -> None:
    with aside(tmp_path / "features" / "window=2013-07-01" / "a.parquet") as temporary:
        temporary.touch()
        assert is_temporary(temporary, tmp_path)
