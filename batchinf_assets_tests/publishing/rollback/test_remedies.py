"""What is done about a published revision that does not verify, and what nothing is done about."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest

from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.proof.verify import verify_key
from batchinf_assets.publishing.rollback.remedies import (
    Remedy,
    Telling,
    judge_damage,
    take_all_back,
)
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.spec.evaluation import RollbackSpec
from batchinf_assets.spec.load import Pipeline
from batchinf_assets_tests.publishing.desk import Desk
from batchinf_assets_tests.publishing.proof.test_verify import damage_the_snapshot, flip_a_bit
from batchinf_assets_tests.publishing.two_revisions import NOW, Shown


@pytest.fixture
def acting(shown: Shown) -> Desk:
    """The desk of a policy that takes back what does not verify."""
    spec = shown.desk.spec.model_copy(
        update={"rollback": RollbackSpec(automatic=("verification",))}
    )
    return replace(shown.desk, pipeline=Pipeline(spec=spec, folder=shown.desk.pipeline.folder))


def judged(desk: Desk) -> dict[str, Remedy]:
    found = verify_key(desk.project, desk.registry, desk.spec, desk.window.key)
    return judge_damage(desk.project, desk.registry, desk.spec, [found])


def taken_back(desk: Desk, telling: Telling) -> dict[str, Remedy]:
    return take_all_back(
        desk.project,
        desk.registry,
        desk.spec,
        judged(desk),
        run_id="verifying",
        now=NOW,
        telling=telling,
    )


def test_what_was_taken_back_is_told_once_and_is_said(acting: Desk, shown: Shown) -> None:
    flip_a_bit(acting)
    told: list[Rollback] = []
    (remedy,) = taken_back(acting, lambda: nullcontext(told.append)).values()
    assert str(remedy) == f"Rolled back by itself: readers see revision {shown.old} now."
    assert [done.state for done in told] == ["rolled_back"]
    assert acting.visible() == shown.old
    assert taken_back(acting, lambda: nullcontext(told.append)) == {}
    assert len(told) == 1


def test_where_nobody_can_be_told_nothing_is_taken_back(acting: Desk, shown: Shown) -> None:
    flip_a_bit(acting)

    @contextmanager
    def telling() -> Generator[Callable[[Rollback], None]]:
        raise PermissionError(13, "Permission denied")
        yield

    (remedy,) = taken_back(acting, telling).values()
    assert "It was not taken back: [Errno 13] Permission denied" in str(remedy)
    assert f"--from {shown.bad} --reason TEXT`" in str(remedy)
    assert acting.visible() == shown.bad
    assert announcements(acting.project, acting.spec, acting.window) == []


def test_what_does_not_verify_and_is_not_damaged_needs_no_remedy(acting: Desk) -> None:
    damage_the_snapshot(acting)
    assert not verify_key(acting.project, acting.registry, acting.spec, acting.window.key).holds
    assert judged(acting) == {}


def test_without_the_policy_only_the_command_is_named(shown: Shown) -> None:
    flip_a_bit(shown.desk)
    remedies = taken_back(shown.desk, lambda: nullcontext(print))
    by_hand = f"batchinf rollback flight_delays {shown.desk.window} --from {shown.bad}"
    assert str(remedies[shown.desk.window.key]) == f"Take it back: `{by_hand} --reason TEXT`."
    assert shown.desk.visible() == shown.bad


def test_a_window_that_defs_yaml_no_longer_declares_is_named_and_left_alone(desk: Desk) -> None:
    found = verify_key(desk.project, desk.registry, desk.spec, "2013-07-04-05:00")
    assert (found.holds, found.known) == (False, True)
    assert "defs.yaml no longer declares this window" in found.problems[0]
    assert judge_damage(desk.project, desk.registry, desk.spec, [found]) == {}
