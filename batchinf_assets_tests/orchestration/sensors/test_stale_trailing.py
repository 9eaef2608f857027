"""Windows with stale trailing figures: all are asked for, once an hour, and not for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG, RUN_KEY_TAG

from batchinf_assets.evaluation.realised.trailing_state import TrailingHistory
from batchinf_assets.orchestration.sensors.repeated_requests import (
    FOLLOW_UP_RUNS,
    repeated_requests,
)
from batchinf_assets.orchestration.sensors.stale_trailing import CHECK, stale_windows
from batchinf_assets.project import Project
from batchinf_assets.publishing.tickets.tickets import read_tickets
from batchinf_assets_tests.spec.test_pipeline import toy

SPEC = toy()
START = datetime(2013, 3, 1, tzinfo=UTC)
AT_ONCE = 20
DAYS = [f"2013-01-{day:02}" for day in range(1, 31)]
STALE = {day: TrailingHistory(made_of="a", now="b") for day in DAYS}
FAILED, LEFT = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.NOT_STARTED


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def project(tmp_path: Path) -> Project:
    here = {name: tmp_path / name for name in ("root", "lake", "landing", "dagster_home", "keys")}
    return Project(**here)


def tick(
    instance: dg.DagsterInstance,
    project: Project,
    found: dict[str, TrailingHistory],
    now: datetime,
    status: dg.DagsterRunStatus = FAILED,
) -> list[str]:
    """Ask for the first few, and leave the runs in a state; return their windows."""
    asked = repeated_requests(instance, project, SPEC, stale_windows(SPEC, found), now)
    requests = list(islice(asked, AT_ONCE))
    for each in requests:
        tags = {
            **each.tags,
            RUN_KEY_TAG: each.run_key or "",
            PARTITION_NAME_TAG: each.partition_key or "",
        }
        instance.add_run(dg.DagsterRun(job_name="toy_performance", tags=tags, status=status))
    return [each.partition_key or "" for each in requests]


def test_more_windows_than_a_tick_takes_all_get_their_runs_and_in_the_end_their_tickets(
    instance: dg.DagsterInstance, project: Project
) -> None:
    asked = Counter[str]()
    for hour in range(FOLLOW_UP_RUNS):
        now = START + timedelta(hours=hour)
        found = [tick(instance, project, STALE, now + timedelta(minutes=m)) for m in range(3)]
        assert found == [DAYS[:AT_ONCE], DAYS[AT_ONCE:], []]
        asked.update(day for days in found for day in days)
    assert read_tickets(project, SPEC) == []
    for more in (24, 25, 72):
        assert tick(instance, project, STALE, START + timedelta(hours=more)) == []
    assert asked == dict.fromkeys(DAYS, FOLLOW_UP_RUNS)
    tickets = [kept.ticket for kept in read_tickets(project, SPEC)]
    assert [each.check for each in tickets] == [CHECK] * len(DAYS)
    told = sorted(each.cause for each in tickets)
    assert told[0].startswith(f"{FOLLOW_UP_RUNS} runs failed to measure window {DAYS[0]} again")


def test_figures_that_would_be_made_of_something_else_are_asked_for_anew(
    instance: dg.DagsterInstance, project: Project
) -> None:
    one = {DAYS[0]: TrailingHistory(made_of="a", now="b")}
    for hour in range(FOLLOW_UP_RUNS + 1):
        last = tick(instance, project, one, START + timedelta(hours=hour))
    assert last == []
    other = {DAYS[0]: TrailingHistory(made_of="a", now="c")}
    assert tick(instance, project, other, START + timedelta(hours=25)) == DAYS[:1]


def test_a_run_that_a_dead_tick_did_not_launch_is_asked_for_once_more(
    instance: dg.DagsterInstance, project: Project
) -> None:
    one = dict(list(STALE.items())[:1])
    assert tick(instance, project, one, START, LEFT) == DAYS[:1]
    assert tick(instance, project, one, START) == DAYS[:1]
    assert tick(instance, project, one, START) == []


def test_windows_whose_figures_are_current_are_not_asked_for(
    instance: dg.DagsterInstance, project: Project
) -> None:
    current = {DAYS[0]: TrailingHistory(made_of="b", now="b")}
    assert tick(instance, project, current, START) == []
