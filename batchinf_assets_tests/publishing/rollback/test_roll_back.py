"""Taking back: one commit, no data copied, kept as evidence, and never shown again by a retry."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from batchinf_assets.errors import LostRace, ManifestInvalid, UsageError, WindowMissing
from batchinf_assets.lake.files import read_bounded
from batchinf_assets.lake.manifests import ManifestStore
from batchinf_assets.publishing.rollback import roll_back as module
from batchinf_assets.publishing.rollback.plan import RollbackRequest, plan_rollback
from batchinf_assets.publishing.rollback.roll_back import attempt_rollback
from batchinf_assets.publishing.rollback.target import NothingToGoBackTo
from batchinf_assets.scoring.condemnations import RevisionCondemned, verdicts
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.publishing.desk import Held
from batchinf_assets_tests.publishing.two_revisions import (
    BEFORE_ANNOUNCEMENT,
    BEFORE_COMMIT,
    NOW,
    ROWS,
    Shown,
    dying_at,
    without_first,
)

ASKED = RollbackRequest(by="tests", reason="Wrong weather", at=NOW)


def test_readers_see_the_earlier_rows_again_and_no_data_is_copied(shown: Shown) -> None:
    files, commits = shown.files(), shown.commits()
    done = shown.roll_back()
    assert (done.state, shown.desk.visible()) == ("rolled_back", shown.old)
    assert shown.desk.rows().num_rows == ROWS
    assert shown.files() == files
    assert shown.commits() == commits + 1
    assert done.before is not None
    assert done.after is not None
    assert (done.before.revision, done.before.rows) == (shown.bad, ROWS - 1)
    assert (done.after.revision, done.after.rows) == (shown.old, ROWS)
    assert done.after.model == "flight_delays v1"


def test_the_commit_says_what_was_done_by_whom_and_why(shown: Shown) -> None:
    published = DeltaTable(shown.table).history(2)[1]
    shown.roll_back()
    commit = DeltaTable(shown.table).history(1)[0]
    assert commit["batchinf.revision"] == shown.old == published["batchinf.revision"]
    assert commit["batchinf.manifest_sha256"] == published["batchinf.manifest_sha256"]
    assert commit["batchinf.manifest_key"] == shown.desk.key.id
    assert (commit["batchinf.event"], commit["batchinf.from_revision"]) == (
        "rolled_back",
        shown.bad,
    )
    assert (commit["batchinf.by"], commit["batchinf.reason"]) == ("tests", "Wrong weather")
    assert commit["batchinf.at"] == NOW.isoformat()


def test_consumers_are_told_once(shown: Shown) -> None:
    shown.roll_back()
    assert shown.told() == [("rolled_back", shown.bad, shown.old)]
    (document,) = (shown.desk.project.lake / "flight_delays" / "_announcements").rglob("*.json")
    assert document.stem == DeltaTable(shown.table).history(1)[0]["batchinf.commit"]
    assert b'"from":"' + shown.bad.encode() in read_bounded(document)


def test_a_retry_does_not_show_what_was_condemned(shown: Shown) -> None:
    shown.roll_back()
    files = shown.files()
    with pytest.raises(RevisionCondemned, match="tests condemned it on 2013-07-05 05:00 UTC: Wro"):
        shown.desk.prepare("a retry")
    assert shown.desk.visible() == shown.old
    assert shown.files() == files


def test_the_gate_refuses_a_condemned_candidate_and_says_what_to_do(shown: Shown) -> None:
    desk, scored = shown.desk, shown.desk.published()
    shown.roll_back()
    desk.store.write_draft(desk.window, scored)  # as a run left it that was asleep meanwhile
    with pytest.raises(RevisionCondemned) as refused:
        desk.publish()
    (gate,) = refused.value.checks
    assert (gate.asset, gate.name, gate.passed, gate.blocking) == ("published", "gate", False, True)
    assert f"--to {shown.bad} --reinstate" in refused.value.next_step
    assert desk.visible() == shown.old


def test_damaged_files_of_a_condemned_revision_stay_as_they_are(shown: Shown) -> None:
    damaged = shown.desk.output(shown.bad)
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"rubbish!")
    content = damaged.read_bytes()
    shown.roll_back()
    with pytest.raises(RevisionCondemned):
        shown.desk.prepare("a retry")
    assert damaged.read_bytes() == content


def test_another_revision_is_published_as_ever(shown: Shown) -> None:
    shown.roll_back()
    shown.desk.correct(without_first)
    new = shown.desk.prepare("with corrected data")
    assert shown.desk.publish().changed
    assert shown.desk.visible() == new.revision not in (shown.old, shown.bad)


def test_a_second_rollback_goes_on_to_what_nobody_condemned(shown: Shown) -> None:
    shown.desk.correct(without_first)
    third = shown.desk.prepare().revision
    shown.desk.publish()
    assert shown.roll_back().after is not None
    assert shown.desk.visible() == shown.bad
    shown.roll_back()
    assert shown.desk.visible() == shown.old
    with pytest.raises(NothingToGoBackTo, match="no other revision of window 2013-07-04"):
        shown.roll_back()
    assert shown.desk.visible() == shown.old
    assert [shown.verdict(each) is None for each in (shown.old, shown.bad, third)] == [
        True,
        False,
        False,
    ]


def test_a_condemned_revision_comes_back_only_by_its_name_and_with_a_reason(shown: Shown) -> None:
    shown.roll_back()
    with pytest.raises(RevisionCondemned):
        shown.roll_back(shown.bad)
    assert shown.desk.visible() == shown.old
    done = shown.roll_back(shown.bad, reinstate=True, reason="The weather was right")
    assert (done.state, shown.desk.visible()) == ("reinstated", shown.bad)
    assert (shown.verdict(shown.bad), shown.verdict(shown.old)) == (None, None)
    desk = shown.desk
    said = verdicts(desk.project, desk.spec, desk.window, shown.bad)
    assert [(each.verdict, each.reason) for each in said] == [
        ("condemned", "Wrong weather"),
        ("reinstated", "The weather was right"),
    ]
    assert not desk.publish().changed


def test_a_reinstated_revision_can_be_condemned_again(shown: Shown) -> None:
    shown.roll_back()
    shown.roll_back(shown.bad, reinstate=True)
    shown.roll_back(reason="Wrong after all")
    assert (shown.desk.visible(), shown.verdict(shown.bad)) == (shown.old, "Wrong after all")
    with pytest.raises(RevisionCondemned, match="Wrong after all"):
        shown.desk.prepare("a retry")


def test_of_a_withdrawn_window_readers_see_nothing(shown: Shown) -> None:
    files = shown.files()
    done = shown.roll_back(withdraw=True)
    assert (done.state, done.after, shown.desk.visible()) == ("withdrawn", None, None)
    assert shown.desk.rows().num_rows == 0
    assert shown.files() == files
    assert shown.told() == [("withdrawn", shown.bad, None)]
    with pytest.raises(RevisionCondemned):
        shown.desk.prepare("a retry")
    with pytest.raises(WindowMissing, match=r"is published: tests had it withdrawn .* Wrong weath"):
        shown.roll_back(withdraw=True)


def test_a_withdrawn_window_goes_back_to_what_nobody_condemned(shown: Shown) -> None:
    shown.roll_back(withdraw=True)
    done = shown.roll_back(now=NOW + timedelta(hours=1))
    assert (done.before, shown.desk.visible()) == (None, shown.old)
    assert shown.told()[1:] == [("rolled_back", None, shown.old)]


STEPS: dict[str, tuple[object, str]] = {
    "before the verdict": (module, "say"),
    "between verdict and commit": BEFORE_COMMIT,
    "between commit and announcement": BEFORE_ANNOUNCEMENT,
}


@pytest.mark.parametrize("withdraw", [False, True], ids=["rolled back", "withdrawn"])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_rollback_is_whole_or_absent_and_repeating_it_finishes_it(
    shown: Shown, step: str, withdraw: bool
) -> None:
    after, rows = (None, 0) if withdraw else (shown.old, ROWS)
    with dying_at(*STEPS[step]):
        shown.roll_back(withdraw=withdraw)
    committed = step == "between commit and announcement"
    assert shown.desk.visible() == (after if committed else shown.bad)
    assert shown.desk.rows().num_rows == (rows if committed else ROWS - 1)
    assert (shown.verdict(shown.bad) is None) == (step == "before the verdict")
    done = shown.roll_back(withdraw=withdraw)
    assert done.before is not None
    assert (done.before.revision, done.after and done.after.revision) == (shown.bad, after)
    assert (shown.desk.visible(), shown.desk.rows().num_rows) == (after, rows)
    assert shown.told() == [("withdrawn" if withdraw else "rolled_back", shown.bad, after)]
    desk = shown.desk
    assert len(verdicts(desk.project, desk.spec, desk.window, shown.bad)) == 1


def test_between_verdict_and_commit_no_retry_makes_the_bad_revision_anew(shown: Shown) -> None:
    with dying_at(*BEFORE_COMMIT):
        shown.roll_back()
    with pytest.raises(RevisionCondemned, match="Readers see it still: repeat"):
        shown.desk.publish()


def test_the_next_publication_tells_of_a_rollback_that_died_untold(shown: Shown) -> None:
    with dying_at(*BEFORE_ANNOUNCEMENT):
        shown.roll_back()
    shown.desk.correct(without_first)
    shown.desk.prepare("with corrected data")
    shown.desk.publish()
    assert shown.told() == [("rolled_back", shown.bad, shown.old)]


def test_who_lost_the_window_takes_nothing_back(shown: Shown) -> None:
    commits = shown.commits()
    with pytest.raises(LostRace):
        shown.roll_back(lease=Held(lost=True))
    assert (shown.commits(), shown.told(), shown.verdict(shown.bad)) == (commits, [], None)


def damage_file(shown: Shown) -> None:
    path = shown.desk.output(shown.old)
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")


def lose_file(shown: Shown) -> None:
    shown.desk.output(shown.old).unlink()


def change_manifest(shown: Shown) -> None:
    path = shown.desk.store.path(shown.desk.window, shown.old)
    path.write_bytes(path.read_bytes().replace(b'"owner": "', b'"owner": "x', 1))


def lose_signature(shown: Shown) -> None:
    for path in shown.desk.store.signatures(shown.desk.window, shown.old).values():
        path.unlink()


@pytest.mark.parametrize("harm", [damage_file, lose_file, change_manifest, lose_signature])
def test_what_is_not_whole_is_not_gone_back_to_and_nothing_is_written(
    shown: Shown, harm: Callable[[Shown], None]
) -> None:
    harm(shown)
    commits = shown.commits()
    with pytest.raises(NothingToGoBackTo, match=shown.old):
        shown.roll_back()
    with pytest.raises(ManifestInvalid, match=shown.old):
        shown.roll_back(shown.old)
    assert (shown.desk.visible(), shown.commits()) == (shown.bad, commits)
    assert (shown.verdict(shown.bad), shown.told()) == (None, [])


def test_what_readers_see_is_taken_back_even_if_its_manifest_and_files_are_damaged(
    shown: Shown,
) -> None:
    shown.desk.output(shown.bad).write_bytes(b"PAR1")
    shown.desk.store.path(shown.desk.window, shown.bad).write_bytes(b"{")
    done = shown.roll_back()
    assert done.before is not None
    assert (done.before.revision, done.before.rows, done.before.model) == (shown.bad, None, None)
    assert shown.desk.rows().num_rows == ROWS


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"withdraw": True, "to": "OLD"}, "either withdrawn or goes back"),
    "no name": ({"reinstate": True}, "Which revision is to be reinstated"),
    "what they see": ({"to": "BAD"}, "see revision [0-9a-f]{16} of window 2013-07-04 already"),
    "never condemned": ({"to": "OLD", "reinstate": True}, "Nobody condemned revision"),
    "never seen": ({"to": "0123456789abcdef"}, "Readers never saw a revision 0123456789abcdef"),
    "no reason": ({"reason": " "}, "needs to say who asks for it, and why"),
    "two lines": ({"reason": "a\nb"}, "reason of this rollback must be one printable line"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wish_that_makes_no_sense_changes_nothing(shown: Shown, case: str) -> None:
    wish, sentence = WRONG[case]
    named = {"OLD": shown.old, "BAD": shown.bad}
    asked: dict[str, Any] = {name: named.get(value, value) for name, value in wish.items()}
    commits = shown.commits()
    with pytest.raises(UsageError, match=sentence):
        shown.roll_back(**asked)
    assert (shown.commits(), shown.told(), shown.verdict(shown.bad)) == (commits, [], None)


def test_a_plan_writes_nothing(shown: Shown) -> None:
    desk, commits = shown.desk, shown.commits()
    before = {path: path.stat().st_mtime_ns for path in Path(str(desk.project.lake)).rglob("*")}
    plan = plan_rollback(desk.project, desk.registry, desk.spec, desk.window, ASKED)
    assert plan.before is not None
    assert plan.after is not None
    assert (plan.event, plan.before.revision) == ("rolled_back", shown.bad)
    assert plan.after.revision == shown.old
    after = {path: path.stat().st_mtime_ns for path in Path(str(desk.project.lake)).rglob("*")}
    assert (after, shown.commits()) == (before, commits)


def test_the_ledger_keeps_who_took_it_back_and_why(shown: Shown) -> None:
    desk = shown.desk
    attempt_rollback(
        desk.project,
        desk.registry,
        desk.spec,
        desk.window,
        ASKED,
        run_id="incident",
    )
    found = Ledger(desk.project.lake).latest(desk.spec.name)[desk.window.key]
    assert (found.state, found.stage, found.run_id) == ("rolled_back", "rollback", "incident")
    assert (found.revision, found.reason_code) == (shown.old, "rolled_back")
    assert found.reason == (
        f"tests had it rolled back on 2013-07-05 05:00 UTC (from {shown.bad} to {shown.old}): "
        "Wrong weather"
    )


READER = """
import hashlib, pathlib, sys
from deltalake import DeltaTable

table, key, stop = DeltaTable(sys.argv[1]), sys.argv[2].split(","), pathlib.Path(sys.argv[3])
seen, reads, last = set(), 0, False
while not last:
    last = stop.exists()
    table.update_incremental()
    rows = table.to_pyarrow_table().sort_by([(name, "ascending") for name in key])
    seen.add(hashlib.sha256(repr(rows.to_pydict()).encode()).hexdigest())
    reads += 1
print(reads, *sorted(seen))
"""


def digest(rows: pa.Table) -> str:
    return hashlib.sha256(repr(rows.to_pydict()).encode()).hexdigest()


def test_readers_who_poll_during_200_rollbacks_never_see_a_mix(
    shown: Shown, tmp_path: Path
) -> None:
    stop, key = tmp_path / "stop", ",".join(shown.desk.spec.source.key)
    digests = {shown.bad: digest(shown.desk.rows())}
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(shown.table), key, str(stop)],
        stdout=subprocess.PIPE,
        text=True,
    )
    shown.roll_back()
    digests[shown.old] = digest(shown.desk.rows())
    for _ in range(99):
        shown.roll_back(shown.bad, reinstate=True)
        shown.roll_back()
    shown.roll_back(shown.bad, reinstate=True)
    assert shown.desk.visible() == shown.bad
    shown.roll_back()
    stop.touch()
    said, _ = reader.communicate(timeout=60)
    reads, *seen = said.split()  # whoever saw one of the two only has shown nothing
    print(f"\n{reads} reads during {len(shown.told())} rollbacks")
    assert int(reads) > 10
    assert {*seen} == {*digests.values()}
    assert len(shown.told()) == 201
    assert digest(shown.desk.rows()) == digests[shown.old]


def test_the_draft_store_is_left_alone(shown: Shown) -> None:
    shown.desk.correct(without_first)
    draft = shown.desk.prepare("in the middle of a correction").revision
    shown.roll_back()
    assert ManifestStore.draft(shown.desk.store, shown.desk.window) is not None
    assert shown.desk.draft().revision == draft
