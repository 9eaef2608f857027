"""What is finished of a rollback that died, and what is left to people."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchinf_assets.lake.table import WindowTable
from batchinf_assets.publishing.rollback.automatic import roll_back_if_condemned
from batchinf_assets.publishing.rollback.damage import check_damage
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.rollback.unfinished import (
    RECENT,
    finish_rollback,
    judged_lately,
)
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets_tests.publishing.two_revisions import Died, Shown, die


def acting(shown: Shown) -> Shown:
    """The same under a policy that takes back what is damaged."""
    policy = RollbackSpec(automatic=("verification",))
    spec: PipelineSpec = shown.desk.spec.model_copy(update={"rollback": policy})
    pipeline = replace(shown.desk.pipeline, spec=spec)
    return replace(shown, desk=replace(shown.desk, pipeline=pipeline))


def damage(shown: Shown, revision: str) -> None:
    path = shown.desk.output(revision)
    path.write_bytes(path.read_bytes()[:-8] + b"rubbish!")


def die_before_the_commit(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = shown.desk
    check = check_damage(desk.project, desk.registry, desk.spec, desk.window, shown.bad)
    with monkeypatch.context() as patch:
        patch.setattr(WindowTable, "commit", die)
        with pytest.raises(Died):
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


def test_what_nobody_asked_for_is_begun_again_while_the_policy_says_so(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_policy = acting(shown)
    damage(shown, shown.bad)
    die_before_the_commit(under_policy, monkeypatch)
    assert finish(shown) is None  # the policy was taken away since
    assert shown.desk.visible() == shown.bad
    done = finish(under_policy)
    assert done is not None
    assert (done.state, shown.desk.visible()) == ("rolled_back", shown.old)
    assert finish(under_policy) is None
    assert shown.told() == [("rolled_back", shown.bad, shown.old)]


def test_with_nothing_to_go_back_to_a_ticket_names_the_command_and_it_is_not_tried_again(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_policy = acting(shown)
    damage(shown, shown.bad)
    die_before_the_commit(under_policy, monkeypatch)
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


def test_what_a_person_began_is_left_to_that_person(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(WindowTable, "commit", die)
        with pytest.raises(Died):
            shown.roll_back()
    assert finish(acting(shown)) is None
    assert shown.desk.visible() == shown.bad


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
    assert lately(shown, datetime.now(UTC)) == ["2013-07-04"]
