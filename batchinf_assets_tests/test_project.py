"""Where a project keeps things."""

from pathlib import Path

import pytest

from batchinf_assets.errors import UsageError
from batchinf_assets.lake.s3 import S3Place
from batchinf_assets.lake.s3_access import S3Access
from batchinf_assets.project import CHECKOUT, Project

ROOT = Path("/checkout")


def test_everything_lies_below_data_by_default() -> None:
    project = Project.here({}, ROOT)
    assert project == Project(
        root=ROOT,
        lake=ROOT / "data/lake",
        landing=ROOT / "data/landing",
        dagster_home=ROOT / "data/dagster",
        keys=ROOT / "data/keys",
    )


def test_the_checkout_holds_the_package() -> None:
    assert (Project.here({}).root / "batchinf_assets" / "project.py").is_file()
    assert CHECKOUT.is_absolute()


def test_relative_folders_count_from_the_checkout_wherever_the_command_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project = Project.here(
        {
            "BATCHINF_LAKE": "a lake",
            "BATCHINF_LANDING": "in",
            "DAGSTER_HOME": "home",
            "BATCHINF_KEYS": "my keys",
        },
        ROOT,
    )
    assert (project.lake, project.landing, project.dagster_home, project.keys) == (
        ROOT / "a lake",
        ROOT / "in",
        ROOT / "home",
        ROOT / "my keys",
    )


def test_absolute_folders_are_taken_as_they_are() -> None:
    project = Project.here({"BATCHINF_LAKE": "/lakes/one", "DAGSTER_HOME": "/home/d"}, ROOT)
    assert (project.lake, project.dagster_home) == (Path("/lakes/one"), Path("/home/d"))
    assert project.landing == ROOT / "data/landing"


def test_keys_lie_outside_the_lake_so_that_who_writes_models_cannot_change_them() -> None:
    project = Project.here({"BATCHINF_LAKE": "/lakes/one"}, ROOT)
    assert not project.keys.is_relative_to(project.lake)
    assert Project.here({"BATCHINF_KEYS": "/vault"}, ROOT).keys == Path("/vault")


@pytest.mark.parametrize("url", ["gs://bucket/lake", "file:///lake", "s3://"])
def test_a_lake_that_this_version_cannot_write_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Project.here({"BATCHINF_LAKE": url}, ROOT)
    assert url in refusal.value.message
    assert "BATCHINF_LAKE" in refusal.value.next_step


def test_a_lake_may_be_on_s3() -> None:
    environ = {"BATCHINF_LAKE": "s3://lakes/one", "AWS_ENDPOINT_URL": "http://127.0.0.1:5000"}
    project = Project.here(environ, ROOT)
    access = S3Access(endpoint="http://127.0.0.1:5000")
    assert project.lake == S3Place(bucket="lakes", key="one", access=access)
    assert project.shown(project.lake / "flights") == "s3://lakes/one/flights"
    assert project.landing == ROOT / "data/landing"
    assert not project.keys.is_relative_to(str(project.lake))


def test_paths_inside_the_checkout_are_shown_from_there() -> None:
    project = Project.here({}, ROOT)
    assert project.shown(project.landing / "flights") == "data/landing/flights"
    assert project.shown(Path("/elsewhere/x")) == "/elsewhere/x"
