"""Reports of real days: written where they belong, from what the lake holds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.evaluation.report.write import write_range_report, write_window_report
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.project import Project
from batchinf_assets.scoring.condemnations import Condemnation, say
from batchinf_assets.scoring.model import ScoringModel
from batchinf_assets.scoring.predictions import manifests, predictions_table, published_revision
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.attempt import AttemptRecord
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.evaluation.real_days import DAYS, NOW, copied
from batchinf_assets_tests.evaluation.report.shown import Shown

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

RANGE = ("2013-06-30", "2013-07-04")


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


@pytest.fixture
def project(measured_lake: Path, world: World, tmp_path: Path) -> Project:
    return copied(measured_lake, world, tmp_path, DAYS)


def published(project: Project, spec: PipelineSpec, day: str = DAYS[-1]) -> Manifest:
    window = spec.window.window(day)
    revision = published_revision(project, spec, window)
    assert revision is not None
    return manifests(project, spec).read(window, revision)


def written(project: Project, spec: PipelineSpec, manifest: Manifest) -> Shown:
    window = spec.window.window(manifest.window.key)
    place = write_window_report(project, spec, window, manifest)
    assert isinstance(place, Path)
    return Shown(place.read_bytes())


def test_a_measured_window_shows_figures_curves_and_distributions(
    project: Project, spec: PipelineSpec
) -> None:
    manifest = published(project, spec)
    assert manifest.evaluation is not None
    shown = written(project, spec, manifest)
    assert "✓ published" in shown.text
    auroc = manifest.evaluation.golden["auroc"]
    assert f"auroc {auroc:.3f} [" in shown.text
    assert "trailing 7" in shown.text
    assert shown.tags.count("svg") == 2
    assert "Training: not known" not in shown.text
    for column in spec.features.columns:
        assert column in shown.text
    assert "not known: no curve" not in shown.text


def test_the_link_to_the_manifest_leads_there(project: Project, spec: PipelineSpec) -> None:
    manifest = published(project, spec)
    window = spec.window.window(manifest.window.key)
    place = write_window_report(project, spec, window, manifest)
    assert isinstance(place, Path)
    target = place.parent / Shown(place.read_bytes()).hrefs[0]
    assert target.resolve() == Path(str(manifests(project, spec).path(window, manifest.revision)))


def test_writing_again_gives_the_same_bytes_and_names_no_machine(
    project: Project, spec: PipelineSpec, tmp_path: Path
) -> None:
    window = spec.window.window(DAYS[-1])
    manifest = published(project, spec)
    first = write_window_report(project, spec, window, manifest)
    assert isinstance(first, Path)
    content = first.read_bytes()
    assert write_window_report(project, spec, window, manifest) == first
    assert first.read_bytes() == content
    whole = write_range_report(project, spec, spec.window.between(*RANGE))
    assert isinstance(whole, Path)
    for found in (content, whole.read_bytes()):
        assert str(tmp_path).encode() not in found
        assert str(project.root).encode() not in found


def test_a_draft_awaits_publishing_and_links_to_itself(
    scored_lake: Path, world: World, pipeline: Pipeline, champion: ScoringModel, tmp_path: Path
) -> None:
    project, spec = copied(scored_lake, world, tmp_path, ()), pipeline.spec
    window = spec.window.window(DAYS[-1])
    evaluation = evaluate_window(project, spec, window, champion)
    shown = written(project, spec, evaluation.manifest)
    assert "… not published yet Readers see nothing." in shown.text
    assert shown.hrefs[0].endswith("draft.json")
    failed = replace(evaluation.checks[0], passed=False, blocking=True)
    refused = evaluation.manifest.model_copy(update={"checks": (failed,)})
    assert "✗ refused" in written(project, spec, refused).text


def test_a_condemned_revision_says_by_whom_and_why(project: Project, spec: PipelineSpec) -> None:
    manifest, window = published(project, spec), spec.window.window(DAYS[-1])
    said = Condemnation(
        pipeline=spec.name,
        window=window.key,
        revision=manifest.revision,
        verdict="condemned",
        by="ada",
        reason="wrong weather",
        at=NOW,
    )
    predictions_table(project, spec).commit(window, [], {})
    assert "✗ withdrawn Readers see nothing." in written(project, spec, manifest).text
    say(project, spec, window, said)
    shown = written(project, spec, manifest)
    assert "✗ condemned ada condemned it" in shown.text
    assert "wrong weather" in shown.text


def test_a_range_shows_every_window_the_missing_ones_too(
    project: Project, spec: PipelineSpec
) -> None:
    page = write_range_report(project, spec, spec.window.between(*RANGE))
    assert isinstance(page, Path)
    shown = Shown(page.read_bytes())
    for day in DAYS:
        revision = published(project, spec, day).revision
        assert f"../_manifests/{day}/{revision}.json".removeprefix("../") in " ".join(shown.hrefs)
    assert shown.text.count("✗ never scored") == 2
    assert "Published 3" in shown.text
    assert "2013-07 4" in shown.text  # windows of the month
    assert "The ledger has no such attempt" in shown.text
    assert shown.tags.count("svg") == 6  # two metrics, drift by window and month, scores, labels
    for href in shown.hrefs:
        assert href.startswith("#") or (page.parent / href).is_file(), href


def test_a_range_names_attempts_that_failed_and_revisions_taken_back(
    project: Project, spec: PipelineSpec
) -> None:
    records = [
        AttemptRecord(
            pipeline=spec.name,
            window=DAYS[0],
            attempt=9,
            run_id="run",
            state=state,
            stage=stage,
            started_at=NOW,
            ended_at=NOW,
            worker="host:1",
            reason=reason,
        )
        for state, stage, reason in (
            ("refused", "snapshot", "<b>no rows</b>"),
            ("published", "published", None),
        )
    ]
    outside = replace(records[0], window="2013-08-01", attempt=1, reason="far away")
    Ledger(project.lake).append([replace(records[0], attempt=8), records[1], outside])
    page = write_range_report(project, spec, spec.window.between(*RANGE))
    assert isinstance(page, Path)
    shown = Shown(page.read_bytes())
    assert "2013-07-01 ✗ refused snapshot 2013-07-04 05:00+00:00 <b>no rows</b>" in shown.text
    assert "far away" not in shown.text
    assert shown.text.count("✗ refused") == 1


def test_a_window_that_is_damaged_says_so_and_hides_no_other(
    project: Project, spec: PipelineSpec
) -> None:
    window, manifest = spec.window.window(DAYS[0]), published(project, spec, DAYS[0])
    place = manifests(project, spec).path(window, manifest.revision)
    assert isinstance(place, Path)
    place.write_bytes(b"{}")
    page = write_range_report(project, spec, spec.window.between(*RANGE))
    assert isinstance(page, Path)
    text = Shown(page.read_bytes()).text
    assert "is no manifest" in text
    assert text.count("✓ published") == 2


def test_a_lake_of_the_first_version_is_shown_without_what_it_lacks(
    visible_lake: Path, world: World, spec: PipelineSpec, tmp_path: Path
) -> None:
    project = copied(visible_lake, world, tmp_path, ())
    for table in ("sketches", "evaluation"):
        shutil.rmtree(project.lake / spec.name / table)
    manifest = published(project, spec)
    text = written(project, spec, manifest).text
    assert "no sketch was kept" in text
    assert "Labelled not known" in text
    page = write_range_report(project, spec, spec.window.between(*RANGE))
    assert isinstance(page, Path)
    whole = Shown(page.read_bytes()).text
    assert "not known: no sketch was kept in this range" in whole
    assert "not known: no outcome was looked for" in whole
    assert "0.0%" not in whole
