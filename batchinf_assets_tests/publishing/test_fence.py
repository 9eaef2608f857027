"""Who lost the window publishes nothing, and damages nothing of who has it now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from batchinf_assets.attempts import attempting, lease_place
from batchinf_assets.errors import Fenced, LostRace
from batchinf_assets.evaluation.drift.sketches import sketch_table
from batchinf_assets.evaluation.evaluate import evaluate_window
from batchinf_assets.evaluation.records.metric_tables import metric_table
from batchinf_assets.lake.fence import Fence
from batchinf_assets.lake.lease import read_lease
from batchinf_assets.publishing.proof.verify import verify_window
from batchinf_assets.publishing.publish import publish_window
from batchinf_assets.scoring.predictions import manifests, predictions_table

if TYPE_CHECKING:
    from batchinf_assets_tests.publishing.desk import Desk

NOW = datetime(2013, 7, 4, 5, tzinfo=UTC)
LATER = datetime(2013, 7, 4, 6, tzinfo=UTC)
ROWS = 737


@dataclass
class Tired:
    """An attempt that falls asleep right after its n-th look at the lease; others work meanwhile.

    When it wakes up it does not know that they did.
    """

    meanwhile: Callable[[], object]
    look: int
    token: int = 1

    def require_held(self) -> None:
        self.look -= 1
        if self.look == 0:
            self.meanwhile()


@dataclass
class Lost:
    """An attempt whose lease somebody took."""

    token: int = 1

    def require_held(self) -> None:
        raise LostRace("Another run took the window over.", next_step="Look at it.")


@dataclass
class Successor:
    """The attempt after it."""

    token: int = 2

    def require_held(self) -> None:
        """Nobody takes it."""


def publish(desk: Desk, lease: Fence, now: datetime = NOW) -> bool:
    return publish_window(
        desk.project,
        desk.registry,
        desk.pipeline,
        desk.window,
        key=desk.key,
        lease=lease,
        now=now,
    ).changed


def without_first(rows: pa.Table) -> pa.Table:
    return rows.slice(1)


def holds(desk: Desk) -> bool:
    return verify_window(desk.project, desk.registry, desk.spec, desk.window).holds


def test_a_lost_lease_publishes_nothing(desk: Desk) -> None:
    with pytest.raises(LostRace):
        publish(desk, Lost())
    assert desk.visible() is None
    assert manifests(desk.project, desk.spec).revisions(desk.window) == []


def test_a_lost_lease_leaves_the_draft_of_its_successor(desk: Desk) -> None:
    desk.publish()
    desk.prepare()
    draft = desk.published().model_copy(update={"published_at": None})
    manifests(desk.project, desk.spec).write_draft(desk.window, draft)
    with pytest.raises(LostRace):
        publish(desk, Lost())
    assert desk.draft() == draft


@pytest.mark.parametrize("look", [1, 2])
def test_an_attempt_that_wakes_up_after_another_published_the_same_changes_nothing(
    desk: Desk, look: int
) -> None:
    with pytest.raises(LostRace):
        publish(desk, Tired(lambda: publish(desk, Successor(), LATER), look))
    assert desk.published().published_at == (LATER if look == 1 else NOW)
    assert desk.rows().num_rows == ROWS
    assert holds(desk)


@pytest.mark.parametrize("look", [1, 2])
def test_an_attempt_that_wakes_up_after_newer_data_was_published_is_fenced(
    desk: Desk, look: int
) -> None:
    old = desk.draft().revision

    def newer() -> None:
        desk.correct(without_first)
        desk.prepare()
        publish(desk, Successor())

    with pytest.raises(Fenced):
        publish(desk, Tired(newer, look))
    assert desk.visible() != old
    assert desk.rows().num_rows == ROWS - 1
    assert holds(desk)


def test_an_attempt_that_was_shut_out_of_the_log_cannot_publish(desk: Desk) -> None:
    predictions_table(desk.project, desk.spec).fence(desk.window, 2)
    with pytest.raises(Fenced):
        publish(desk, Tired(lambda: None, 0))
    assert desk.visible() is None
    assert publish(desk, Successor())
    assert holds(desk)


def test_a_fence_after_publishing_does_not_hide_what_was_published(desk: Desk) -> None:
    desk.publish()
    predictions_table(desk.project, desk.spec).fence(desk.window, 5)
    assert desk.rows().num_rows == ROWS
    assert holds(desk)


def test_who_was_replaced_while_it_evaluated_leaves_the_draft_of_its_successor(desk: Desk) -> None:
    draft = desk.draft()
    with pytest.raises(LostRace):
        evaluate_window(desk.project, desk.spec, desk.window, desk.model, lease=Lost())
    assert desk.draft() == draft


@pytest.mark.parametrize("look", [1, 2])
def test_who_wakes_up_in_evaluation_after_its_successor_evaluated_keeps_nothing(
    desk: Desk, look: int
) -> None:
    project, spec, window, model = desk.project, desk.spec, desk.window, desk.model
    tables = sketch_table(project, spec), metric_table(project, spec, "evaluation")
    kept = list[tuple[object, ...]]()

    def newer() -> None:
        desk.correct(without_first)
        desk.score()
        evaluate_window(project, spec, window, model, lease=Successor())
        kept.append((*(table.files_of(window) for table in tables), desk.draft()))

    old = desk.draft().revision
    with pytest.raises(Fenced):
        evaluate_window(project, spec, window, model, lease=Tired(newer, look))
    assert desk.draft().revision != old
    assert kept == [(*(table.files_of(window) for table in tables), desk.draft())]


def test_where_the_lease_file_came_from_a_backup_the_next_attempt_evaluates_at_once(
    desk: Desk,
) -> None:
    metric_table(desk.project, desk.spec, "evaluation").fence(desk.window, 6)
    with attempting(
        desk.project, desk.spec, desk.window, run_id="run", stage="evaluation"
    ) as attempt:
        assert attempt.token == 7
        evaluate_window(desk.project, desk.spec, desk.window, desk.model, lease=attempt)


@pytest.mark.parametrize("run_id", ["run", "another run"])
def test_where_the_lease_file_came_from_a_backup_the_next_attempt_publishes_at_once(
    desk: Desk, run_id: str
) -> None:
    predictions_table(desk.project, desk.spec).fence(desk.window, 6)
    lease = read_lease(lease_place(desk.project, desk.spec, desk.window), desk.window.key)
    assert lease is not None
    assert (lease.token, lease.holder) == (1, "run")  # that of the scoring, before the other five
    with attempting(
        desk.project, desk.spec, desk.window, run_id=run_id, stage="published"
    ) as attempt:
        assert attempt.token == 7
        assert publish(desk, attempt)
    assert holds(desk)


def test_a_real_attempt_publishes_under_its_token(desk: Desk) -> None:
    with attempting(
        desk.project, desk.spec, desk.window, run_id="run", stage="published"
    ) as attempt:
        assert publish(desk, attempt)
        token = predictions_table(desk.project, desk.spec).token_of(desk.window)
        assert token == attempt.token
