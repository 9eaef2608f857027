"""`scaffold`: a pipeline drafted from landed flights, which loads and says what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from batchinf_assets.cli import scaffold
from batchinf_assets.features.lineage import column_lineage
from batchinf_assets.project import Project
from batchinf_assets.spec.load import load_pipeline

Run = Callable[..., Result]
Told = Callable[..., str]
Refused = Callable[..., str]

KEY = ("--key", "scheduled_departure,carrier,flight", "--time", "scheduled_departure")
SAID = (
    "--label",
    "arrival_delay >= 15",
    "--owner",
    "a@b.example",
    "--timezone",
    "America/New_York",
)


@pytest.fixture
def defs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pipelines are declared."""
    folder = tmp_path / "package" / "defs"
    folder.mkdir(parents=True)
    monkeypatch.setattr(scaffold, "DEFS_FOLDER", folder)
    return folder


@pytest.fixture
def files(project: Project) -> tuple[str, ...]:
    """A landed file, and the outcomes of the same day."""
    landing = Path(str(project.landing))
    source, outcomes = (landing / drop / "2013-07-01.parquet" for drop in ("flights", "outcomes"))
    return (str(source), "--outcomes", str(outcomes))


def test_the_draft_loads_and_declares_what_its_sql_gives(
    fine: Told, defs: Path, files: tuple[str, ...]
) -> None:
    told = fine("scaffold", "late", *files, *SAID, *KEY)
    drafted = load_pipeline("late", defs)
    assert set(column_lineage(drafted)) == set(drafted.spec.feature_table)
    assert drafted.spec.source.files == "flights/{window}.parquet"
    assert drafted.spec.outcomes is not None
    assert drafted.spec.outcomes.label == "arrival_delay >= 15"
    assert str(drafted.spec.window.start) == "2013-06-01"
    assert f"Wrote {defs / 'late' / 'train.py'}." in told
    assert "golden draw late --from 2013-06-27 --to 2013-07-07 --rows 500" in told
    assert list(defs.parent.iterdir()) == [defs]


def test_json_names_the_files_and_the_next_steps(
    fine: Told, defs: Path, files: tuple[str, ...]
) -> None:
    told = json.loads(fine("scaffold", "late", *files, *SAID, *KEY, "--json"))
    assert told["files"] == [str(path) for path in sorted((defs / "late").iterdir())]
    assert told["next"][-1] == "batchinf run late 2013-07-07"


@pytest.mark.parametrize("name", ["../late", "Late", "", "late delays"])
def test_what_is_no_name_touches_nothing(
    refused: Refused, defs: Path, files: tuple[str, ...], name: str
) -> None:
    assert "is no name of a pipeline" in refused("scaffold", name, *files, *SAID, *KEY, code=2)
    assert list(defs.parent.rglob("*")) == [defs]


def test_what_is_declared_stays(refused: Refused, defs: Path, files: tuple[str, ...]) -> None:
    (defs / "late").mkdir()
    assert "There is a folder late" in refused("scaffold", "late", *files, *SAID, *KEY, code=2)
    assert list((defs / "late").iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--label", "arival_delay >= 15"), "arival_delay"),
        (("--owner", "nobody"), "owner"),
        (("--timezone", "Mars/Olympus"), "time zone"),
        (("--key", "tail_number"), "tail_number"),
    ],
    ids=["label", "owner", "zone", "key"],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    batchinf: Run, defs: Path, files: tuple[str, ...], wrong: tuple[str, ...], says: str
) -> None:
    result = batchinf("scaffold", "late", *files, *SAID, *KEY, *wrong)
    assert result.exit_code != 0
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(defs.parent.rglob("*")) == [defs]


def test_a_landing_on_s3_is_refused(
    refused: Refused, files: tuple[str, ...], defs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHINF_LANDING", "s3://bucket/landing")
    assert "BATCHINF_LANDING is on S3" in refused("scaffold", "late", *files, *SAID, code=2)
    assert list(defs.iterdir()) == []
