"""A model of several classes from training to performance, through Dagster's job."""

from __future__ import annotations

import json
import re
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
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from batchinf_assets.cli.compared import tell_differences
from batchinf_assets.cli.performance import tell_confusion
from batchinf_assets.errors import (
    FeatureSqlFailed,
    GoldenSetInvalid,
    InvalidSpec,
    ModelRefused,
    Refusal,
)
from batchinf_assets.evaluation.comparison.pairs import NotComparable
from batchinf_assets.evaluation.golden.golden_set import read_golden_set
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.evaluation.realised.performance_history import performance_history
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.evaluation.report.write import write_range_report, write_window_report
from batchinf_assets.evaluation.retraining import window_verdicts
from batchinf_assets.features.build import features_table
from batchinf_assets.promotion.challenger import Challenger, train_challenger
from batchinf_assets.promotion.comparison.models import ModelComparison, compare_models
from batchinf_assets.promotion.comparison.revisions import compare_revisions
from batchinf_assets.promotion.gate import judge_candidate
from batchinf_assets.promotion.promote import Decision, promote
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.visible import published_revisions
from batchinf_assets.registry.card import OutputColumn
from batchinf_assets.registry.estimator import load_estimator
from batchinf_assets.registry.trust import open_version
from batchinf_assets.scoring.frame import model_frame
from batchinf_assets.scoring.model import candidate_model
from batchinf_assets.scoring.predictions import manifests, prediction_rows, published_revision
from batchinf_assets.training.dataset import training_rows
from batchinf_assets.training.register import declared_windows, train_and_register
from batchinf_assets_tests.end_to_end.arrival_class import CLASSES, declare_classes
from batchinf_assets_tests.end_to_end.arrival_delay import Airline, found_airline

if TYPE_CHECKING:
    from batchinf_assets.manifest.document import Manifest
    from batchinf_assets.windows import Window

DAYS = ("2013-06-20", "2013-06-21")
LAST = DAYS[-1]
KEY = ["scheduled_departure", "carrier", "flight"]
GIVEN = [f"arrival_probability_{name}" for name in CLASSES]
FIGURES = {"accuracy", "macro_f1", "weighted_f1", "log_loss"}

Row = Mapping[str, Any]


@pytest.fixture(scope="module")
def airline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airline]:
    """Two windows, run by the pipeline's own job."""
    found = found_airline(tmp_path_factory.mktemp("an airline"), declare_classes)
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
    both = predicted.to_pandas().merge(landed.to_pandas(), on=KEY).dropna(subset="arrival_delay")
    delay = both["arrival_delay"]
    late = np.where(delay > 15, "late", "on_time")
    return both.assign(came=np.where(delay < -5, "early", late))


def expected(rows: pd.DataFrame) -> dict[str, float]:
    came, said, order = rows["came"].to_list(), rows["arrival"].to_list(), sorted(CLASSES)
    probabilities = rows[[f"arrival_probability_{name}" for name in order]].to_numpy()
    return {
        "accuracy": float(accuracy_score(came, said)),
        "macro_f1": float(f1_score(came, said, average="macro")),
        "weighted_f1": float(f1_score(came, said, average="weighted")),
        "log_loss": float(log_loss(came, probabilities, labels=order)),
    }


def figures(airline: Airline, window: Window, table: str) -> list[Row]:
    found = metric_table(airline.project, airline.pipeline.spec, table).read(window)
    assert found is not None
    return found.to_pylist()


def of_kind(rows: list[Row], kind: str, segment: str | None = None) -> dict[str, float]:
    return {
        row["subject"]: row["value"]
        for row in rows
        if (row["subject_kind"], row["measure"], row["segment"]) == (kind, None, segment)
    }


def confusion(rows: list[Row], segment: str | None = None) -> list[list[int]]:
    cells = {
        (row["subject"], row["measure"]): int(row["value"])
        for row in rows
        if row["subject_kind"] == "confusion" and row["segment"] == segment
    }
    return [[cells[label, said] for said in CLASSES] for label in CLASSES]


def test_the_card_names_a_probability_for_each_class(airline: Airline) -> None:
    card = airline.registered.card
    assert card.output_schema == tuple(
        OutputColumn(name=name, meaning="probability of a class") for name in GIVEN
    )
    assert (card.training.positives, card.golden.positives, card.golden.decision) == (None,) * 3
    assert set(card.golden.metrics) == FIGURES


def test_published_classes_are_the_most_probable_ones_and_verify_and_replay(
    airline: Airline, window: Window
) -> None:
    spec = airline.pipeline.spec
    rows = prediction_rows(airline.project, spec, published(airline, window)).to_pandas()
    assert list(rows.columns) == [*KEY, "arrival", "arrival_probability", *GIVEN]
    assert len(rows) > 500
    probabilities = rows[GIVEN].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1.0)
    assert rows["arrival"].to_list() == [CLASSES[at] for at in probabilities.argmax(axis=1)]
    assert rows["arrival_probability"].to_numpy().tolist() == probabilities.max(axis=1).tolist()
    assert rows["arrival"].nunique() > 1
    verified = verify_window(airline.project, airline.registry, spec, window)
    assert (verified.revision is not None, verified.problems) == (True, ())
    replayed = replay_window(airline.project, airline.registry, airline.pipeline, window)
    assert (replayed.same_rows, replayed.same_bytes) == (True, True)


def test_the_golden_set_is_measured_by_class_and_by_segment(
    airline: Airline, window: Window
) -> None:
    manifest = published(airline, window)
    assert manifest.evaluation is not None
    golden, intervals = manifest.evaluation.golden, manifest.evaluation.golden_intervals
    assert set(golden) == {"rows", *FIGURES}
    assert all(intervals[name] is not None for name in FIGURES)
    assert manifest.evaluation.estimated == {}
    assert manifest.evaluation.drift["arrival_probability"]
    rows = figures(airline, window, "evaluation")
    segments = [f"origin_airport={name}" for name in ("EWR", "JFK", "LGA")]
    assert {row["segment"] for row in rows if row["segment"]} == {*segments}
    whole = np.array(confusion(rows))
    assert whole.sum() == golden["rows"]
    assert np.trace(whole) / whole.sum() == pytest.approx(golden["accuracy"])
    assert np.sum([confusion(rows, each) for each in segments], axis=0).tolist() == whole.tolist()
    checks = {check.name: check for check in manifest.checks}
    assert checks["golden_quality"].passed
    assert str(checks["golden_set"].measured["rarer_class"]).startswith("does not apply")


def test_realised_figures_equal_scikit_learn_overall_and_by_segment(
    airline: Airline, window: Window
) -> None:
    rows, truth = figures(airline, window, "performance"), joined(airline, window)
    own = of_kind(rows, "performance")
    assert own.pop("labelled") == len(truth)
    assert own == pytest.approx(expected(truth), abs=1e-9)
    came, said = truth["came"].to_list(), truth["arrival"].to_list()
    assert confusion(rows) == confusion_matrix(came, said, labels=CLASSES).tolist()
    for airport, flights in truth.groupby("origin"):
        segment = of_kind(rows, "performance", f"origin_airport={airport}")
        assert segment == pytest.approx(expected(flights), abs=1e-9)


def test_windows_are_pooled_as_if_they_were_one(airline: Airline, window: Window) -> None:
    spec = airline.pipeline.spec
    measured = measure_performance(airline.project, spec, window)
    truth = pd.concat([joined(airline, each) for each in airline.windows(*DAYS)])
    two = next(each for each in measured.trailing if each.windows == 2)
    assert (two.measured, two.metrics.rows) == (2, len(truth))
    assert two.metrics.figures == pytest.approx(expected(truth), abs=1e-9)
    assert all(two.metrics.intervals[name] is not None for name in FIGURES)
    assert measured.check is not None
    assert measured.check.passed
    assert {each.performance for each in window_verdicts(airline.project, spec)} == {True}
    bounds = spec.performance.model_copy(update={"at_least": {"macro_f1": 0.99}})
    strict = spec.model_copy(update={"performance": bounds})
    assert {each.performance for each in window_verdicts(airline.project, strict)} == {False}


def test_the_report_shows_the_figures_and_both_confusion_matrices(
    airline: Airline, window: Window, tmp_path: Path
) -> None:
    spec = airline.pipeline.spec
    page = tmp_path / "window.html"
    write_window_report(airline.project, spec, window, published(airline, window), page=page)
    text = page.read_text(encoding="utf-8")
    for figure in expected(joined(airline, window)).values():
        assert f"{figure:.3f}" in text
    shown = shown_matrices(text)
    tables = [figures(airline, window, name) for name in ("evaluation", "performance")]
    assert shown == [confusion(rows) for rows in tables]
    for said in ("nothing is estimated for several classes", "not available for several classes"):
        assert said in text
    assert "auroc" not in text
    pages = tmp_path / "range.html"
    write_range_report(airline.project, spec, airline.windows(*DAYS), page=pages)
    whole = pages.read_text(encoding="utf-8")
    assert "realised accuracy" in whole
    assert shown_matrices(whole) == [confusion_over_days(airline)]


def test_performance_tells_where_the_rows_of_each_class_went(
    airline: Airline, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = airline.pipeline.spec
    visible = published_revisions(airline.project, spec)
    history = performance_history(airline.project, spec, airline.windows(*DAYS), visible)
    tell_confusion(history)
    told = capsys.readouterr().out
    assert "Classes of 2 windows" in told
    for name, counts in zip(CLASSES, confusion_over_days(airline), strict=True):
        (line,) = (each for each in told.splitlines() if each.startswith(f"│ {name} "))
        numbers = [int(cell.replace(",", "")) for cell in line.strip("│ ").split("│")[1:]]
        assert numbers == counts
    assert [each.confusion is not None for each in history] == [True, True]


def confusion_over_days(airline: Airline) -> list[list[int]]:
    """Of both days together, by scikit-learn."""
    rows = pd.concat([joined(airline, each) for each in airline.windows(*DAYS)])
    found = confusion_matrix(rows["came"].to_list(), rows["arrival"].to_list(), labels=CLASSES)
    return found.tolist()


@pytest.fixture(scope="module")
def challenged(airline: Airline) -> Challenger:
    """The challenger, which learned other days."""
    return train_challenger(
        airline.project,
        airline.registry,
        airline.pipeline,
        airline.key,
        lambda *_: None,
        now=datetime.now(UTC),
    )


@pytest.fixture(scope="module")
def compared(airline: Airline, challenged: Challenger) -> ModelComparison:
    """Both models on the last day; reads what is published before anybody promotes the second."""
    return compare_models(
        airline.project,
        airline.registry,
        airline.pipeline,
        airline.windows(LAST, LAST),
        "champion",
        challenged.registered.version.version,
    )


def by_both(airline: Airline, challenged: Challenger, window: Window) -> pd.DataFrame:
    """Probabilities of both models from scikit-learn, beside what was published and what came."""
    spec = airline.pipeline.spec
    features = features_table(airline.project, spec).read(window)
    assert features is not None
    frame = model_frame(features, spec.features.columns)
    parts = [features.select([*KEY, "origin_airport"]).to_pandas()]
    versions = (airline.registered.version, challenged.registered.version)
    for side, version in zip("ab", versions, strict=True):
        artifact = open_version(airline.registry, version, None)
        estimator = load_estimator(artifact.contents["model.skops"], side)
        names = [f"{side}_{name}" for name in sorted(CLASSES)]
        parts.append(pd.DataFrame(estimator.predict_proba(frame), columns=names))
    landed = pq.read_table(airline.project.landing / f"outcomes/{window.key}.parquet").to_pandas()
    rows = pd.concat(parts, axis=1).merge(landed[[*KEY, "arrival_delay"]], on=KEY, how="left")
    for side in "ab":
        probabilities = rows[[f"{side}_{name}" for name in CLASSES]].to_numpy()
        rows[side] = [CLASSES[at] for at in probabilities.argmax(axis=1)]
    delay = rows["arrival_delay"]
    came = np.where(delay < -5, "early", np.where(delay > 15, "late", "on_time"))
    moved = sum(abs(rows[f"b_{name}"] - rows[f"a_{name}"]) for name in CLASSES) / 2
    return rows.assign(came=np.where(delay.isna(), None, came), moved=moved)


def test_two_models_are_compared_by_class_by_flips_and_by_segment(
    airline: Airline, challenged: Challenger, compared: ModelComparison, window: Window
) -> None:
    rows = by_both(airline, challenged, window)
    deltas = compared.deltas
    assert (deltas.rows, deltas.mean, compared.decision) == (len(rows), None, None)
    assert deltas.mean_absolute == pytest.approx(rows["moved"].mean(), abs=1e-9)
    assert deltas.largest[0].moved == pytest.approx(rows["moved"].max(), abs=1e-9)
    for name in CLASSES:
        expected_mean = (rows[f"b_{name}"] - rows[f"a_{name}"]).mean()
        assert deltas.by_class[name].mean == pytest.approx(expected_mean, abs=1e-9)
    crossed = pd.crosstab(rows["a"], rows["b"]).reindex(
        index=CLASSES, columns=CLASSES, fill_value=0
    )
    assert compared.flips is not None
    assert compared.flips.from_to == crossed.to_dict("index")
    assert compared.flips.count == (rows["a"] != rows["b"]).sum() > 0
    known = rows.dropna(subset="came")
    assert (compared.quality.labelled, compared.quality.positives) == (len(known), None)
    assert set(compared.quality.metrics) == FIGURES
    for name, each in compared.quality.metrics.items():
        assert each.a == pytest.approx(figures_of(known, "a")[name], abs=1e-9)
        assert each.b == pytest.approx(figures_of(known, "b")[name], abs=1e-9)
        assert None not in (each.low, each.high)
    airports = {each.value: each for each in compared.segments}
    for airport, own in rows.groupby("origin_airport"):
        found, labelled = airports[str(airport)], own.dropna(subset="came")
        assert found.mean_absolute == pytest.approx(own["moved"].mean(), abs=1e-9)
        assert found.flips is not None
        assert found.flips.count == (own["a"] != own["b"]).sum()
        accuracy = found.quality.metrics["accuracy"].b
        assert accuracy == pytest.approx((labelled["b"] == labelled["came"]).mean(), abs=1e-9)
    moved = [each.mean_absolute or 0 for each in compared.segments]
    assert moved == sorted(moved, reverse=True)
    assert {each.value for each in compared.slowest} == {*airports}
    by_class = {f"arrival_probability_{name}" for name in CLASSES}
    assert {each.subject for each in compared.drift} == {"arrival_probability", *by_class}


def figures_of(rows: pd.DataFrame, side: str) -> dict[str, float]:
    named = {f"{side}_{name}": f"arrival_probability_{name}" for name in CLASSES}
    return expected(rows[["came", side, *named]].rename(columns={side: "arrival", **named}))


def test_what_is_told_of_them_names_classes_and_where_rows_went(
    compared: ModelComparison, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_differences(compared, "accuracy")
    told = capsys.readouterr().out
    assert compared.flips is not None
    assert f"{compared.flips.count} rows change their class" in told
    assert "From A (lines) to B" in told
    first = compared.deltas.largest[0]
    assert f"{first.class_a} {first.a:.4f}" in told
    document = json.loads(json.dumps(compared.as_record()))
    assert set(document["deltas"]["by_class"]) == {*CLASSES}
    assert document["flips"]["from_to"]["late"]["on_time"] >= 0


def test_a_challenger_is_compared_by_margins(airline: Airline, challenged: Challenger) -> None:
    project, registry, pipeline, found = (
        airline.project,
        airline.registry,
        airline.pipeline,
        challenged,
    )
    differences = found.comparison.differences
    assert differences is not None, found.comparison.sentence
    assert set(differences) == FIGURES
    assert all(each.low is not None for each in differences.values())
    candidate = candidate_model(registry, found.registered.version, pipeline, None)
    verdict = judge_candidate(project, registry, pipeline, candidate, alias="champion")
    clauses = {clause.name: clause for clause in verdict.clauses}
    assert {"margin_accuracy", "margin_log_loss", "canary_shift"} <= set(clauses)
    assert verdict.failed == ()


def test_a_model_of_other_classes_is_refused(airline: Airline, tmp_path: Path) -> None:
    spec = airline.pipeline.spec
    renamed = spec.prediction.model_copy(update={"classes": ("soon", "on_time", "late")})
    other = replace(airline.pipeline, spec=spec.model_copy(update={"prediction": renamed}))
    with pytest.raises(ModelRefused, match="not what is declared") as refused:
        candidate_model(airline.registry, airline.registered.version, other, None)
    assert refused.value.reason is Refusal.SCHEMA
    two = declare_classes(tmp_path, "CASE WHEN arrival_delay > 15 THEN 'late' ELSE 'early' END")
    with pytest.raises(ModelRefused, match="tells early, late apart"):
        train_and_register(
            airline.project,
            airline.registry,
            two,
            airline.key,
            lambda *_: None,
            now=datetime.now(UTC),
        )


def test_a_label_that_is_none_of_the_classes_is_named(airline: Airline, tmp_path: Path) -> None:
    pipeline = declare_classes(tmp_path, "if(arrival_delay > 0, 'behind', 'early')")
    with pytest.raises(FeatureSqlFailed, match=r"gives behind, none of prediction\.classes"):
        training_rows(airline.project, pipeline, declared_windows(pipeline), lambda *_: None)
    spec = airline.pipeline.spec
    renamed = spec.prediction.model_copy(update={"classes": ("soon", "on_time", "late")})
    with pytest.raises(GoldenSetInvalid, match="none of the declared classes: early"):
        read_golden_set(airline.project, spec.model_copy(update={"prediction": renamed}))


@pytest.mark.parametrize(
    ("prediction", "problem"),
    [
        ({"kind": "multiclass"}, "three or more different classes"),
        ({"kind": "multiclass", "classes": ["a", "b"]}, "three or more different classes"),
        ({"kind": "multiclass", "classes": ["a", "b", "a"]}, "three or more different classes"),
        ({"kind": "multiclass", "classes": ["a", "b", "On time"]}, "should match pattern"),
        ({"kind": "regression", "classes": ["a", "b", "c"]}, "the kind is regression"),
    ],
)
def test_classes_go_with_their_kind(
    tmp_path: Path, prediction: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InvalidSpec, match=problem):
        declare_classes(tmp_path, prediction={"column": "arrival", **prediction})


def test_two_revisions_differ_as_their_models_do(
    airline: Airline, challenged: Challenger, compared: ModelComparison, window: Window
) -> None:
    """The last test of the file: it promotes the challenger and publishes the window anew."""
    project, registry, pipeline = airline.project, airline.registry, airline.pipeline
    first = published(airline, window).revision
    decision = Decision(alias="champion", reason="Compared", by="tests", at=datetime.now(UTC))
    promote(project, registry, [pipeline], airline.key, challenged.registered.version, decision)
    with dg.DagsterInstance.get() as instance:
        report = airline.run(instance, [window])
    assert report.succeeded, report.failure
    second = published(airline, window).revision
    found = compare_revisions(project, registry, pipeline, window, first, second)
    assert (found.deltas, found.flips) == (compared.deltas, compared.flips)
    assert found.quality == compared.quality
    assert found.changed_alone == found.deltas.changed > 0
    assert [cause.kind for cause in found.causes] == ["model"]
    assert {each.subject for each in found.drift} == {
        *pipeline.spec.features.columns,
        "arrival_probability",
        *(f"arrival_probability_{name}" for name in CLASSES),
    }
    other = pipeline.spec.prediction.model_copy(update={"classes": ("soon", "on_time", "late")})
    renamed = replace(pipeline, spec=pipeline.spec.model_copy(update={"prediction": other}))
    with pytest.raises(NotComparable, match="no column 'arrival_probability_soon'"):
        compare_revisions(project, registry, renamed, window, first, second)


def shown_matrices(text: str) -> list[list[list[int]]]:
    """The confusion matrices of a page, in its order."""
    return [
        [
            [int(cell.replace(",", "")) for cell in re.findall(r'<td class="n">(.*?)</td>', row)]
            for row in re.findall(r"<tr>.*?</tr>", table.partition("<tbody>")[2], re.DOTALL)
        ]
        for table in re.findall(r'<table class="confusion">.*?</table>', text, re.DOTALL)
    ]
