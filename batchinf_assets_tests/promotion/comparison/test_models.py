"""Two models on the features of published windows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from batchinf_assets.cli import main
from batchinf_assets.errors import ModelUnavailable, UsageError, WindowMissing
from batchinf_assets.features.build import load_features
from batchinf_assets.project import Project
from batchinf_assets.promotion.comparison import scored_windows
from batchinf_assets.promotion.comparison.models import ModelComparison, compare_models
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.registry import Registry
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.predictions import predictions_table
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.window_run import project_at, run_window, small_pipeline

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

UNPUBLISHED, FIRST, LAST = "2013-07-03", "2013-07-04", "2013-07-05"


@pytest.fixture(scope="session")
def small() -> Pipeline:
    return small_pipeline()


@pytest.fixture(scope="session")
def two_days(rivals: World, small: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two published days beside three versions of the model; for reading only."""
    root = tmp_path_factory.mktemp("two days")
    for part in ("lake", "keys"):
        shutil.copytree(rivals.lake.parent / part, root / part)
    for folder, days in (("flights", (FIRST, LAST)), ("outcomes", (UNPUBLISHED, FIRST))):
        (root / "landing" / folder).mkdir(parents=True)
        for day in days:
            shutil.copy2(rivals.landing / folder / f"{day}.parquet", root / "landing" / folder)
    for name in ("weather.parquet", "planes.parquet"):
        shutil.copy2(rivals.landing / name, root / "landing")
    project = project_at(root, root / "landing")
    for day in (FIRST, LAST):
        run_window(project, small, small.spec.window.window(day), day)
    return project


@pytest.fixture(scope="session")
def windows(small: Pipeline) -> list[Window]:
    return small.spec.window.between(UNPUBLISHED, LAST)


@pytest.fixture(scope="session")
def found(two_days: Project, small: Pipeline, windows: list[Window]) -> ModelComparison:
    return compare_models(two_days, Registry.at(two_days, {}), small, windows, "champion", "2")


def published_scores(project: Project, pipeline: Pipeline, day: str) -> pa.ChunkedArray:
    table = predictions_table(project, pipeline.spec)
    files = table.files_of(pipeline.spec.window.window(day))
    rows = pa.concat_tables(pq.read_table(file, partitioning=None) for file in files)
    return rows.sort_by([(name, "ascending") for name in pipeline.spec.source.key]).column(
        pipeline.spec.prediction.column
    )


def reference_scores(project: Project, pipeline: Pipeline, version: str, day: str) -> np.ndarray:
    """Score a day by scikit-learn itself."""
    registry = Registry.at(project, {})
    artifact = open_version(registry, registry.version("flight_delays", version), None)
    estimator = load_estimator(artifact.contents["model.skops"], "It")
    features = load_features(project, pipeline.spec, pipeline.spec.window.window(day)).rows
    return estimator.predict_proba(model_frame(features, pipeline.spec.features.columns))[:, 1]


def test_the_champion_scores_what_it_published_and_the_other_what_it_learned(
    two_days: Project, small: Pipeline, found: ModelComparison
) -> None:
    days = (FIRST, LAST)
    a = np.concatenate([published_scores(two_days, small, day).to_numpy() for day in days])
    b = np.concatenate([reference_scores(two_days, small, "2", day) for day in days])
    at = small.spec.golden.decision
    assert found.deltas.rows == len(a) == len(b)
    assert found.deltas.mean_a == pytest.approx(a.mean(), abs=1e-12)
    assert found.deltas.mean_b == pytest.approx(b.mean(), abs=1e-12)
    assert found.deltas.mean_absolute == pytest.approx(np.abs(b - a).mean(), abs=1e-12)
    assert found.flips.count == np.count_nonzero((a >= at) != (b >= at))
    largest = [abs(row.b - row.a) for row in found.deltas.largest]
    assert largest == pytest.approx(sorted(np.abs(b - a), reverse=True)[:10], abs=1e-12)


def test_windows_are_told_one_by_one_and_unpublished_ones_named(
    found: ModelComparison,
) -> None:
    assert [window.window for window in found.windows] == [FIRST, LAST]
    assert sum(window.rows for window in found.windows) == found.deltas.rows
    assert sum(window.flips.count for window in found.windows) == found.flips.count
    assert found.left_out == {UNPUBLISHED: "Nothing is published."}


def test_quality_counts_the_windows_whose_outcomes_have_landed(found: ModelComparison) -> None:
    first = found.windows[0]
    assert found.quality.state == "measured"
    assert 0 < found.quality.labelled <= first.rows
    assert {segment.column for segment in found.segments} == {"carrier_code", "origin_airport"}
    assert [each.subject for each in found.drift] == ["delay_probability"]


def test_both_models_are_timed_on_the_rows_of_each_segment(found: ModelComparison) -> None:
    timed = {(each.column, each.value) for each in found.slowest}
    assert timed == {(each.column, each.value) for each in found.segments}
    assert all(each.a > 0 and each.b > 0 for each in found.slowest)


def test_the_sides_are_named_as_asked_and_as_found(found: ModelComparison) -> None:
    assert (found.a.asked, found.a.version) == ("champion", "1")
    assert (found.b.asked, found.b.version) == ("2", "2")
    assert found.a.digest != found.b.digest


def test_a_model_does_not_differ_from_itself(
    two_days: Project, small: Pipeline, windows: list[Window]
) -> None:
    found = compare_models(two_days, Registry.at(two_days, {}), small, windows, "champion", "1")
    assert (found.deltas.changed, found.flips.count, found.drift[0].psi) == (0, 0, 0)
    assert found.deltas.largest == ()
    assert {each.difference for each in found.quality.metrics.values()} == {0.0}


def test_nothing_is_written_and_progress_is_told_window_by_window(
    two_days: Project, small: Pipeline, windows: list[Window]
) -> None:
    def state() -> dict[Path, int]:
        files = Path(str(two_days.lake)).rglob("*")
        return {path: path.stat().st_mtime_ns for path in files}

    before, told = state(), list[tuple[int, int]]()
    registry = Registry.at(two_days, {})
    compare_models(two_days, registry, small, windows, "1", "3", lambda *done: told.append(done))
    assert state() == before
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_without_a_published_window_there_is_nothing_to_compare(
    two_days: Project, small: Pipeline, windows: list[Window]
) -> None:
    with pytest.raises(WindowMissing, match=r"No window .* Nothing is published"):
        compare_models(two_days, Registry.at(two_days, {}), small, windows[:1], "1", "2")


@pytest.mark.parametrize("asked", ["9", "nobody"])
def test_a_model_that_is_not_registered_is_named(
    two_days: Project, small: Pipeline, windows: list[Window], asked: str
) -> None:
    with pytest.raises(ModelUnavailable, match=asked):
        compare_models(two_days, Registry.at(two_days, {}), small, windows, "1", asked)


def test_more_rows_than_are_held_are_refused(
    two_days: Project,
    small: Pipeline,
    windows: list[Window],
    found: ModelComparison,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scored_windows, "MOST_SCORES", 2 * found.deltas.rows - 1)
    with pytest.raises(UsageError, match=f"up to {LAST} hold"):
        compare_models(two_days, Registry.at(two_days, {}), small, windows, "1", "2")


def test_a_window_whose_features_are_damaged_hides_no_other(
    two_days: Project, small: Pipeline, windows: list[Window], tmp_path: Path
) -> None:
    shutil.copytree(Path(str(two_days.lake)), tmp_path / "lake")
    own = replace(two_days, lake=tmp_path / "lake")
    (tmp_path / "lake" / "flight_delays" / "features" / f"window={FIRST}").rename(tmp_path / "gone")
    found = compare_models(own, Registry.at(own, {}), small, windows, "1", "2")
    assert [window.window for window in found.windows] == [LAST]
    assert "cannot be read back" in found.left_out[FIRST]
    assert found.quality.state == "no outcomes yet"


def test_the_command_shows_both_models(
    two_days: Project, found: ModelComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    batchinf = _command(two_days, monkeypatch)
    span = ("--model", "champion", "--model", "2", "--from", UNPUBLISHED, "--to", LAST)
    told = batchinf(*span)
    assert told.exit_code == 0, told.output
    assert "A: flight_delays v1 (champion)" in told.stdout
    assert f"Left out {UNPUBLISHED}: Nothing is published." in told.stdout
    assert "Slowest segments, 10 of " in told.stdout
    document = json.loads(batchinf(*span, "--json").stdout)
    assert document["flips"]["count"] == found.flips.count
    assert document["left_out"] == {UNPUBLISHED: "Nothing is published."}
    assert batchinf(*span[:4], "--from", LAST, "--to", FIRST).exit_code == 2
    same = batchinf("--model", "champion", "--model", "1", "--from", FIRST, "--to", FIRST).stdout
    assert "A and B are the same model." in same
    assert f"The scores of all {found.windows[0].rows:,} rows are the same." in same
    assert "Most changed" not in same
    assert "mean difference" not in same.partition("rows are the same")[2]


def _command(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("BATCHINF_LAKE", str(project.lake))
    monkeypatch.setenv("BATCHINF_KEYS", str(project.keys))
    monkeypatch.setenv("BATCHINF_LANDING", str(project.landing))
    return lambda *arguments: CliRunner().invoke(main, ["compare", "flight_delays", *arguments])
