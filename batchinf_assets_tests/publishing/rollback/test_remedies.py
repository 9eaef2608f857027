"""What is done about a published revision that does not verify, and what nothing is done about."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import NoReturn

import pytest

from batchinf_assets.lake.presence import Presence
from batchinf_assets.publishing.announcements import announcements
from batchinf_assets.publishing.proof.verify import Verification, verify_key
from batchinf_assets.publishing.rollback import remedies, roll_back
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


def verified(desk: Desk, key: str) -> Verification:
    presence = Presence.of(desk.project.lake)
    return verify_key(desk.project, desk.registry, desk.spec, key, presence)


def judged(desk: Desk) -> dict[str, Remedy]:
    found = verified(desk, desk.window.key)
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


def fails(*_given: object) -> NoReturn:
    raise OSError(5, "database is locked")


@pytest.mark.parametrize(("room", "step"), [(None, ""), (roll_back, "announce")])
def test_what_was_taken_back_is_never_said_not_to_be(
    acting: Desk,
    shown: Shown,
    monkeypatch: pytest.MonkeyPatch,
    room: ModuleType | None,
    step: str,
) -> None:
    flip_a_bit(acting)
    if room is not None:
        announced = getattr(room, step)
        calls = iter([announced, fails])
        monkeypatch.setattr(room, step, lambda *given: next(calls)(*given))
    (remedy,) = taken_back(acting, lambda: nullcontext(fails)).values()
    assert acting.visible() == shown.old
    assert str(remedy) == (
        f"Rolled back by itself: readers see revision {shown.old} now. Not everybody was told: "
        "[Errno 5] database is locked The sensor `flight_delays_unfinished` does that then."
    )
    assert remedy.rollback is not None
    assert remedy.rollback.state == "rolled_back"


def test_what_was_not_committed_is_said_not_to_be_taken_back(
    acting: Desk, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_a_bit(acting)
    monkeypatch.setattr(roll_back, "show_revision", fails)
    (remedy,) = taken_back(acting, lambda: nullcontext(print)).values()
    assert "It was not taken back: [Errno 5] database is locked" in str(remedy)
    assert acting.visible() == shown.bad


def test_where_nobody_can_look_it_is_not_known_whether_it_was_taken_back(
    acting: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_a_bit(acting)
    monkeypatch.setattr(remedies, "last_announcement", fails)
    (remedy,) = taken_back(acting, lambda: nullcontext(fails)).values()
    assert "Whether it was taken back is not known: [Errno 5] database is locked" in str(remedy)


def test_what_does_not_verify_and_is_not_damaged_needs_no_remedy(acting: Desk) -> None:
    damage_the_snapshot(acting)
    assert not verified(acting, acting.window.key).holds
    assert judged(acting) == {}


def test_without_the_policy_only_the_command_is_named(shown: Shown) -> None:
    flip_a_bit(shown.desk)
    remedies = taken_back(shown.desk, lambda: nullcontext(print))
    by_hand = f"batchinf rollback flight_delays {shown.desk.window} --from {shown.bad}"
    assert str(remedies[shown.desk.window.key]) == f"Take it back: `{by_hand} --reason TEXT`."
    assert shown.desk.visible() == shown.bad


def test_a_window_that_defs_yaml_no_longer_declares_is_named_and_left_alone(desk: Desk) -> None:
    found = verified(desk, "2013-07-04-05:00")
    assert (found.holds, found.known) == (False, True)
    assert "defs.yaml no longer declares this window" in found.problems[0]
    assert judge_damage(desk.project, desk.registry, desk.spec, [found]) == {}
