"""When a challenger is due, as a table; and what the stored verdicts of real windows say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from batchinf_assets.evaluation.records.figure_records import METRIC_SCHEMA
from batchinf_assets.evaluation.records.metric_tables import MetricTable, metric_table
from batchinf_assets.evaluation.retraining import (
    LOOKBACK,
    WindowVerdict,
    retraining_due,
    window_verdicts,
)
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.files import FileRecord
from batchinf_assets.manifest.inputs import FeaturesRecord, SnapshotRecord, WindowRecord
from batchinf_assets.manifest.judgement import EvaluationRecord
from batchinf_assets.manifest.means import CodeRecord, ModelRecord, SettingsRecord
from batchinf_assets.manifest.work import CountsRecord
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.scoring.predictions import manifests
from batchinf_assets.spec.evaluation import PerformanceSpec, RetrainingSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec

NOW = datetime(2013, 8, 1, 12, tzinfo=UTC)
DAY = "2013-07-02"
DRIFT = {"M": "major", "m": "moderate", "s": "stable", "i": "insufficient data", "n": "not judged"}
PERFORMANCE = {"x": False, "o": True, ".": None}


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    declared = RetrainingSpec(drift_windows=3, performance_windows=2, cooldown=timedelta(days=14))
    bounds = PerformanceSpec(at_least={"auroc": 0.6}, min_labelled=100)
    return pipeline.spec.model_copy(update={"retraining": declared, "performance": bounds})


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty lake; nothing here is scored."""
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


def history(drift: str, performance: str = "") -> list[WindowVerdict]:
    """The windows before 2013-07-20, the newest first, one letter each."""
    newest = datetime(2013, 7, 19, tzinfo=UTC)
    return [
        WindowVerdict(
            window=f"{newest - timedelta(days=index):%Y-%m-%d}",
            drift=DRIFT.get(verdict),
            performance=PERFORMANCE[performance.ljust(len(drift), ".")[index]],
        )
        for index, verdict in enumerate(drift)
    ]


def reason(spec: PipelineSpec, drift: str, performance: str = "") -> str | None:
    due = retraining_due(history(drift, performance), spec, None, NOW)
    return due.reason if due else None


@pytest.mark.parametrize(
    "drift", ["", "MM", "sMMMM", "mMMMM", "MMsM", "MMmM", "MiMs", "iiiii", "nnnnn", "-----"]
)
def test_drift_that_does_not_last_asks_for_nothing(spec: PipelineSpec, drift: str) -> None:
    assert reason(spec, drift) is None


@pytest.mark.parametrize("drift", ["MMM", "MMMs", "MMMM", "MMMsMM"])
def test_drift_that_lasts_asks_for_a_challenger(spec: PipelineSpec, drift: str) -> None:
    assert reason(spec, drift) is not None


def test_the_reason_names_the_windows_and_how_many_there_are(spec: PipelineSpec) -> None:
    due = retraining_due(history("MMMMs"), spec, None, NOW)
    assert due is not None
    assert due.windows == ("2013-07-19", "2013-07-18", "2013-07-17", "2013-07-16")
    assert due.reason == (
        "4 windows in a row, 2013-07-16 to 2013-07-19, with major drift against training."
    )


def against(spec: PipelineSpec, *references: str) -> PipelineSpec:
    """The same, with other references declared."""
    drift = spec.drift.model_copy(update={"references": references})
    return spec.model_copy(update={"drift": drift})


def test_the_reason_names_the_reference(spec: PipelineSpec) -> None:
    found = reason(against(spec, "season", "previous"), "MMM")
    assert found is not None
    assert "with major drift against season" in found


@pytest.mark.parametrize(
    ("references", "verdicts", "expected"),
    [
        (("training", "previous"), {"training": "major", "previous": "insufficient data"}, "major"),
        (("previous", "training"), {"training": "stable", "previous": "major"}, "stable"),
        (
            ("training", "previous"),
            {"training": "stable", "previous": "insufficient data"},
            "stable",
        ),
        (("previous", "season"), {"previous": "moderate", "season": "major"}, "moderate"),
        (("season",), {"training": "major"}, "not judged"),
    ],
)
def test_one_reference_decides_whatever_the_others_say(
    project: Project,
    spec: PipelineSpec,
    references: tuple[str, ...],
    verdicts: dict[str, str],
    expected: str,
) -> None:
    by_reference = {
        name: {"x": verdict, "y": "not judged", "z": "insufficient data"}
        for name, verdict in verdicts.items()
    }
    keep(project, spec, DAY, drift="major", by_reference=by_reference)
    (found,) = window_verdicts(project, against(spec, *references))
    assert found.drift == expected


def test_windows_without_enough_data_neither_count_nor_break_the_row(spec: PipelineSpec) -> None:
    assert reason(spec, "iMi-MnMiis") == (
        "3 windows in a row, 2013-07-13 to 2013-07-18, with major drift against training; "
        "4 without enough data do not count."
    )


def test_performance_below_its_bounds_asks_for_a_challenger_once_it_is_known(
    spec: PipelineSpec,
) -> None:
    assert reason(spec, "ssss", "..xo") is None
    assert reason(spec, "ssss", "..xx") == (
        "2 windows in a row, 2013-07-16 to 2013-07-17, with performance below its bounds; "
        "2 without enough data do not count."
    )


def test_both_reasons_are_told(spec: PipelineSpec) -> None:
    found = reason(spec, "MMM", "xx")
    assert found is not None
    assert found.count("windows in a row") == 2


def test_one_window_is_enough_where_one_is_declared(spec: PipelineSpec) -> None:
    declared = RetrainingSpec(drift_windows=1)
    own = spec.model_copy(update={"retraining": declared})
    assert reason(own, "Ms") == "1 window, 2013-07-19, with major drift against training."


def test_nothing_is_due_before_the_cool_down_is_over(spec: PipelineSpec) -> None:
    last = NOW - timedelta(days=14)
    assert retraining_due(history("MMM"), spec, last + timedelta(seconds=1), NOW) is None
    assert retraining_due(history("MMM"), spec, last, NOW) is not None


def test_without_a_declaration_nothing_is_ever_due(spec: PipelineSpec) -> None:
    own = spec.model_copy(update={"retraining": None})
    assert reason(own, "MMMMMMMM", "xxxxxxxx") is None


def manifest_of(
    spec: PipelineSpec, key: str, model: str, record: EvaluationRecord | None
) -> Manifest:
    window, zeros = spec.window.window(key), "0" * 64
    landed = FileRecord(path=f"flights/{key}.parquet", sha256=zeros, bytes=1)
    return Manifest(
        pipeline=spec.name,
        owner=spec.owner,
        window=WindowRecord(key=key, start=window.start, end=window.end),
        revision=key.replace("-", "").rjust(16, "0"),
        snapshot=SnapshotRecord(digest=zeros, rows=0, source=landed),
        features=FeaturesRecord(
            digest=zeros, rows=0, definition=zeros, row_group_rows=1, references=(), absent=()
        ),
        model=ModelRecord(
            name=spec.model.name,
            version=model,
            alias="champion",
            digest=model.rjust(64, "0"),
            scorer="trees/1",
        ),
        code=CodeRecord(version="1", source=zeros, python="3.11", libraries={}),
        settings=SettingsRecord(prediction_column="p", shard_rows=1, postprocess=zeros),
        counts=CountsRecord(rows_in=0, scored=0, quarantined=0),
        outputs=(),
        checks=(),
        evaluation=record,
        run_id="run",
        scored_at=NOW,
    )


def keep(
    project: Project,
    spec: PipelineSpec,
    key: str,
    *,
    drift: str | None = "major",
    model: str = "1",
    by_reference: dict[str, dict[str, str]] | None = None,
) -> Manifest:
    """Leave what evaluation leaves of a window: a draft with its verdict, and a row."""
    record = None
    if drift is not None:
        record = EvaluationRecord(
            golden={}, psi={}, drift_verdict=drift, drift_by_reference=by_reference or {}
        )
    window, manifest = spec.window.window(key), manifest_of(spec, key, model, record)
    manifests(project, spec).write_draft(window, manifest)
    row: dict[str, object] = {"revision": manifest.revision, "subject": "auroc", "value": 0.7}
    keep_figures(project, spec, key, "evaluation", [row])
    return manifest


def keep_figures(
    project: Project, spec: PipelineSpec, key: str, name: str, rows: list[dict[str, object]]
) -> None:
    filled = [{"subject_kind": name, "rows": 1000, **row} for row in rows]
    table = pa.Table.from_pylist(filled, schema=METRIC_SCHEMA)
    metric_table(project, spec, name).keep_figures(spec.window.window(key), table, {})


def realised(
    project: Project,
    spec: PipelineSpec,
    revision: str,
    auroc: tuple[float | None, float | None, float | None],
    *,
    labelled: int = 100,
    rows: int = 120,
    positives: int = 30,
) -> bool | None:
    """The verdict on a window with this figure, beside others that must not count."""
    value, low, high = auroc
    found: list[dict[str, object]] = [
        {"subject": "labelled", "value": float(labelled), "rows": rows},
        {"subject": "positives", "value": float(positives)},
        {"subject": "auroc", "value": value, "low": low, "high": high},
        {"subject": "auroc", "measure": "trailing_7", "value": 0.61},
        {"subject": "auroc", "segment": "carrier=AA", "value": 0.01},
        {"subject": "auroc", "subject_kind": "estimate", "value": 0.01},
    ]
    own = [{"revision": revision, **row} for row in found]
    keep_figures(project, spec, DAY, "performance", own)
    (verdict,) = window_verdicts(project, spec)
    return verdict.performance


def test_where_nothing_was_evaluated_there_is_no_history(
    project: Project, spec: PipelineSpec
) -> None:
    assert window_verdicts(project, spec) == []


def test_the_history_is_read_from_what_evaluation_kept_the_newest_first(
    project: Project, spec: PipelineSpec
) -> None:
    for key, drift in (("2013-07-01", "stable"), ("2013-07-03", None), ("2013-07-02", "major")):
        keep(project, spec, key, drift=drift)
    assert window_verdicts(project, spec) == [
        WindowVerdict(window="2013-07-03", drift=None, performance=None),
        WindowVerdict(window="2013-07-02", drift="major", performance=None),
        WindowVerdict(window="2013-07-01", drift="stable", performance=None),
    ]


def test_what_an_earlier_model_did_is_no_reason_to_train_again(
    project: Project, spec: PipelineSpec
) -> None:
    for day, model in ((1, "1"), (2, "2"), (3, "1"), (4, "2"), (5, "2")):
        keep(project, spec, f"2013-07-{day:02}", model=model)
    assert [v.window for v in window_verdicts(project, spec)] == ["2013-07-05", "2013-07-04"]


@pytest.mark.parametrize(
    ("auroc", "verdict"),
    [
        ((0.6, 0.5, 0.7), True),
        ((0.59, 0.5, 0.6), True),  # in doubt
        ((0.59, 0.5, 0.599), False),
        ((0.59, None, None), None),
        ((0.61, None, None), True),
        ((None, None, None), False),  # of both classes there are enough
    ],
)
def test_a_realised_metric_fails_where_its_whole_interval_is_out_of_bounds(
    project: Project,
    spec: PipelineSpec,
    auroc: tuple[float | None, float | None, float | None],
    verdict: bool | None,
) -> None:
    revision = keep(project, spec, DAY).revision
    assert realised(project, spec, revision, auroc) is verdict


def test_a_loss_fails_where_its_whole_interval_is_above_its_bound(
    project: Project, spec: PipelineSpec
) -> None:
    bounds = PerformanceSpec(at_most={"brier": 0.2}, min_labelled=10)
    own = spec.model_copy(update={"performance": bounds})
    revision = keep(project, own, DAY).revision
    for low, verdict in ((0.19, True), (0.201, False)):
        rows: list[dict[str, object]] = [
            {"revision": revision, "subject": "labelled", "value": 10.0, "rows": 20},
            {"revision": revision, "subject": "brier", "value": 0.25, "low": low, "high": 0.3},
        ]
        keep_figures(project, own, DAY, "performance", rows)
        (found,) = window_verdicts(project, own)
        assert found.performance is verdict


def test_few_labels_and_another_revision_say_nothing_of_performance(
    project: Project, spec: PipelineSpec
) -> None:
    revision, bad = keep(project, spec, DAY).revision, (0.5, 0.4, 0.55)
    assert realised(project, spec, revision, bad) is False
    assert realised(project, spec, revision, bad, labelled=99) is None
    assert realised(project, spec, revision, bad, rows=201) is None  # less than half of them
    assert realised(project, spec, revision, bad, positives=9) is None
    assert realised(project, spec, "0" * 16, bad) is None


def test_without_bounds_performance_says_nothing(project: Project, spec: PipelineSpec) -> None:
    own = spec.model_copy(update={"performance": PerformanceSpec()})
    revision = keep(project, own, DAY).revision
    assert realised(project, own, revision, (0.1, 0.1, 0.1), labelled=10_000) is None


def test_a_window_that_is_no_longer_declared_is_left_out(
    project: Project, spec: PipelineSpec
) -> None:
    for key in ("2013-07-01", "2013-07-02"):
        keep(project, spec, key)
    shorter = spec.window.model_copy(update={"end": datetime(2013, 7, 2, tzinfo=UTC).date()})
    own = spec.model_copy(update={"window": shorter})
    assert [v.window for v in window_verdicts(project, own)] == ["2013-07-01"]


def test_the_logs_of_the_tables_are_read_once_however_many_windows_there_are(
    project: Project, spec: PipelineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 4):
        revision = keep(project, spec, f"2013-07-{day:02}").revision
        rows: list[dict[str, object]] = [{"revision": revision, "subject": "labelled"}]
        keep_figures(project, spec, f"2013-07-{day:02}", "performance", rows)
    read: list[str] = []
    files = MetricTable.files

    def counted(table: MetricTable) -> dict[str, tuple[Place, ...]]:
        read.append(table.name)
        return files(table)

    monkeypatch.setattr(MetricTable, "files", counted)
    assert len(window_verdicts(project, spec)) == 3
    assert sorted(read) == ["evaluation", "performance"]


def test_windows_are_read_only_so_far_back(
    project: Project, spec: PipelineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LOOKBACK == 100
    monkeypatch.setattr("batchinf_assets.evaluation.retraining.LOOKBACK", 2)
    for day in range(1, 5):
        keep(project, spec, f"2013-07-{day:02}")
    assert len(window_verdicts(project, spec)) == 2
