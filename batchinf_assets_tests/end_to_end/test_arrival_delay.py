"""A regression from training to performance, through Dagster's job, on real flights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.metrics import (
    mean_absolute_error,
    mean_pinball_loss,
    r2_score,
    root_mean_squared_error,
)

from batchinf_assets.errors import InvalidSpec, ModelRefused, Refusal
from batchinf_assets.evaluation.realised.labelled_scores import read_labelled_scores
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.evaluation.report.write import write_range_report, write_window_report
from batchinf_assets.evaluation.retraining import window_verdicts
from batchinf_assets.promotion.challenger import train_challenger
from batchinf_assets.promotion.comparison.models import compare_models
from batchinf_assets.promotion.gate import judge_candidate
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.registry.card import OutputColumn
from batchinf_assets.scoring.model import candidate_model
from batchinf_assets.scoring.predictions import manifests, prediction_rows, published_revision
from batchinf_assets.training.dataset import training_rows
from batchinf_assets.training.register import declared_windows, register_model
from batchinf_assets.training.train import train_model
from batchinf_assets_tests.end_to_end.arrival_delay import Airline, found_airline

if TYPE_CHECKING:
    from batchinf_assets.manifest.document import Manifest
    from batchinf_assets.windows import Window

DAYS = ("2013-06-18", "2013-06-21")
LAST = DAYS[-1]
KEY = ["scheduled_departure", "carrier", "flight"]

Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def airline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airline]:
    """Four windows, run by the pipeline's own job."""
    found = found_airline(tmp_path_factory.mktemp("an airline"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(found.project.dagster_home))
        patch.setenv("BATCHINF_LAKE", str(found.project.lake))
        patch.setenv("BATCHINF_KEYS", str(found.project.keys))
        with dg.DagsterInstance.get() as instance:
            report = found.run(instance, found.windows(*DAYS))
        assert report.succeeded, report.failure
        assert report.done == [window.key for window in found.windows(*DAYS)]
        yield found


@pytest.fixture
def window(airline: Airline) -> Window:
    return airline.pipeline.spec.window.window(LAST)


def published(airline: Airline, window: Window) -> Manifest:
    revision = published_revision(airline.project, airline.pipeline.spec, window)
    assert revision is not None
    return manifests(airline.project, airline.pipeline.spec).read(window, revision)


def joined(airline: Airline, window: Window) -> pd.DataFrame:
    """Published predictions beside what came, put together by pandas."""
    predicted = prediction_rows(airline.project, airline.pipeline.spec, published(airline, window))
    landed = pq.read_table(airline.project.landing / f"outcomes/{window.key}.parquet")
    both = predicted.to_pandas().merge(landed.to_pandas(), on=KEY)
    return both.dropna(subset="arrival_delay")


def expected(rows: pd.DataFrame) -> dict[str, float]:
    y, p = rows["arrival_delay"], rows["arrival_delay_minutes"]
    return {
        "mae": mean_absolute_error(y, p),
        "rmse": root_mean_squared_error(y, p),
        "r_squared": r2_score(y, p),
        "quantile_loss": mean_pinball_loss(y, p, alpha=0.8),
        "bias": float(np.mean(p - y)),
    }


def figures(airline: Airline, window: Window, table: str) -> list[Row]:
    found = metric_table(airline.project, airline.pipeline.spec, table).read(window)
    assert found is not None
    return found.to_pylist()


def by_subject(rows: list[Row], kind: str, **about: str | None) -> dict[str, float]:
    wanted = {"measure": None, "segment": None, **about}
    return {
        row["subject"]: row["value"]
        for row in rows
        if row["subject_kind"] == kind and all(row[name] == own for name, own in wanted.items())
    }


def test_a_trained_regressor_says_so_in_its_card_and_scores_by_a_fast_scorer(
    airline: Airline,
) -> None:
    card = airline.registered.card
    assert card.output_schema == (
        OutputColumn(name="arrival_delay_minutes", meaning="predicted number"),
    )
    assert (card.training.positives, card.golden.positives, card.golden.decision) == (None,) * 3
    assert set(card.golden.metrics) == {"mae", "rmse", "r_squared", "quantile_loss", "bias"}
    fast = next(record for record in card.parity if record.scorer.startswith("trees/"))
    assert (fast.verdict, fast.label_flips) == ("passed", None)


def test_published_numbers_verify_and_replay(airline: Airline, window: Window) -> None:
    spec = airline.pipeline.spec
    verified = verify_window(airline.project, airline.registry, spec, window)
    assert (verified.revision is not None, verified.problems) == (True, ())
    replayed = replay_window(airline.project, airline.registry, airline.pipeline, window)
    assert (replayed.same_rows, replayed.same_bytes) == (True, True)
    rows = prediction_rows(airline.project, spec, published(airline, window))
    assert rows.schema.field("arrival_delay_minutes").type == "double"
    assert rows.num_rows > 500


def test_the_golden_set_is_measured_as_a_regression_by_segment_too(
    airline: Airline, window: Window
) -> None:
    manifest = published(airline, window)
    assert manifest.evaluation is not None
    golden = manifest.evaluation.golden
    assert set(golden) == {"rows", "mae", "rmse", "r_squared", "quantile_loss", "bias"}
    assert manifest.evaluation.golden_intervals["mae"] is not None
    assert manifest.evaluation.estimated == {}
    assert manifest.evaluation.drift["arrival_delay_minutes"]
    rows = figures(airline, window, "evaluation")
    segments = {row["segment"] for row in rows if row["segment"]}
    assert segments == {f"origin_airport={name}" for name in ("EWR", "JFK", "LGA")}
    weighted = sum(
        row["value"] * row["rows"] for row in rows if row["segment"] and row["subject"] == "mae"
    )
    assert weighted / golden["rows"] == pytest.approx(golden["mae"])  # pyright: ignore
    curve = [row for row in rows if row["subject_kind"] == "calibration"]
    assert {row["measure"] for row in curve} == {"mean_score", "mean_label"}
    assert sum(row["rows"] for row in curve if row["measure"] == "mean_label") == golden["rows"]


def test_class_balance_does_not_apply_and_is_said_to(airline: Airline, window: Window) -> None:
    checks = {check.name: check for check in published(airline, window).checks}
    assert checks["golden_set"].passed, checks["golden_set"].violations
    assert str(checks["golden_set"].measured["rarer_class"]).startswith("does not apply")
    assert checks["golden_quality"].passed


def test_realised_errors_equal_scikit_learn_overall_and_by_segment(
    airline: Airline, window: Window
) -> None:
    rows, truth = figures(airline, window, "performance"), joined(airline, window)
    own = by_subject(rows, "performance")
    assert own.pop("labelled") == len(truth)
    assert own == pytest.approx(expected(truth), abs=1e-9)
    for airport, flights in truth.groupby("origin"):
        segment = by_subject(rows, "performance", segment=f"origin_airport={airport}")
        assert segment == pytest.approx(expected(flights), abs=1e-9)
    assert len({row["segment"] for row in rows if row["segment"]}) == 7  # quartiles of distance


def test_windows_are_pooled_as_if_they_were_one(airline: Airline, window: Window) -> None:
    measured = measure_performance(airline.project, airline.pipeline.spec, window)
    truth = pd.concat([joined(airline, each) for each in airline.windows(*DAYS)])
    four = next(each for each in measured.trailing if each.windows == 4)
    assert (four.measured, four.metrics.rows) == (4, len(truth))
    assert four.metrics.figures == pytest.approx(expected(truth), abs=1e-9)
    interval = four.metrics.intervals["mae"]
    assert interval is not None
    assert interval.low < four.metrics.figures["mae"] < interval.high  # pyright: ignore
    trend = measured.trends["bias"]
    assert trend is not None
    assert trend.direction("bias") in ("rising", "falling", "steady")
    assert measured.check is not None
    assert measured.check.passed


def test_a_broken_bound_condemns_and_counts_for_retraining(
    airline: Airline, window: Window
) -> None:
    spec = airline.pipeline.spec
    strict = spec.performance.model_copy(update={"at_most": {"mae": 1.0}})
    spec = spec.model_copy(update={"performance": strict})
    measured = measure_performance(airline.project, spec, window)
    assert measured.own_check is not None
    (violation, *_) = measured.own_check.violations
    assert violation.rule == "mae at most 1 over this window"
    assert {each.performance for each in window_verdicts(airline.project, spec)} == {False}
    assert {
        each.performance for each in window_verdicts(airline.project, airline.pipeline.spec)
    } == {True}


def test_predicted_is_kept_against_realised_in_deciles(airline: Airline, window: Window) -> None:
    (kept,) = read_labelled_scores(airline.project, airline.pipeline.spec, [window])
    truth = joined(airline, window)
    assert sum(each.rows for each in kept.kept.curve) == len(truth)
    total = sum(each.rows * each.mean_label for each in kept.kept.curve)
    assert total == pytest.approx(truth["arrival_delay"].sum())
    assert [each.mean_score for each in kept.kept.curve] == sorted(
        each.mean_score for each in kept.kept.curve
    )


def test_the_report_shows_the_errors_and_that_nothing_is_estimated(
    airline: Airline, window: Window, tmp_path: Path
) -> None:
    spec = airline.pipeline.spec
    page = tmp_path / "window.html"
    write_window_report(airline.project, spec, window, published(airline, window), page=page)
    text = page.read_text(encoding="utf-8")
    for figure in expected(joined(airline, window)).values():
        assert f"{figure:.3f}" in text
    for said in ("not available", "quantile loss", "predicted"):
        assert said in text
    assert "auroc" not in text
    assert "share of positives" not in text
    pages = tmp_path / "range.html"
    write_range_report(airline.project, spec, airline.windows(*DAYS), page=pages)
    text = pages.read_text(encoding="utf-8")
    assert "realised mae" in text
    pooled = expected(pd.concat([joined(airline, each) for each in airline.windows(*DAYS)]))
    assert f"{pooled['rmse']:.3f}" in text


def test_a_challenger_is_compared_by_errors_and_by_shift_in_standard_deviations(
    airline: Airline,
) -> None:
    project, registry, pipeline = airline.project, airline.registry, airline.pipeline
    found = train_challenger(
        project, registry, pipeline, airline.key, lambda *_: None, now=datetime.now(UTC)
    )
    differences = found.comparison.differences
    assert differences is not None, found.comparison.sentence
    assert set(differences) == {"mae", "rmse", "r_squared", "quantile_loss", "bias"}
    assert all(each.low is not None for each in differences.values())
    candidate = candidate_model(registry, found.registered.version, pipeline, None)
    verdict = judge_candidate(project, registry, pipeline, candidate, alias="champion")
    clauses = {clause.name: clause for clause in verdict.clauses}
    assert {"margin_r_squared", "margin_mae", "canary_shift"} <= set(clauses)
    assert "canary_flips" not in clauses
    assert "standard deviations" in clauses["canary_shift"].sentence
    report = verdict.canary
    assert report is not None
    assert report.champion_deviation is not None
    assert clauses["canary_shift"].measured["deviations"] == pytest.approx(
        abs(report.mean_shift or 0) / report.champion_deviation
    )
    compared = compare_models(project, registry, pipeline, airline.windows(LAST, LAST), "1", "2")
    assert (compared.flips, compared.decision, compared.quality.positives) == (None, None, None)
    own = expected(joined(airline, pipeline.spec.window.window(LAST)))
    assert compared.quality.metrics["mae"].a == pytest.approx(own["mae"], abs=1e-9)


@pytest.mark.parametrize("script", [DummyClassifier, DummyRegressor])
def test_a_model_of_the_other_kind_is_refused(airline: Airline, script: type[Any]) -> None:
    pipeline = airline.pipeline
    if script is DummyRegressor:  # a regressor where a classifier is declared
        spec = pipeline.spec
        binary = spec.prediction.model_copy(update={"kind": "binary"})
        pipeline = replace(pipeline, spec=spec.model_copy(update={"prediction": binary}))
    train = f"""
from sklearn.dummy import {script.__name__}
def train(features, labels):
    return {script.__name__}().fit(features, labels)
"""
    labelled = training_rows(
        airline.project, airline.pipeline, declared_windows(airline.pipeline), lambda *_: None
    )
    path = pipeline.training_script
    kept = path.read_text(encoding="utf-8")
    try:
        path.write_text(train, encoding="utf-8")
        with pytest.raises(InvalidSpec, match=f"returned {script.__name__}, no fitted"):
            train_model(pipeline, labelled)
    finally:
        path.write_text(kept, encoding="utf-8")


def test_a_classifier_in_a_file_is_refused_for_a_regression(airline: Airline) -> None:
    windows = declared_windows(airline.pipeline)
    labelled = training_rows(airline.project, airline.pipeline, windows, lambda *_: None)
    late = labelled.rows.column("label").to_numpy() >= 15
    frame = np.zeros((len(late), len(airline.pipeline.spec.features.columns)))
    data = skops.io.dumps(DummyClassifier().fit(frame, late))
    with pytest.raises(ModelRefused) as refused:
        register_model(
            airline.project,
            airline.registry,
            airline.pipeline,
            airline.key,
            data,
            windows,
            labelled,
            now=datetime.now(UTC),
        )
    assert refused.value.reason is Refusal.SCHEMA
    assert "a regressor gives one number per row" in str(refused.value)
