"""What others say of a window that was taken back: status, verify, replay, plans, maintenance."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import ManifestInvalid, WindowMissing
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.backfill.stale import plan_backfill
from batchinf_assets.publishing.backfill.stale_reasons import ModelNow, Reason
from batchinf_assets.publishing.proof.replay import replay_window
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.score_changes import keep_score_changes, score_changes_table
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.publishing.stored_files import TABLES
from batchinf_assets.publishing.upkeep.maintain import apply, plan_maintenance
from batchinf_assets.publishing.upkeep.retention import visible_files
from batchinf_assets.publishing.visible import published_revisions, visible_revision
from batchinf_assets.scoring.condemnations import RevisionCondemned, condemned
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.publishing.desk import Desk, Held
from batchinf_assets_tests.publishing.two_revisions import (
    BEFORE_COMMIT,
    ROWS,
    Shown,
    dying_at,
    without_first,
)

if TYPE_CHECKING:
    from batchinf_assets.publishing.backfill.plan import WindowPlan
    from batchinf_assets.publishing.status.window_status import WindowStatus


def status(desk: Desk) -> WindowStatus:
    (only,) = pipeline_status(desk.project, desk.spec, {}, now=datetime.now(UTC))
    return only


def problems(desk: Desk, revision: str | None = None) -> tuple[str, ...]:
    found = verify_window(desk.project, desk.registry, desk.spec, desk.window, revision=revision)
    return found.problems


def plan(desk: Desk) -> WindowPlan:
    version = desk.model.version
    champion = ModelNow(version=version.version, digest=version.digest)
    (only,) = plan_backfill(desk.project, desk.pipeline, champion).windows
    return only


def test_status_says_rolled_back_by_whom_and_why(shown: Shown) -> None:
    shown.roll_back()
    found = status(shown.desk)
    assert (found.state, found.revision, found.rows) == ("rolled back", shown.old, ROWS)
    assert found.held_back == (
        f"tests had it rolled back on 2013-07-05 05:00 UTC (from {shown.bad} to {shown.old}): "
        "Wrong weather."
    )
    shown.roll_back(shown.bad, reinstate=True)
    assert (status(shown.desk).state, status(shown.desk).revision) == ("published", shown.bad)


def test_status_says_withdrawn_and_shows_no_revision(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    found = status(shown.desk)
    assert (found.state, found.revision, found.rows) == ("withdrawn", None, None)
    assert "tests had it withdrawn" in (found.held_back or "")
    assert published_revisions(shown.desk.project, shown.desk.spec) == {}


def test_a_publication_after_a_rollback_is_just_published(shown: Shown) -> None:
    shown.roll_back()
    shown.desk.correct(without_first)
    new = shown.desk.prepare().revision
    shown.desk.publish()
    found = status(shown.desk)
    assert (found.state, found.revision, found.held_back) == ("published", new, None)


def test_what_was_gone_back_to_verifies_and_replays(shown: Shown) -> None:
    shown.roll_back()
    desk = shown.desk
    assert problems(desk) == ()
    replayed = replay_window(desk.project, desk.registry, desk.pipeline, desk.window)
    assert (replayed.revision, replayed.same_bytes) == (shown.old, True)
    seen = visible_revision(desk.project, desk.registry, desk.spec, desk.window)
    assert seen is not None
    assert seen.manifest is not None
    assert seen.revision == shown.old


def test_the_evidence_verifies_still(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    assert problems(shown.desk, shown.bad) == ()


def test_of_a_withdrawn_window_verify_and_replay_say_that_it_was(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    desk = shown.desk
    (problem,) = problems(desk)
    assert problem.startswith("Nothing is published: tests had it withdrawn")
    with pytest.raises(WindowMissing, match="tests had it withdrawn"):
        replay_window(desk.project, desk.registry, desk.pipeline, desk.window)


def test_a_condemned_revision_that_readers_see_still_does_not_verify(shown: Shown) -> None:
    with dying_at(*BEFORE_COMMIT):
        shown.roll_back()
    (problem,) = problems(shown.desk)
    assert problem.startswith("Readers see it, though it was condemned, tests condemned it on 2013")


def test_no_backfill_makes_a_condemned_revision_again(shown: Shown) -> None:
    assert plan(shown.desk).reasons == ()
    shown.roll_back()
    found = plan(shown.desk)
    assert found.reasons == (Reason.CONDEMNED, Reason.DATA)
    assert not found.runs
    shown.desk.correct(without_first)
    assert plan(shown.desk).reasons == (Reason.DATA,)
    assert plan(shown.desk).runs


def test_a_withdrawn_window_runs_again_once_its_data_is_corrected(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    found = plan(shown.desk)
    assert found.reasons == (Reason.CONDEMNED, Reason.MISSING)
    assert not found.runs
    shown.desk.correct(without_first)
    assert plan(shown.desk).reasons == (Reason.MISSING,)
    assert plan(shown.desk).runs


@pytest.mark.parametrize("withdraw", [False, True], ids=["rolled back", "withdrawn"])
def test_maintenance_keeps_the_evidence_for_years(shown: Shown, withdraw: bool) -> None:
    shown.roll_back(withdraw=withdraw, now=datetime.now(UTC))
    desk, later = shown.desk, datetime.now(UTC) + timedelta(days=1000)
    kept = shown.files()
    apply(
        desk.project,
        desk.spec,
        plan_maintenance(desk.project, desk.spec, later),
        later,
        run_id="maintenance",
    )
    assert problems(desk, shown.bad) == ()
    revisions = desk.store.revisions(desk.window)
    assert revisions == ([shown.bad] if withdraw else sorted([shown.old, shown.bad]))
    assert withdraw or shown.files() == kept
    told = announcements(desk.project, desk.spec, desk.window)
    assert len(told) == 1
    with pytest.raises(RevisionCondemned):
        desk.prepare("a retry")


def test_maintenance_looks_after_every_table_of_a_window(desk: Desk) -> None:
    written = Path(str(desk.project.lake)) / desk.spec.name
    assert {path.parent.name for path in written.glob("*/_delta_log")} <= {*TABLES}
    survey = visible_files(desk.project, desk.spec)
    assert "sketches" in survey.logged


def test_score_changes_make_up_for_the_step_back(shown: Shown) -> None:
    desk = shown.desk
    keep_score_changes(desk.project, desk.spec, desk.window, lease=Held())
    shown.roll_back()
    desk.correct(without_first)
    new = desk.prepare().revision
    desk.publish()
    found = keep_score_changes(desk.project, desk.spec, desk.window, lease=Held())
    assert found is not None
    assert (found.supersedes, found.revision, found.rows) == (shown.old, new, 2)
    (back,) = found.earlier
    assert (back.supersedes, back.revision, back.rows) == (shown.bad, shown.old, 1)
    assert len(score_changes_table(desk.project, desk.spec).files_of(desk.window)) == 3


def test_score_changes_pass_over_a_time_when_readers_saw_nothing(shown: Shown) -> None:
    desk = shown.desk
    shown.roll_back(withdraw=True)
    desk.correct(without_first)
    new = desk.prepare().revision
    desk.publish()
    found = keep_score_changes(desk.project, desk.spec, desk.window, lease=Held())
    assert found is not None
    assert (found.supersedes, found.revision, found.rows) == (shown.bad, new, 1)


FAILED = CheckResult(
    name="performance",
    asset="performance",
    passed=False,
    blocking=False,
    violations=(Violation(column=None, rule="auroc at least 0.7", found="0.61"),),
)


def automatic(shown: Shown, check: CheckResult = FAILED, **policy: bool) -> Rollback | None:
    desk = shown.desk
    spec: PipelineSpec = desk.spec.model_copy(update={"rollback": RollbackSpec(**policy)})
    return roll_back_if_condemned(
        desk.project,
        desk.registry,
        spec,
        desk.window,
        check,
        run_id="performance",
        now=datetime.now(UTC),
        measured=shown.bad,
    )


def test_realised_performance_takes_a_revision_back_where_the_policy_says_so(shown: Shown) -> None:
    assert automatic(shown) is None
    assert automatic(shown, replace(FAILED, passed=True, violations=()), automatic=True) is None
    assert shown.desk.visible() == shown.bad
    done = automatic(shown, automatic=True)
    assert done is not None
    assert done.told is not None
    assert (done.state, shown.desk.visible()) == ("rolled_back", shown.old)
    assert (done.told.by, done.told.reason) == (
        "automatic rollback",
        "Realised performance: expected auroc at least 0.7, found 0.61.",
    )
    found = condemned(shown.desk.project, shown.desk.spec, shown.desk.window, shown.bad)
    assert found is not None
    assert found.by == "automatic rollback"


def test_a_revision_that_was_not_measured_is_left_alone(shown: Shown) -> None:
    assert automatic(replace(shown, bad=shown.old), automatic=True) is None
    assert shown.desk.visible() == shown.bad


def test_without_an_earlier_revision_the_policy_decides(shown: Shown) -> None:
    shown.roll_back()
    only = replace(shown, bad=shown.old)
    left = automatic(only, automatic=True)
    assert left is not None
    assert (left.state, left.before, left.told) == ("nothing_to_go_back_to", left.after, None)
    assert shown.desk.visible() == shown.old
    assert shown.verdict(shown.old) is None
    gone = automatic(only, automatic=True, withdraw=True)
    assert gone is not None
    assert (gone.state, shown.desk.visible()) == ("withdrawn", None)


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b'{"format_version": 2}'])
def test_a_damaged_verdict_stops_publishing_and_says_which_file(
    shown: Shown, content: bytes
) -> None:
    shown.roll_back()
    (document,) = (shown.desk.project.lake / "flight_delays" / "_condemned").rglob("*.json")
    assert document.name == f"{shown.bad}.json"
    document.write_bytes(content)
    with pytest.raises(ManifestInvalid, match=document.name):
        shown.desk.prepare("a retry")


def test_an_announcement_of_another_window_is_none(shown: Shown) -> None:
    shown.roll_back()
    (document,) = (shown.desk.project.lake / "flight_delays" / "_announcements").rglob("*.json")
    document.write_bytes(document.read_bytes().replace(b"2013-07-04", b"2013-07-05", 1))
    with pytest.raises(ManifestInvalid, match="is no announcement of its window"):
        announcements(shown.desk.project, shown.desk.spec, shown.desk.window)
