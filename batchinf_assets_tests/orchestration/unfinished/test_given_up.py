"""Windows that are given up, as Dagster shows them: told once, cleared by what comes through."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from batchinf_assets.orchestration.keys import asset_key
from batchinf_assets.orchestration.metadata.names import REFUSED
from batchinf_assets.orchestration.rollback.roll_back import tell_dagster
from batchinf_assets.orchestration.unfinished.given_up import (
    GIVEN_UP,
    clear_given_up,
    tell_given_up,
)
from batchinf_assets.orchestration.unfinished.relaunches import DeadRun
from batchinf_assets.project import Project
from batchinf_assets.publishing.announcements import Announcement
from batchinf_assets.publishing.rollback.plan import Seen
from batchinf_assets.publishing.rollback.roll_back import Rollback
from batchinf_assets.publishing.status.given_up import open_given_up, open_windows
from batchinf_assets.publishing.tickets.tickets import close_ticket, read_tickets
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy()
DAY, OTHER = "2013-01-03", "2013-01-04"
REVISIONS = ("a" * 16, "b" * 16)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def project(tmp_path: Path) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "landing", "dagster_home", "keys")}
    return Project(**here)


def rolled_back(before: Seen, after: Seen | None) -> Rollback:
    told = Announcement(
        event="rolled_back" if after else "withdrawn",
        pipeline=SPEC.name,
        window=DAY,
        before=before.revision,
        after=after.revision if after else None,
        by="Ann",
        reason="Wrong weather",
        at=datetime.now(UTC),
    )
    return Rollback(state=told.event, window=DAY, before=before, after=after, told=told)


def dead(*assets: str, run_id: str = "a-run") -> DeadRun:
    return DeadRun(
        run_id=run_id, died_at=datetime.now(UTC), relaunches=3, assets=assets, unfinished=(DAY,)
    )


def tell(instance: dg.DagsterInstance, project: Project, run: DeadRun) -> list[str]:
    return list(tell_given_up(instance, project, SPEC, {DAY: run}, datetime.now(UTC)))


def clear(instance: dg.DagsterInstance, project: Project) -> list[str]:
    return list(clear_given_up(instance, project, SPEC, datetime.now(UTC)))


def observed(instance: dg.DagsterInstance, asset: str) -> list[dg.AssetObservation]:
    records = instance.fetch_observations(asset_key("toy", asset), limit=9).records
    found = [record.asset_observation for record in records]
    return [each for each in found if each is not None and GIVEN_UP in each.metadata]


def materialize(instance: dg.DagsterInstance, asset: str, window: str) -> None:
    event = dg.AssetMaterialization(asset_key("toy", asset), partition=window)
    instance.report_runless_asset_event(event)


def test_a_window_is_observed_and_gets_its_ticket_once_also_after_a_lost_cursor(
    instance: dg.DagsterInstance, project: Project
) -> None:
    (told,) = tell(instance, project, dead())
    assert told.startswith(f"{DAY}: Given up at published, as run a-run died, and 3 before it")
    assert tell(instance, project, dead()) == []
    (seen,) = observed(instance, "published")
    (kept,) = read_tickets(project, SPEC)
    assert (seen.partition, seen.metadata["ticket"].value) == (DAY, kept.id)
    assert seen.metadata["run"].value == "a-run"


def test_a_tick_that_died_before_the_ticket_shows_it_again(
    instance: dg.DagsterInstance, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"{tell_given_up.__module__}.{open_given_up.__name__}", die)
        with pytest.raises(KeyboardInterrupt):
            tell(instance, project, dead())
    assert len(tell(instance, project, dead())) == 1
    assert len(observed(instance, "published")) == 2
    assert len(read_tickets(project, SPEC)) == 1


def test_only_what_comes_through_of_this_window_afterwards_clears_it(
    instance: dg.DagsterInstance, project: Project
) -> None:
    materialize(instance, "published", DAY)
    tell(instance, project, dead())
    refused = dg.AssetObservation(
        asset_key("toy", "published"), partition=DAY, metadata={REFUSED: "No."}
    )
    instance.report_runless_asset_event(refused)
    materialize(instance, "published", OTHER)
    materialize(instance, "performance", DAY)
    assert clear(instance, project) == []
    materialize(instance, "published", DAY)
    (kept,) = read_tickets(project, SPEC)
    assert clear(instance, project) == [f"{DAY} came through: its ticket {kept.id} is closed."]
    assert clear(instance, project) == []
    assert list(open_windows(project, SPEC)) == []


@pytest.mark.parametrize("after", [Seen(revision=REVISIONS[1], rows=7, model=None), None])
def test_a_window_that_is_taken_back_is_cleared_with_a_reason_of_its_own(
    instance: dg.DagsterInstance, project: Project, after: Seen | None
) -> None:
    tell(instance, project, dead())
    before = Seen(revision=REVISIONS[0], rows=7, model=None)
    unchanged = Rollback(
        state="nothing_to_go_back_to", window=DAY, before=before, after=before, told=None
    )
    tell_dagster(instance, SPEC, unchanged)
    assert clear(instance, project) == []
    tell_dagster(instance, SPEC, rolled_back(before, after))
    (kept,) = read_tickets(project, SPEC)
    assert clear(instance, project) == [f"{DAY} was taken back: its ticket {kept.id} is closed."]
    (kept,) = read_tickets(project, SPEC)
    assert kept.closing is not None
    assert kept.closing.reason.startswith("The window was taken back since")


def test_a_run_that_came_through_and_was_taken_back_came_through(
    instance: dg.DagsterInstance, project: Project
) -> None:
    tell(instance, project, dead())
    materialize(instance, "published", DAY)
    before, after = (Seen(revision=each, rows=7, model=None) for each in REVISIONS)
    tell_dagster(instance, SPEC, rolled_back(before, after))
    (said,) = clear(instance, project)
    assert said.startswith(f"{DAY} came through: ")


def test_a_measurement_that_is_given_up_is_cleared_by_one_also_without_outcomes(
    instance: dg.DagsterInstance, project: Project
) -> None:
    tell(instance, project, dead("performance"))
    assert [each.partition for each in observed(instance, "performance")] == [DAY]
    materialize(instance, "published", DAY)
    assert clear(instance, project) == []
    state = dg.AssetObservation(asset_key("toy", "performance"), partition=DAY, metadata={"n": 1})
    instance.report_runless_asset_event(state)
    assert len(clear(instance, project)) == 1


def test_what_a_person_closed_is_neither_told_again_nor_cleared(
    instance: dg.DagsterInstance, project: Project
) -> None:
    tell(instance, project, dead())
    (kept,) = read_tickets(project, SPEC)
    close_ticket(project, SPEC, kept.id, by="Ann", reason="Moot", at=datetime.now(UTC))
    materialize(instance, "published", DAY)
    assert tell(instance, project, dead()) == clear(instance, project) == []
    assert len(tell(instance, project, dead(run_id="another"))) == 1
