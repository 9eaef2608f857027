"""What is finished of a rollback that died, and what is left to people."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import KeyringInvalid
from batchinf_assets.evaluation.realised.measure import measure_performance
from batchinf_assets.publishing.overrides import held_verdicts, new_override, write_override
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.damage import check_damage
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.rollback.unfinished import (
    CLOCKS,
    RECENT,
    finish_rollback,
    judged_lately,
)
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.scoring.condemnations import verdicts
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets_tests.publishing.proof.test_verify import lose_the_keyring
from batchinf_assets_tests.publishing.test_verdicts_of_now import failure, with_spec
from batchinf_assets_tests.publishing.two_revisions import BEFORE_COMMIT, NOW, Shown, dying_at

if TYPE_CHECKING:
    from batchinf_assets_tests.conftest import World


def acting(shown: Shown) -> Shown:
    """The same under a policy that takes back what is damaged."""
    policy = RollbackSpec(automatic=("verification",))
    spec: PipelineSpec = shown.desk.spec.model_copy(update={"rollback": policy})
    pipeline = replace(shown.desk.pipeline, spec=spec)
    return replace(shown, desk=replace(shown.desk, pipeline=pipeline))


def damage(shown: Shown, revision: str) -> None:
    path = shown.desk.output(revision)
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")


def die_before_the_commit(shown: Shown, found: CheckResult | None = None) -> None:
    desk = shown.desk
    check = found or check_damage(desk.project, desk.registry, desk.spec, desk.window, shown.bad)
    with dying_at(*BEFORE_COMMIT):
        roll_back_if_condemned(
            desk.project,
            desk.registry,
            desk.spec,
            desk.window,
            check,
            run_id="verify",
            now=datetime.now(UTC),
        )
    assert desk.visible() == shown.bad


def finish(shown: Shown) -> Rollback | None:
    desk, now = shown.desk, datetime.now(UTC)
    return finish_rollback(
        desk.project, desk.registry, desk.spec, desk.window, run_id="sensor", now=now
    )


def lately(shown: Shown, now: datetime) -> list[str]:
    return [window.key for window in judged_lately(shown.desk.project, shown.desk.spec, now)]


def test_what_nobody_asked_for_is_begun_again_while_the_policy_says_so(shown: Shown) -> None:
    under_policy = acting(shown)
    damage(shown, shown.bad)
    die_before_the_commit(under_policy)
    assert finish(shown) is None  # the policy was taken away since
    assert shown.desk.visible() == shown.bad
    done = finish(under_policy)
    assert done is not None
    assert (done.state, shown.desk.visible()) == ("rolled_back", shown.old)
    assert finish(under_policy) is None
    assert shown.told() == [("rolled_back", shown.bad, shown.old)]


def test_with_nothing_to_go_back_to_a_ticket_names_the_command_and_it_is_not_tried_again(
    shown: Shown,
) -> None:
    under_policy = acting(shown)
    damage(shown, shown.bad)
    die_before_the_commit(under_policy)
    damage(shown, shown.old)
    left = finish(under_policy)
    assert left is not None
    assert (left.state, shown.desk.visible()) == ("nothing_to_go_back_to", shown.bad)
    assert finish(under_policy) is None
    (kept,) = read_tickets(shown.desk.project, shown.desk.spec)
    assert kept.ticket.check == "rollback"
    assert kept.ticket.cause.endswith(
        f"`batchinf rollback flight_delays 2013-07-04 --from {shown.bad} --withdraw --reason TEXT`"
    )


def test_what_a_person_began_is_left_to_that_person(shown: Shown) -> None:
    with dying_at(*BEFORE_COMMIT):
        shown.roll_back()
    assert finish(acting(shown)) is None
    assert shown.desk.visible() == shown.bad


def test_files_that_were_restored_before_the_commit_take_the_verdict_back(shown: Shown) -> None:
    under_policy, desk = acting(shown), shown.desk
    whole = desk.output(shown.bad).read_bytes()
    damage(shown, shown.bad)
    die_before_the_commit(under_policy)
    desk.output(shown.bad).write_bytes(whole)
    done = finish(under_policy)
    assert done is not None
    assert (done.state, done.told, desk.visible()) == ("reinstated", None, shown.bad)
    assert (shown.verdict(shown.bad), shown.told()) == (None, [])
    last = verdicts(desk.project, desk.spec, desk.window, shown.bad)[-1]
    assert last.reason == "Verified again before the commit: what condemned it no longer holds."
    assert (last.verdict, last.by) == ("reinstated", "automatic rollback")
    record = Ledger(desk.project.lake).latest(desk.spec.name)[desk.window.key]
    assert (record.reason_code, record.reason) == ("reinstated/verification", last.reason)
    assert finish(under_policy) is None
    damage(shown, shown.bad)  # and once more: the next verdict counts again
    die_before_the_commit(under_policy)
    done = finish(under_policy)
    assert done is not None
    assert (done.state, desk.visible()) == ("rolled_back", shown.old)


def test_an_override_before_the_commit_takes_the_verdict_back(shown: Shown) -> None:
    bound = shown.desk.spec.golden.model_copy(update={"at_least": {"auroc": 0.9}})
    policy = RollbackSpec(automatic=("evaluation",), withdraw=True)
    desk = with_spec(shown.desk, golden=bound, rollback=policy)
    check = failure(desk)
    assert check is not None
    die_before_the_commit(replace(shown, desk=desk), check)
    held = held_verdicts(desk.project, desk.spec, desk.window)
    record = new_override(held, "golden_quality", by="ann", reason="Looked at it", at=NOW)
    write_override(desk.project, desk.spec, held, record)
    assert failure(desk) is None
    done = finish(replace(shown, desk=desk))
    assert done is not None
    assert (done.state, desk.visible()) == ("reinstated", shown.bad)
    assert shown.verdict(shown.bad) is None


def test_realised_performance_counts_as_it_is_when_the_rollback_is_finished(
    shown: Shown, world: World
) -> None:
    outcomes = Path(str(shown.desk.project.landing)) / "outcomes"
    outcomes.mkdir(exist_ok=True)
    shutil.copy2(world.landing / "outcomes" / f"{shown.desk.window}.parquet", outcomes)
    policy = RollbackSpec(automatic=True, min_age=timedelta(0))
    asked = shown.desk.spec.performance
    strict, mild = (
        with_spec(
            shown.desk,
            performance=asked.model_copy(update={"at_least": {"auroc": bound}}),
            rollback=policy,
        )
        for bound in (0.99, 0.1)
    )
    check = measure_performance(strict.project, strict.spec, strict.window).own_check
    assert check is not None
    for desk, state in ((mild, "reinstated"), (strict, "rolled_back")):
        die_before_the_commit(replace(shown, desk=desk), check)
        done = finish(replace(shown, desk=desk))
        assert done is not None
        assert done.state == state
    assert shown.desk.visible() == shown.old


def test_what_cannot_be_measured_again_is_neither_done_nor_taken_back(shown: Shown) -> None:
    under_policy = acting(shown)
    damage(shown, shown.bad)
    die_before_the_commit(under_policy)
    lose_the_keyring(shown.desk)
    with pytest.raises(KeyringInvalid):
        finish(under_policy)
    assert shown.desk.visible() == shown.bad
    assert shown.verdict(shown.bad) is not None


def test_windows_are_looked_at_for_two_days_after_a_verdict(shown: Shown) -> None:
    now = datetime.now(UTC)
    assert lately(shown, now) == []
    shown.roll_back(now=now)
    assert lately(shown, now + RECENT) == ["2013-07-04"]
    assert lately(shown, now + RECENT + timedelta(seconds=1)) == []


def test_a_damaged_verdict_hides_no_window(shown: Shown) -> None:
    shown.roll_back()
    folder = Path(str(shown.desk.project.lake)) / "flight_delays" / "_condemned"
    (place,) = folder.rglob("*.json")
    place.write_bytes(b"{}")
    now = datetime.now(UTC)
    assert lately(shown, now) == ["2013-07-04"]
    long_ago = (now - RECENT - CLOCKS - timedelta(minutes=1)).timestamp()
    os.utime(place.parent, (long_ago, long_ago))
    assert lately(shown, now) == []  # nor is it looked for in what was judged long ago
