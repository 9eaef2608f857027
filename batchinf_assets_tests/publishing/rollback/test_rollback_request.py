"""What a rollback is about: what was seen and asked for, not what others did meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import LostRace
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.evaluation.report.places import window_report_place
from batchinf_assets.lake.decisions import LARGEST_DECISION
from batchinf_assets.lake.place import Place
from batchinf_assets.manifest.files import OutputRecord
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.rollback import automatic
from batchinf_assets.publishing.rollback import target as rollback_target
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.plan import RollbackRequest, plan_rollback
from batchinf_assets.publishing.rollback.roll_back import Rollback, attempt_rollback
from batchinf_assets.publishing.rollback.target import NothingToGoBackTo, TargetUnjudged
from batchinf_assets.publishing.status.statuses import pipeline_status
from batchinf_assets.scoring.condemnations import (
    Condemnation,
    condemned,
    condemned_revisions,
    say,
    verdicts,
)
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets_tests.publishing.desk import Desk
from batchinf_assets_tests.publishing.two_revisions import (
    BEFORE_ANNOUNCEMENT,
    BEFORE_COMMIT,
    NOW,
    Shown,
    dying_at,
    without_first,
)

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World

FAILED = CheckResult(
    name="performance",
    asset="performance",
    passed=False,
    blocking=False,
    violations=(Violation(column=None, rule="auroc at least 0.7", found="0.61"),),
    measured={"auroc": 0.61, "labelled": 700, "log_loss": float("inf")},
)
ASKED = RollbackRequest(by="tests", reason="Wrong weather", at=NOW)


def correct(desk: Desk) -> str:
    desk.correct(without_first)
    new = desk.prepare("a correction").revision
    desk.publish()
    return new


def taken_back(shown: Shown, check: CheckResult = FAILED) -> Rollback | None:
    desk = shown.desk
    spec = desk.spec.model_copy(update={"rollback": RollbackSpec(automatic=True)})
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


def problems(desk: Desk) -> tuple[str, ...]:
    return verify_window(desk.project, desk.registry, desk.spec, desk.window).problems


def test_a_correction_published_between_plan_and_lease_is_not_condemned(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, published = shown.desk, list[str]()

    def late(*given: object, **named: object) -> Rollback:
        published.append(correct(desk))
        return attempt_rollback(*given, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(automatic, "attempt_rollback", late)
    with pytest.raises(LostRace, match=f"see revision .* by now, not revision {shown.bad}"):
        taken_back(shown)
    assert desk.visible() == published[0]
    assert condemned_revisions(desk.project, desk.spec, desk.window) == frozenset()


@pytest.mark.parametrize("withdraw", [False, True], ids=["back", "withdraw"])
def test_who_saw_another_revision_takes_nothing_back(shown: Shown, withdraw: bool) -> None:
    for seen in (shown.old, None):
        with pytest.raises(LostRace, match=f"see revision {shown.bad} by now, not"):
            shown.roll_back(seen=seen, withdraw=withdraw)
    assert (shown.desk.visible(), shown.verdict(shown.bad)) == (shown.bad, None)
    assert shown.roll_back(seen=shown.bad, withdraw=withdraw).before is not None


def test_an_untold_reinstatement_swallows_no_rollback(shown: Shown) -> None:
    shown.roll_back()
    with dying_at(*BEFORE_ANNOUNCEMENT):
        shown.roll_back(shown.bad, reinstate=True)
    assert shown.desk.visible() == shown.bad
    done = shown.roll_back(reason="Wrong after all")
    assert (done.state, shown.desk.visible()) == ("rolled_back", shown.old)
    assert shown.verdict(shown.bad) == "Wrong after all"
    assert sorted(event for event, *_ in shown.told()) == [
        "reinstated",
        "rolled_back",
        "rolled_back",
    ]


def test_an_untold_rollback_is_finished_by_repeating_it_and_goes_no_further(shown: Shown) -> None:
    third = correct(shown.desk)
    with dying_at(*BEFORE_ANNOUNCEMENT):
        shown.roll_back()
    assert shown.desk.visible() == shown.bad
    shown.roll_back()
    assert shown.desk.visible() == shown.bad
    assert shown.told() == [("rolled_back", third, shown.bad)]


def test_a_second_rollback_has_its_own_reason(shown: Shown) -> None:
    third = correct(shown.desk)
    with dying_at(*BEFORE_ANNOUNCEMENT):
        shown.roll_back()
    shown.roll_back(reason="That one has wrong planes", now=NOW + timedelta(minutes=1))
    assert shown.desk.visible() == shown.old
    assert shown.told() == [
        ("rolled_back", third, shown.bad),
        ("rolled_back", shown.bad, shown.old),
    ]
    assert shown.verdict(shown.bad) == "That one has wrong planes"


@pytest.mark.parametrize("withdraw", [False, True], ids=["rolled back", "withdrawn"])
def test_verify_says_that_consumers_were_not_told_and_how_to_tell_them(
    shown: Shown, withdraw: bool
) -> None:
    with dying_at(*BEFORE_ANNOUNCEMENT):
        shown.roll_back(withdraw=withdraw)
    *_, found = problems(shown.desk)
    assert found.startswith("Consumers were not told: tests had it ")
    assert ("--withdraw" if withdraw else f"--to {shown.old}") in found
    to = None if withdraw else shown.old
    shown.roll_back(to, withdraw=withdraw, reason="Tell them")
    assert len(shown.told()) == 1
    assert not any("not told" in each for each in problems(shown.desk))


def test_status_says_that_readers_see_a_condemned_revision_still(shown: Shown) -> None:
    with dying_at(*BEFORE_COMMIT):
        shown.roll_back()
    (found,) = pipeline_status(shown.desk.project, shown.desk.spec, {}, now=NOW)
    assert (found.state, found.revision) == ("condemned, still visible", shown.bad)
    assert found.held_back == (
        f"Readers see revision {shown.bad} still, though tests condemned it on 2013-07-05 05:00 "
        "UTC: Wrong weather."
    )


@pytest.mark.parametrize("lost", ["statement.*.sig", "promotion.*.sig"])
def test_a_revision_whose_model_lost_its_signature_is_not_shown_again(
    shown: Shown, lost: str, tmp_path: Path
) -> None:
    desk = shown.desk
    models = Path(shutil.copytree(str(desk.registry.artifact_root), tmp_path / "models"))
    registry = replace(desk.registry, artifact_root=models)
    request = replace(ASKED, to=shown.old)
    assert plan_rollback(desk.project, registry, desk.spec, desk.window, request).after
    (signature,) = models.rglob(lost)
    signature.unlink()
    for asked in (request, ASKED):
        with pytest.raises(TargetUnjudged, match=f"{shown.old} .* again cannot be told: "):
            plan_rollback(desk.project, registry, desk.spec, desk.window, asked)


def test_a_revision_that_does_not_hold_is_stepped_over_and_named(shown: Shown) -> None:
    correct(shown.desk)
    path = shown.desk.output(shown.bad)
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")
    done = shown.roll_back()
    assert shown.desk.visible() == shown.old
    (sentence,) = done.stepped_over
    assert sentence.startswith(f"Revision {shown.bad} of window 2013-07-04 cannot be shown again:")


def test_the_check_that_condemned_a_revision_is_kept_as_it_was_found(shown: Shown) -> None:
    assert taken_back(shown) is not None
    desk = shown.desk
    found = condemned(desk.project, desk.spec, desk.window, shown.bad)
    assert found is not None
    assert found.check == replace(FAILED, measured={**FAILED.measured, "log_loss": "inf"})


def test_the_files_of_what_is_shown_again_are_read_once(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, look = list[str](), rollback_target.changed_files

    def counted(folder: Place, outputs: tuple[OutputRecord, ...]) -> Iterator[Violation]:
        read.extend(output.path for output in outputs)
        return look(folder, outputs)

    monkeypatch.setattr(rollback_target, "changed_files", counted)
    done = taken_back(shown)
    assert done is not None
    assert done.state == "rolled_back"
    assert len(read) == len(set(read)) == len(shown.desk.published().outputs)


def test_what_was_condemned_between_plan_and_lease_is_not_shown(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = shown.desk

    def late(*given: object, **named: object) -> Rollback:
        said = Condemnation(
            pipeline=desk.spec.name,
            window=desk.window.key,
            revision=shown.old,
            verdict="condemned",
            by="ann",
            reason="Wrong planes",
            at=NOW,
        )
        say(desk.project, desk.spec, desk.window, said)
        return attempt_rollback(*given, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(automatic, "attempt_rollback", late)
    with pytest.raises(NothingToGoBackTo):
        taken_back(shown)
    assert desk.visible() == shown.bad


def test_the_figures_on_record_are_kept_whoever_condemned_the_revision(
    shown: Shown, world: World
) -> None:
    desk = shown.desk
    outcomes = desk.project.landing / "outcomes"
    outcomes.mkdir(exist_ok=True)
    shutil.copy2(world.landing / f"outcomes/{desk.window}.parquet", outcomes)
    performance = measure_performance(desk.project, desk.spec, desk.window).performance
    assert performance.metrics is not None
    shown.roll_back()
    found = condemned(desk.project, desk.spec, desk.window, shown.bad)
    assert found is not None
    assert found.figures is not None
    assert (found.check, found.by) == (None, "tests")
    assert found.figures["auroc"] == performance.metrics.auroc
    assert (found.figures["rows"], found.figures["labelled"]) == (
        performance.rows,
        performance.labelled,
    )
    shown.roll_back(withdraw=True)  # nothing was measured of the one before
    (other,) = verdicts(desk.project, desk.spec, desk.window, shown.old)
    assert other.figures == {}


def test_a_check_that_no_document_holds_leaves_a_verdict_that_can_be_read(shown: Shown) -> None:
    measured = {f"figure {number}": "x" * 1000 for number in range(LARGEST_DECISION // 1000)}
    shown.roll_back(check=replace(FAILED, measured=measured))
    desk = shown.desk
    found = condemned(desk.project, desk.spec, desk.window, shown.bad)
    assert found is not None
    assert found.check is not None
    assert (found.check.name, [*found.check.measured]) == ("performance", ["omitted"])


def test_after_a_rollback_the_pages_say_what_readers_see(shown: Shown) -> None:
    desk = shown.desk
    done = attempt_rollback(
        desk.project, desk.registry, desk.spec, desk.window, ASKED, run_id="incident"
    )
    assert done.page_problem is None
    page = window_report_place(desk.project, desk.spec, desk.window, shown.bad)
    assert b"condemned" in page.read_bytes()
    assert window_report_place(desk.project, desk.spec, desk.window, shown.old).is_file()


def test_a_page_that_cannot_be_written_stops_no_rollback(shown: Shown) -> None:
    desk = shown.desk
    place = window_report_place(desk.project, desk.spec, desk.window, shown.bad)
    Path(str(place)).mkdir(parents=True)
    done = attempt_rollback(
        desk.project, desk.registry, desk.spec, desk.window, ASKED, run_id="incident"
    )
    assert desk.visible() == shown.old
    assert done.page_problem
