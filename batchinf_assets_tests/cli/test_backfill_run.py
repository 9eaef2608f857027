"""`backfill run` of a kept plan, in chunks, and handed to the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import Result

from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.load import Pipeline

FIRST, SECOND, THIRD = "2013-07-01", "2013-07-02", "2013-07-03"
RANGE = ("--from", FIRST, "--to", THIRD)

Run = Callable[..., Result]
Told = Callable[..., str]
Refused = Callable[..., str]


@pytest.fixture
def plan(fine: Told, tmp_path: Path) -> Path:
    """The plan of three days that never ran, one window a run."""
    kept = tmp_path / "plan.json"
    kept.write_text(fine("backfill", "plan", "flight_delays", *RANGE, "--chunk", "2", "--json"))
    return kept


def flights(project: Project, day: str) -> Path:
    return project.landing / "flights" / f"{day}.parquet"


def published(project: Project, pipeline: Pipeline) -> list[str]:
    return sorted(predictions_table(project, pipeline.spec).files())


def test_a_plan_tells_the_runs_that_it_will_be_cut_into(fine: Told, plan: Path) -> None:
    assert json.loads(plan.read_text())["runs"] == [
        {"from": FIRST, "to": SECOND, "windows": 2},
        {"from": THIRD, "to": THIRD, "windows": 1},
    ]
    told = fine("backfill", "plan", "flight_delays", *RANGE, "--chunk", "2")
    assert "unknown time, in 2 runs.\n" in told


def test_a_kept_plan_is_run_as_it_was_made_and_only_once(
    fine: Told, refused: Refused, project: Project, pipeline: Pipeline, plan: Path
) -> None:
    ran = json.loads(fine("backfill", "run", "flight_delays", "--plan", str(plan), "--json"))
    assert [run["done"] for run in ran["runs"]] == [[FIRST, SECOND], [THIRD]]
    assert published(project, pipeline) == [FIRST, SECOND, THIRD]
    told = refused("backfill", "run", "flight_delays", "--plan", str(plan), code=2)
    assert f"another one would be made now, because {FIRST}, {SECOND}, {THIRD} changed" in told


def land_other_bytes(project: Project) -> str:
    path = flights(project, SECOND)
    pq.write_table(pq.read_table(path), path, compression="gzip")
    return f"because {SECOND} changed"


def land_another_reference(project: Project) -> str:
    path = project.landing / "weather.parquet"
    pq.write_table(pq.read_table(path), path, compression="gzip")
    return "because model, references or code changed"


@pytest.mark.parametrize("change", [land_other_bytes, land_another_reference])
def test_a_plan_is_refused_once_the_world_is_another(
    refused: Refused,
    project: Project,
    pipeline: Pipeline,
    plan: Path,
    change: Callable[[Project], str],
) -> None:
    sentence = change(project)
    told = refused("backfill", "run", "flight_delays", "--plan", str(plan), code=2)
    assert sentence in told
    assert "Make the plan again" in told
    assert published(project, pipeline) == []


def test_a_window_outside_the_range_of_a_plan_changes_nothing_of_it(
    fine: Told, project: Project, pipeline: Pipeline, plan: Path
) -> None:
    flights(project, "2013-07-05").unlink()
    fine("backfill", "run", "flight_delays", "--plan", str(plan))
    assert published(project, pipeline) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("", "is no plan"),
        ("[]", "is no plan"),
        ('{"pipeline": "flight_delays"}', "is no plan: first: Field required"),
    ],
)
def test_what_is_no_plan_is_wrong_use(
    refused: Refused, tmp_path: Path, content: str | None, sentence: str
) -> None:
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    told = refused("backfill", "run", "flight_delays", "--plan", str(path), code=2)
    assert sentence in told
    assert "Make one: `batchinf backfill plan flight_delays --json > FILE`." in told


def test_the_plan_of_another_pipeline_is_wrong_use(refused: Refused, plan: Path) -> None:
    other = json.loads(plan.read_text()) | {"pipeline": "departures"}
    plan.write_text(json.dumps(other))
    told = refused("backfill", "run", "flight_delays", "--plan", str(plan), code=2)
    assert "is a plan of departures" in told


@pytest.mark.parametrize("also", [["--stale"], ["--from", FIRST], ["--to", FIRST]])
def test_a_plan_stands_alone(refused: Refused, plan: Path, also: list[str]) -> None:
    told = refused("backfill", "run", "flight_delays", "--plan", str(plan), *also, code=2)
    assert "--plan stands alone: the range is the plan's." in told


def test_nothing_is_handed_to_a_daemon_that_nobody_has_heard_of(refused: Refused) -> None:
    told = refused("backfill", "run", "flight_delays", *RANGE, "--launch", code=2)
    assert "No daemon of this Dagster instance has shown for two minutes that it runs." in told


def test_a_launched_backfill_has_the_declared_runs(refused: Refused) -> None:
    command = ("backfill", "run", "flight_delays", *RANGE, "--launch", "--chunk", "2")
    assert "into runs of 92 windows, as `backfill.chunk` declares" in refused(*command, code=2)
