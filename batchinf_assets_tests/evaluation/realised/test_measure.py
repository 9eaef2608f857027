"""Realised performance of real days, alone and together: equal to scikit-learn on the same rows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from batchinf_assets.errors import Fenced, LostRace, WindowMissing
from batchinf_assets.evaluation.realised import measure
from batchinf_assets.evaluation.realised.labelled_scores import (
    labelled_scores_table,
    read_labelled_scores,
)
from batchinf_assets.evaluation.realised.measure import Realised, measure_performance
from batchinf_assets.evaluation.realised.measured import (
    Measured,
    followed_up,
    measured,
    measured_outcomes,
)
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.features.labels import landed_outcomes
from batchinf_assets.lake.digest import file_sha256
from batchinf_assets.lake.files import write_parquet
from batchinf_assets.project import Project
from batchinf_assets.scoring.predictions import (
    manifests,
    prediction_rows,
    predictions_table,
    published_revision,
)
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window
from batchinf_assets_tests.evaluation.real_days import DAYS, copied
from batchinf_assets_tests.side_by_side import Awaiting

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

LAST = DAYS[-1]


@pytest.fixture
def project(visible_lake: Path, world: World, tmp_path: Path) -> Project:
    return copied(visible_lake, world, tmp_path, DAYS)


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


@pytest.fixture
def window(spec: PipelineSpec) -> Window:
    return spec.window.window(LAST)


def judged(spec: PipelineSpec, **changes: object) -> PipelineSpec:
    performance = spec.performance.model_copy(update=changes)
    return spec.model_copy(update={"performance": performance})


def labelled(project: Project, spec: PipelineSpec, *days: str) -> pd.DataFrame:
    """Scores and outcomes of these days, joined by pandas."""
    parts = []
    for day in days:
        window = spec.window.window(day)
        revision = published_revision(project, spec, window)
        assert revision is not None
        scores = prediction_rows(project, spec, manifests(project, spec).read(window, revision))
        landed = pq.read_table(project.landing / f"outcomes/{day}.parquet").to_pandas()
        joined = scores.to_pandas().merge(landed, on=list(spec.source.key))
        parts.append(joined.dropna(subset="arrival_delay"))
    rows = pd.concat(parts)
    return rows.assign(late=rows["arrival_delay"] >= 15)


def figures(project: Project, spec: PipelineSpec, window: Window) -> list[dict]:
    rows = metric_table(project, spec, "performance").read(window)
    assert rows is not None
    return rows.to_pylist()


def measure_all(project: Project, spec: PipelineSpec) -> Realised:
    """Measure the days in order and return the last."""
    *_, last = [measure_performance(project, spec, spec.window.window(day)) for day in DAYS]
    return last


def test_realised_performance_equals_that_of_scikit_learn(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    found = measure_performance(project, spec, window).performance
    rows = labelled(project, spec, LAST)
    assert (found.state, found.rows, found.labelled) == ("measured", 737, len(rows))
    assert 700 < len(rows) < 737
    assert found.metrics is not None
    assert found.metrics.positives == rows["late"].sum()
    expected = roc_auc_score(rows["late"], rows["delay_probability"])
    assert found.metrics.auroc == pytest.approx(expected, abs=1e-9, rel=0)
    interval = found.metrics.intervals["auroc"]
    assert interval is not None
    assert interval.low < expected < interval.high


def test_trailing_windows_are_measured_as_if_they_were_one(
    project: Project, spec: PipelineSpec
) -> None:
    found = measure_all(project, judged(spec, trailing=(2, 28)))
    two, month = found.trailing
    assert (two.windows, two.measured) == (2, 1)  # the third of July was never run
    assert (month.windows, month.measured) == (28, 3)
    rows = labelled(project, spec, *DAYS)
    late, scores = rows["late"], rows["delay_probability"]
    assert (month.metrics.rows, month.metrics.positives) == (len(rows), late.sum())
    assert month.metrics.auroc == pytest.approx(roc_auc_score(late, scores), abs=1e-9)
    assert month.metrics.brier == pytest.approx(brier_score_loss(late, scores), abs=1e-9)
    expected = average_precision_score(late, scores)
    assert month.metrics.average_precision == pytest.approx(expected, abs=1e-9)
    assert found.performance.metrics is not None
    assert two.metrics == found.performance.metrics
    inner, outer = month.metrics.intervals["auroc"], two.metrics.intervals["auroc"]
    assert inner is not None
    assert outer is not None
    assert inner.high - inner.low < outer.high - outer.low


def test_the_trend_goes_through_the_windows_own_figures(
    project: Project, spec: PipelineSpec
) -> None:
    found = measure_all(project, spec)
    trend = found.trends["brier"]
    assert trend is not None
    assert trend.windows == 3
    briers, weights = [], []
    for day in DAYS:
        rows = labelled(project, spec, day)
        briers.append(brier_score_loss(rows["late"], rows["delay_probability"]))
        weights.append(len(rows))
    slope, _ = np.polyfit([0, 1, 3], briers, 1, w=np.sqrt(weights))
    assert trend.slope == pytest.approx(slope, abs=1e-12)


def test_a_window_measured_beside_it_counts_among_the_trailing_ones(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    beside = Awaiting(
        lambda: [measure_performance(project, spec, spec.window.window(day)) for day in DAYS[:-1]]
    )
    found = measure_performance(project, spec, window, order=beside)
    assert found.trailing[-1].measured == len(DAYS)
    assert beside.heard == ["later", "earlier"]


def test_a_window_that_may_be_taken_back_counts_for_no_later_one_before_that(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    beside = Awaiting(lambda: None)
    strict = judged(spec, at_least={"auroc": 0.99})
    assert measure_performance(project, strict, window, order=beside).failed
    assert beside.heard == ["earlier"]


def test_a_window_that_readers_no_longer_see_is_not_in_the_trailing_ones(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    assert measure_all(project, spec).trailing[-1].measured == 3
    predictions_table(project, spec).commit(spec.window.window(DAYS[0]), [], {})
    again = measure_performance(project, spec, window)
    assert again.trailing[-1].measured == 2
    rows = labelled(project, spec, *DAYS[1:])
    assert again.trailing[-1].metrics.rows == len(rows)


def test_the_delay_of_labels_the_estimate_and_the_trend_are_rows(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    found = measure_all(project, spec)
    rows = figures(project, spec, window)
    delay = found.performance.delay
    assert delay is not None
    known = labelled(project, spec, LAST)["recorded_at"]
    hours = (known - window.end).dt.total_seconds()
    assert delay.median == hours.quantile(0.5, interpolation="lower")
    shown = {row["measure"]: row["value"] for row in rows if row["subject"] == "label_delay"}
    assert shown == {"median": delay.median, "percentile_95": delay.percentile_95}
    (estimate,) = [
        row["value"]
        for row in rows
        if row["subject_kind"] == "estimate" and row["subject"] == "auroc"
    ]
    by_measure = {
        row["measure"]: row["value"]
        for row in rows
        if row["subject_kind"] == "performance" and row["subject"] == "auroc"
    }
    assert set(by_measure) == {None, "trailing_7", "trailing_28", "trend", "minus_estimate"}
    assert by_measure["minus_estimate"] == by_measure[None] - estimate
    assert estimate == found.estimated["auroc"]


def test_segments_are_those_of_the_scored_rows(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    found = measure_performance(project, judged(spec, segments=("origin_airport",)), window)
    assert {each.value for each in found.performance.segments} == {"EWR", "JFK", "LGA"}
    rows = labelled(project, spec, LAST)
    kennedy = rows[rows["origin"] == "JFK"]
    (segment,) = [each for each in found.performance.segments if each.value == "JFK"]
    assert (segment.metrics.rows, segment.metrics.positives) == (len(kennedy), kennedy.late.sum())


def test_performance_is_a_state_until_outcomes_land_and_measured_once_they_do(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    path = project.landing / f"outcomes/{LAST}.parquet"
    landed = path.rename(path.with_suffix(".later"))
    assert measured_outcomes(project, spec, window) is None
    waiting = measure_performance(project, spec, window)
    assert waiting.performance.state == "no outcomes yet"
    assert (waiting.trailing, waiting.check) == ((), None)
    assert measured_outcomes(project, spec, window) is None
    rows = figures(project, spec, window)
    assert [row["verdict"] for row in rows if row["subject"] == "labelled"] == ["no outcomes yet"]
    assert {row["revision"] for row in rows} == {waiting.manifest.revision}  # pyright: ignore
    landed.rename(path)
    assert measure_performance(project, spec, window).performance.state == "measured"
    assert measured_outcomes(project, spec, window) == file_sha256(path)
    rows = figures(project, spec, window)
    assert {row["subject"] for row in rows} > {"labelled", "auroc", "brier"}


def test_measuring_again_changes_nothing(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    first = measure_performance(project, spec, window)
    before = metric_table(project, spec, "performance").files()
    assert measure_performance(project, spec, window) == first
    assert metric_table(project, spec, "performance").files() == before


def test_corrected_outcomes_are_measured_again(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    measure_performance(project, spec, window)
    path = project.landing / f"outcomes/{LAST}.parquet"
    rows = pq.read_table(path)
    on_time = pa.array(np.zeros(rows.num_rows), pa.float64())
    index = rows.column_names.index("arrival_delay")
    pq.write_table(rows.set_column(index, "arrival_delay", on_time), path)
    second = measure_performance(project, spec, window)
    found = second.performance
    assert found.metrics is not None
    assert (found.labelled, found.metrics.positives, found.metrics.auroc) == (737, 0, None)
    assert second.trailing[0].metrics.positives == 0
    assert measured_outcomes(project, spec, window) == file_sha256(path)


def test_a_broken_bound_fails_the_check_of_the_window_and_of_those_before(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    found = measure_performance(project, judged(spec, at_least={"auroc": 0.9}), window)
    assert found.check is not None
    assert found.own_check is not None
    assert (found.check.name, found.check.asset) == ("performance", "performance")
    assert not found.check.passed
    assert not found.check.blocking
    rules = [violation.rule for violation in found.check.violations]
    assert rules == [
        "auroc at least 0.9 over this window",
        "auroc at least 0.9 over the last 7 windows",
        "auroc at least 0.9 over the last 28 windows",
    ]
    assert [violation.rule for violation in found.own_check.violations] == rules[:1]


def test_without_declared_bounds_there_is_no_check(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    assert (spec.performance.at_least, spec.performance.at_most) == ({}, {})
    found = measure_performance(project, spec, window)
    assert (found.check, found.own_check) == (None, None)


def test_a_withdrawn_window_is_a_state_and_keeps_what_was_measured(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    measure_performance(project, spec, window)
    before = figures(project, spec, window)
    predictions_table(project, spec).commit(window, [], {})
    found = measure_performance(project, spec, window)
    assert (found.manifest, found.performance.state) == (None, "withdrawn")
    assert figures(project, spec, window) == before


def test_a_window_that_was_never_published_cannot_be_measured(
    project: Project, spec: PipelineSpec
) -> None:
    with pytest.raises(WindowMissing, match="2013-07-05 of flight_delays is not published"):
        measure_performance(project, spec, spec.window.window("2013-07-05"))


def test_the_revision_that_readers_see_counts_as_measured_and_no_other(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    found = measure_performance(project, spec, window)
    assert found.manifest is not None
    table = predictions_table(project, spec)
    first = table.files_of(window)[0]
    rows = prediction_rows(project, spec, found.manifest)
    other = write_parquet(first.parent.with_name("f" * 16) / first.name, rows, {"shard": 0})
    table.commit(window, [other], {})
    assert measured_outcomes(project, spec, window) is None
    kept = measured(project, spec, window)
    assert kept is not None
    assert kept.revision == found.manifest.revision


def test_of_a_revision_that_is_replaced_meanwhile_nothing_is_kept(
    project: Project, spec: PipelineSpec, window: Window, monkeypatch: pytest.MonkeyPatch
) -> None:
    def withdrawn_meanwhile(*read: Any) -> Any:
        predictions_table(project, spec).commit(window, [], {})
        return landed_outcomes(*read)

    monkeypatch.setattr(measure, "landed_outcomes", withdrawn_meanwhile)
    with pytest.raises(LostRace, match="readers see nothing by now"):
        measure_performance(project, spec, window)
    assert metric_table(project, spec, "performance").files() == {}
    assert labelled_scores_table(project, spec).files() == {}


@pytest.mark.parametrize("kept", ["keep_labelled_scores", "keep_measured"])
def test_figures_of_before_an_attempt_replace_none_of_after_it(
    project: Project,
    spec: PipelineSpec,
    window: Window,
    kept: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = getattr(measure, kept)

    def after_a_newer_one(*given: Any, **named: Any) -> Any:
        monkeypatch.undo()
        predictions_table(project, spec).fence(window, 7)
        outcomes = project.landing / f"outcomes/{LAST}.parquet"
        pq.write_table(pq.read_table(outcomes).slice(9), outcomes)
        measure_performance(project, spec, window)
        return keep(*given, **named)

    monkeypatch.setattr(measure, kept, after_a_newer_one)
    with pytest.raises(Fenced):
        measure_performance(project, spec, window)
    sha256 = file_sha256(project.landing / f"outcomes/{LAST}.parquet")
    assert measured_outcomes(project, spec, window) == sha256
    (scores,) = read_labelled_scores(project, spec, [window])
    assert scores.measured.outcomes == sha256


def test_failed_figures_wait_until_what_follows_from_them_was_done(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    def kept() -> Measured:
        found = measured(project, spec, window)
        assert found is not None
        return found

    strict = judged(spec, at_least={"auroc": 0.9})
    assert measure_performance(project, strict, window).failed
    assert not kept().followed_up
    before = figures(project, spec, window)
    followed_up(project, spec, window)
    assert kept().followed_up
    assert figures(project, spec, window) == before
    files = metric_table(project, spec, "performance").files()
    followed_up(project, spec, window)
    assert metric_table(project, spec, "performance").files() == files
    assert measure_performance(project, strict, window).failed  # a rerun does it all again
    assert not kept().followed_up
    assert not measure_performance(project, spec, window).failed
    assert kept().followed_up


def test_labels_that_cannot_become_more_are_known_for_good(
    project: Project, spec: PipelineSpec, window: Window
) -> None:
    assert measure_performance(project, spec, window).known_after == timedelta.max
    path = project.landing / f"outcomes/{LAST}.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    newest = labelled(project, spec, LAST)["recorded_at"].max() - window.end
    assert measure_performance(project, spec, window).known_after == newest.to_pytimedelta()
