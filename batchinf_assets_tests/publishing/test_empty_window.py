"""A window whose file landed without rows: by declaration a revision of nothing, or refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.attempts import attempting
from batchinf_assets.checks import blocking_failures
from batchinf_assets.errors import WindowRefused
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.evaluation.report.range_reading import read_range
from batchinf_assets.features.build import build_features
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.score_changes import keep_score_changes, score_changes_table
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.visible import published_revisions, visible_revision
from batchinf_assets.scoring.score import score_window
from batchinf_assets.snapshots.freeze import freeze_snapshot
from batchinf_assets.snapshots.source import source_contract
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.publishing.desk import NOW, Desk, Held

if TYPE_CHECKING:
    from batchinf_assets.manifest.document import Manifest
    from batchinf_assets_tests.conftest import World

ROWS = 737


def declaring(desk: Desk, **source: object) -> Desk:
    document = desk.spec.model_dump(mode="json")
    document["source"] |= source
    spec = PipelineSpec.model_validate(document)
    return replace(desk, pipeline=Pipeline(spec, desk.pipeline.folder))


def nothing(rows: pa.Table) -> pa.Table:
    return rows.slice(0, 0)


def run(desk: Desk) -> Manifest:
    """Everything up to evaluation, with what readers see as what is corrected."""
    project, spec, window = desk.project, desk.spec, desk.window
    freeze_snapshot(project, spec, window)
    build_features(project, desk.pipeline, window)
    superseded = visible_revision(project, desk.registry, spec, window)
    with attempting(project, spec, window, run_id="empty", stage="predictions") as attempt:
        score_window(
            project,
            desk.pipeline,
            window,
            desk.model,
            attempt=attempt,
            now=NOW,
            superseded=superseded,
        )
    return evaluate_window(project, spec, window, desk.model).manifest


@pytest.fixture
def empty(desk: Desk) -> Desk:
    """A pipeline that publishes empty windows; the file of this one has no row."""
    desk.correct(nothing)
    return declaring(desk, empty="publish")


def test_an_empty_file_is_refused_by_default_and_the_option_is_named(desk: Desk) -> None:
    desk.correct(nothing)
    with pytest.raises(
        WindowRefused, match=r"at least one in the window .*`source.empty: publish`"
    ):
        run(desk)


def test_the_option_does_not_change_the_contract_of_what_has_rows(desk: Desk) -> None:
    assert source_contract(declaring(desk, empty="publish").spec) == source_contract(desk.spec)


def test_an_empty_window_is_published_with_no_file_and_all_its_checks(empty: Desk) -> None:
    draft = run(empty)
    assert (draft.outputs, draft.counts.rows_in, draft.counts.scored) == ((), 0, 0)
    assert draft.snapshot.rows == draft.features.rows == 0
    publication = empty.publish()
    assert publication.changed
    assert (empty.visible(), empty.rows().num_rows) == (draft.revision, 0)
    assert published_revisions(empty.project, empty.spec) == {empty.window.key: draft.revision}
    on_record = {(check.asset, check.name) for check in publication.manifest.checks}
    assert ("predictions", "contract") in on_record
    assert publication.manifest.evaluation is not None
    assert publication.manifest.evaluation.golden["rows"]


def test_publishing_an_empty_window_again_changes_nothing(empty: Desk) -> None:
    run(empty)
    first = empty.publish().manifest
    assert run(empty).published_at == first.published_at
    assert not empty.publish().changed


def test_yesterdays_rows_are_gone_when_the_window_is_empty_now(desk: Desk) -> None:
    desk.publish()
    source = desk.source.read_bytes()
    desk = declaring(desk, empty="publish")
    desk.correct(nothing)
    draft = run(desk)
    assert draft.changes is not None
    assert (draft.changes.rows_removed, draft.changes.carried) == (ROWS, 0)
    desk.publish()
    assert (desk.visible(), desk.rows().num_rows) == (draft.revision, 0)
    changes = keep_score_changes(desk.project, desk.spec, desk.window, lease=Held())
    assert changes is not None
    assert changes.rows == ROWS
    kept = score_changes_table(desk.project, desk.spec).read(desk.window)
    assert kept is not None
    assert kept.column("score_after").null_count == ROWS
    desk.source.write_bytes(source)
    run(desk)
    desk.publish()
    assert desk.rows().num_rows == ROWS
    back = keep_score_changes(desk.project, desk.spec, desk.window, lease=Held())
    assert back is not None
    assert back.rows == ROWS


def test_an_empty_publication_verifies_and_replays(empty: Desk) -> None:
    run(empty)
    revision = empty.publish().manifest.revision
    found = verify_window(empty.project, empty.registry, empty.spec, empty.window)
    assert (found.problems, found.revision) == ((), revision)
    replayed = replay_window(empty.project, empty.registry, empty.pipeline, empty.window)
    assert (replayed.same_rows, replayed.rows, replayed.revision) == (True, 0, revision)


def test_status_says_published_with_no_rows(empty: Desk) -> None:
    run(empty)
    revision = empty.publish().manifest.revision
    (found,) = pipeline_status(empty.project, empty.spec, {}, now=NOW)
    assert (found.state, found.revision, found.rows) == ("published", revision, 0)


def test_performance_of_an_empty_window_is_a_named_state(empty: Desk, world: World) -> None:
    outcomes = empty.project.landing / "outcomes" / f"{empty.window}.parquet"
    outcomes.parent.mkdir()
    shutil.copy2(world.landing / "outcomes" / outcomes.name, outcomes)
    run(empty)
    empty.publish()
    found = measure_performance(empty.project, empty.spec, empty.window).performance
    assert (found.state, found.rows, found.labelled) == ("no labels", 0, 0)


def test_a_declared_volume_still_refuses_it(empty: Desk, world: World) -> None:
    watched = declaring(empty, volume={"windows": 1, "min_windows": 1})
    (earlier,) = watched.spec.window.before(watched.window, 1)
    before = replace(watched, window=earlier)
    shutil.copy2(world.landing / "flights" / before.source.name, before.source)
    freeze_snapshot(before.project, before.spec, before.window)
    with pytest.raises(WindowRefused) as refused:
        freeze_snapshot(watched.project, watched.spec, watched.window)
    assert [check.name for check in blocking_failures(refused.value.checks)] == ["volume"]


def test_the_report_of_a_range_has_an_empty_window_as_published(empty: Desk) -> None:
    run(empty)
    published = empty.publish().manifest
    place = empty.project.lake / "page.html"
    (found,) = read_range(empty.project, empty.spec, [empty.window], place)
    assert found.manifest == published
    assert found.standing is not None
    assert found.standing.state == "published"
