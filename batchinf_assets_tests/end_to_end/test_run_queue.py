"""Quotas and priorities as they hold in a deployment: a real queue, daemon and run workers.

Every test fills the queue while no daemon runs, so that the daemon then finds all runs at once.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG

from batchinf_assets.orchestration.run_queue import PRIORITY_TAG, WINDOW_TAG
from batchinf_assets_tests.end_to_end.gated_pipelines import gate_of
from batchinf_assets_tests.resilience.deployed import Deployment, deployed

MODULE = "batchinf_assets_tests.end_to_end.gated_pipelines"
TODAY, YESTERDAY = "2013-07-31", "2013-07-30"
RANGE = ("2013-07-01", "2013-07-03")


def room_for(runs: int) -> dict[str, object]:
    return {"concurrency": {"runs": {"max_concurrent_runs": runs}}}


@pytest.fixture
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment with an empty queue, and the gate closed."""
    with deployed(tmp_path / "dagster", MODULE, room_for(request.param)) as made:
        gate_of(made.home).touch()
        yield made


def window(queue: Deployment, pipeline: str, day: str) -> str:
    """Ask for a window by a click in the asset graph."""
    assets = (f"{pipeline}/snapshot", f"{pipeline}/predictions")
    return queue.launch(*assets, **{PARTITION_NAME_TAG: day})


def launched(queue: Deployment, *expected: str) -> set[str]:
    """Return the runs that left the queue, once those expected did and the daemon looked again."""
    queue.wait_until("runs leave the queue", lambda: {*expected} <= out_of_queue(queue))
    looked = looks(queue)
    queue.wait_until("the daemon looks at the queue twice", lambda: looks(queue) >= looked + 2)
    return out_of_queue(queue)


def out_of_queue(queue: Deployment) -> set[str]:
    return {run.run_id for run in queue.runs() if run.status.value not in ("NOT_STARTED", "QUEUED")}


def looks(queue: Deployment) -> int:
    """Count how often the daemon went through the queue, or found no room for more."""
    printed = (queue.home / "daemon.log").read_text()
    return len(re.findall("Priority sorting and checking|won't launch more", printed))


def open_gate(queue: Deployment) -> None:
    gate_of(queue.home).unlink()


def all_succeed(queue: Deployment) -> None:
    queue.wait_until(
        "all runs succeed", lambda: {run.status.value for run in queue.runs()} == {"SUCCESS"}
    )


@pytest.mark.parametrize("queue", [1], indirect=True)
def test_the_window_of_today_starts_before_a_backfill_that_was_launched_earlier(
    queue: Deployment,
) -> None:
    first = window(queue, "fares", TODAY)
    backfill_id = queue.backfill(*RANGE, "arrivals/snapshot", "arrivals/predictions")
    queue.start_daemon()
    assert launched(queue, first) == {first}
    queue.wait_until("the backfill's run", lambda: len(queue.runs()) == 2)
    (waiting,) = queue.runs(**{"dagster/backfill": backfill_id})
    queue.wait_until("it is queued", lambda: queue.status(waiting.run_id) == "QUEUED")
    today = window(queue, "arrivals", TODAY)
    assert launched(queue) == {first}
    open_gate(queue)
    all_succeed(queue)
    starts = {
        run_id: queue.instance.get_run_stats(run_id).start_time
        for run_id in (waiting.run_id, today)
    }
    assert starts[today] < starts[waiting.run_id]
    (queued,) = queue.runs(**{"dagster/backfill": backfill_id})
    assert queued.tags[PRIORITY_TAG] == "-10"


@pytest.mark.parametrize("queue", [4], indirect=True)
def test_one_run_per_window_one_place_for_backfills_and_two_for_a_team(queue: Deployment) -> None:
    one = window(queue, "arrivals", TODAY)
    again = window(queue, "arrivals", TODAY)
    other = window(queue, "departures", TODAY)
    third_of_team = window(queue, "departures", YESTERDAY)
    of_another_team = window(queue, "fares", TODAY)
    tags = {run.run_id: run.tags for run in queue.runs()}
    assert tags[again][WINDOW_TAG] == tags[one][WINDOW_TAG] == f"arrivals/{TODAY}"
    assert tags[third_of_team]["team"] == "red"
    ranges = ("fares/snapshot", "fares/predictions")
    queue.backfill(*RANGE, *ranges)
    queue.backfill("2013-07-04", "2013-07-05", *ranges)
    queue.start_daemon()
    queue.wait_until("the backfills' runs", lambda: len(queue.runs()) == 7)
    backfills = [run.run_id for run in queue.runs() if "dagster/backfill" in run.tags]
    queue.wait_until(
        "a backfill leaves the queue", lambda: out_of_queue(queue).intersection(backfills) != set()
    )
    running = launched(queue, one, other, of_another_team)
    assert running - set(backfills) == {one, other, of_another_team}
    assert len(running & set(backfills)) == 1
    assert queue.status(again) == queue.status(third_of_team) == "QUEUED"


@pytest.mark.parametrize("queue", [4], indirect=True)
def test_a_pool_lets_one_run_in_and_the_next_when_its_worker_was_killed(
    queue: Deployment,
) -> None:
    queue.dagster("instance", "concurrency", "set", "arrivals", "1")
    one, two = (window(queue, "arrivals", day) for day in (TODAY, YESTERDAY))
    other = window(queue, "fares", TODAY)
    queue.start_daemon()
    assert launched(queue, one, other) == {one, other}
    queue.wait_until("its worker tells its name", lambda: queue.status(one) == "STARTED")
    os.kill(worker_of(queue, one), signal.SIGKILL)
    queue.wait_until("the next run starts", lambda: two in out_of_queue(queue))
    assert queue.status(one) == "FAILURE"


def worker_of(queue: Deployment, run_id: str) -> int:
    """Return the process id of a run's worker, as it told when it began."""
    told = [entry.message for entry in queue.instance.all_logs(run_id)]
    (pid,) = {found[1] for text in told if (found := re.search(r"pid: (\d+)", text))}
    return int(pid)
