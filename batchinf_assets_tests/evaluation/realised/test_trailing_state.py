"""Trailing figures are stale once what they were made of has changed, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.evaluation.realised.measured import followed_up
from batchinf_assets.evaluation.realised.performance_history import performance_history
from batchinf_assets.evaluation.realised.trailing_state import trailing_states
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.evaluation.report.write import write_range_report, write_window_report
from batchinf_assets.lake.files import read_footer
from batchinf_assets.project import Project
from batchinf_assets.publishing.visible import published_revisions
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.evaluation.real_days import DAYS, copied
from batchinf_assets_tests.evaluation.report.shown import Shown

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

FIRST, SECOND, LAST = DAYS


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


@pytest.fixture
def project(measured_lake: Path, world: World, tmp_path: Path) -> Project:
    return copied(measured_lake, world, tmp_path, DAYS)


def measure(project: Project, spec: PipelineSpec, day: str) -> None:
    measure_performance(project, spec, spec.window.window(day))


def correct(project: Project, day: str) -> None:
    """Land the outcomes of a day without their first flight."""
    path = project.landing / f"outcomes/{day}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)


def shown(project: Project, spec: PipelineSpec, day: str) -> tuple[str, str]:
    """What the pages of a day and of the range say."""
    window = spec.window.window(day)
    revision = published_revisions(project, spec)[day]
    manifest = manifests(project, spec).read(window, revision)
    pages = (
        write_window_report(project, spec, window, manifest),
        write_range_report(project, spec, spec.window.between(FIRST, LAST)),
    )
    own, whole = (Shown(Path(str(page)).read_bytes()).text for page in pages)
    return own, whole


def test_figures_that_were_measured_in_order_are_current(
    project: Project, spec: PipelineSpec
) -> None:
    assert trailing_states(project, spec) == dict.fromkeys(DAYS, "current")
    assert all("stale" not in page for page in shown(project, spec, LAST))


def test_a_corrected_window_makes_those_after_it_stale_until_they_are_measured_again(
    project: Project, spec: PipelineSpec
) -> None:
    correct(project, SECOND)
    assert set(trailing_states(project, spec).values()) == {"current"}  # nobody measured it yet
    measure(project, spec, SECOND)
    assert trailing_states(project, spec) == {FIRST: "current", SECOND: "current", LAST: "stale"}
    published = published_revisions(project, spec)
    windows = [spec.window.window(day) for day in DAYS]
    history = performance_history(project, spec, windows, published)
    assert [each.trailing_state for each in history] == ["current", "current", "stale"]
    own, whole = shown(project, spec, LAST)
    assert "Figures over several windows are stale: windows before were measured anew" in own
    assert f"stale in 1 of 4 windows, as windows before were measured anew since: {LAST}." in whole

    before = history[-1].trailing["trailing_7"]["auroc"].value
    measure(project, spec, LAST)
    assert set(trailing_states(project, spec).values()) == {"current"}
    (again,) = performance_history(project, spec, windows[-1:], published)
    assert again.trailing["trailing_7"]["auroc"].value != before


def test_the_same_outcomes_measured_again_make_nothing_stale(
    project: Project, spec: PipelineSpec
) -> None:
    measure(project, spec, FIRST)
    assert set(trailing_states(project, spec).values()) == {"current"}


def test_a_window_beyond_those_looked_back_on_changes_nothing(
    project: Project, spec: PipelineSpec
) -> None:
    performance = spec.performance.model_copy(update={"trailing": (2,)})
    two = spec.model_copy(update={"performance": performance})
    for day in DAYS:
        measure(project, two, day)
    correct(project, FIRST)
    measure(project, two, FIRST)
    assert trailing_states(project, two) == {FIRST: "current", SECOND: "stale", LAST: "current"}
    # More windows are declared: figures over so many were never made.
    assert trailing_states(project, spec)[LAST] == "stale"


def test_putting_on_record_what_followed_keeps_what_the_figures_were_made_of(
    project: Project, spec: PipelineSpec
) -> None:
    strict = spec.performance.model_copy(update={"at_least": {"auroc": 0.99}})
    judged, window = spec.model_copy(update={"performance": strict}), spec.window.window(LAST)
    measure(project, judged, LAST)
    (failed,) = metric_table(project, spec, "performance").files_of(window)
    assert not read_footer(failed)["followed_up"]
    followed_up(project, judged, window)
    (done,) = metric_table(project, spec, "performance").files_of(window)
    assert read_footer(done)["followed_up"]
    assert trailing_states(project, judged)[LAST] == "current"


def test_of_figures_that_do_not_say_what_they_were_made_of_it_is_not_known(
    project: Project, spec: PipelineSpec
) -> None:
    table, window = metric_table(project, spec, "performance"), spec.window.window(LAST)
    (file,) = table.files_of(window)
    rows = table.read(window)
    assert rows is not None
    table.keep_figures(window, rows, read_footer(file), token=table.token_of(window))
    assert LAST not in trailing_states(project, spec)
    published = published_revisions(project, spec)
    (found,) = performance_history(project, spec, [window], published)
    assert found.trailing_state == "not known"
