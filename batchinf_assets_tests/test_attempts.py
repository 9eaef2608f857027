"""Attempts: who holds a window under which number, and what the ledger is told of the end."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchinf_assets.attempts import (
    attempting,
    close_killed,
    lease_place,
    predictions_table,
    recorder_of,
    unwritten_attempts,
)
from batchinf_assets.errors import (
    BatchinfError,
    Fenced,
    LostRace,
    ModelRefused,
    Preempted,
    Refusal,
    ShardFailed,
    WindowRefused,
)
from batchinf_assets.lake.files import write_bytes
from batchinf_assets.lake.lease import Lease, LeaseInvalid, read_lease
from batchinf_assets.lake.worker import Worker
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.spec.load import Pipeline
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.resilience.window_run import (
    DAY,
    STAGES,
    outputs,
    run_window,
    small_pipeline,
    verified,
)

PATIENCE_SECONDS = 60.0
LEDGER_FORMAT = CHECKOUT / "docs" / "formats" / "ledger.md"


@pytest.fixture
def lake(tmp_path: Path) -> Project:
    """A project with nothing in it."""
    return Project(
        root=CHECKOUT,
        lake=tmp_path / "lake",
        landing=tmp_path / "landing",
        dagster_home=tmp_path / "dagster",
        keys=tmp_path / "keys",
    )


@pytest.fixture
def spec(pipeline: Pipeline) -> PipelineSpec:
    return pipeline.spec


@pytest.fixture
def window(pipeline: Pipeline) -> Window:
    return pipeline.spec.window.window(DAY)


@pytest.fixture
def attempt_at(lake: Project, spec: PipelineSpec, window: Window) -> Callable[..., tuple[int, str]]:
    """Go through one stage, raise an error if one is given, and return token and trace."""

    def work(
        run_id: str,
        stage: str = "predictions",
        error: BaseException | None = None,
        window: Window = window,
    ) -> tuple[int, str]:
        with attempting(lake, spec, window, run_id=run_id, stage=stage) as attempt:
            attempt.require_held()
            if error is not None:
                raise error
        return attempt.token, attempt.trace_id

    return work


def recorded(project: Project) -> list[dict[str, Any]]:
    """Return the ledger's attempts once everything is written."""
    assert recorder_of(project).flush(PATIENCE_SECONDS) == 0
    return Ledger(project.lake).read().to_pylist()


def test_a_run_keeps_its_number_over_its_stages_and_the_next_run_has_a_higher_one(
    attempt_at: Callable[..., tuple[int, str]],
) -> None:
    tokens = [attempt_at("run-1", stage)[0] for stage in STAGES]
    assert tokens == [1] * len(STAGES)
    assert attempt_at("run-2")[0] == 2
    assert attempt_at("run-1")[0] == 3


def test_a_trace_is_that_of_a_run_at_a_window_in_all_its_stages(
    attempt_at: Callable[..., tuple[int, str]], spec: PipelineSpec
) -> None:
    traces = {attempt_at("run-1", stage)[1] for stage in STAGES}
    (trace,) = traces
    assert re.fullmatch(r"[0-9a-f]{32}", trace)
    others = {
        attempt_at("run-2")[1],
        attempt_at("run-1", window=spec.window.window("2013-07-05"))[1],
    }
    assert len(others | traces) == 3


def test_where_the_lease_file_was_removed_the_number_is_above_those_in_the_tables_log(
    lake: Project,
    spec: PipelineSpec,
    window: Window,
    attempt_at: Callable[..., tuple[int, str]],
) -> None:
    predictions_table(lake, spec).fence(window, 6)
    assert attempt_at("run-1")[0] == 7


def test_where_the_lease_file_came_from_a_backup_the_number_is_above_those_in_the_tables_log(
    lake: Project,
    spec: PipelineSpec,
    window: Window,
    attempt_at: Callable[..., tuple[int, str]],
) -> None:
    attempt_at("run-1")
    place, table = lease_place(lake, spec, window), predictions_table(lake, spec)
    backup = place.read_bytes()
    for run in range(2, 7):
        table.fence(window, attempt_at(f"run-{run}")[0])
    write_bytes(place, backup)
    token = attempt_at("run-7", "published")[0]
    assert token == 7
    table.commit(window, [], {}, token=token)


def test_a_damaged_lease_is_recorded_as_the_failure_of_no_attempt(
    lake: Project,
    spec: PipelineSpec,
    window: Window,
    attempt_at: Callable[..., tuple[int, str]],
) -> None:
    write_bytes(lease_place(lake, spec, window), b"{")
    with pytest.raises(LeaseInvalid, match="is no lease"):
        attempt_at("run-1")
    (record,) = recorded(lake)
    assert (record["state"], record["reason_code"]) == ("failed", "lease_invalid")
    assert (record["attempt"], record["run_id"]) == (0, "run-1")


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (Preempted("It was interrupted.", next_step="Again."), "preempted", "preempted"),
        (
            WindowRefused("A check failed.", next_step="Mend it.", checks=()),
            "refused",
            "window_refused",
        ),
        (
            ModelRefused("It is unsigned.", reason=Refusal.UNSIGNED, next_step="Sign."),
            "refused",
            "model_refused/unsigned",
        ),
        (ShardFailed("No room.", next_step="Make room."), "failed", "shard_failed"),
        (LostRace("Another one was faster.", next_step="Look."), "lost_race", "lost_race"),
    ],
)
def test_an_attempt_that_fails_says_how_and_raises_what_it_met(
    lake: Project,
    attempt_at: Callable[..., tuple[int, str]],
    error: BatchinfError,
    state: str,
    code: str,
) -> None:
    with pytest.raises(type(error)) as raised:
        attempt_at("run-1", error=error)
    assert raised.value is error
    (record,) = recorded(lake)
    assert (record["state"], record["reason_code"]) == (state, code)
    assert record["reason"] == error.message
    assert (record["attempt"], record["run_id"], record["stage"]) == (1, "run-1", "predictions")
    assert set(dict(record["stage_seconds"])) == {"predictions"}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError("postgres://user:secret@host"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_unexpected_error_is_recorded_by_its_class_alone_and_raised(
    lake: Project,
    spec: PipelineSpec,
    window: Window,
    attempt_at: Callable[..., tuple[int, str]],
    error: BaseException,
    name: str,
) -> None:
    with pytest.raises(type(error)) as raised:
        attempt_at("run-1", error=error)
    assert raised.value is error
    (record,) = recorded(lake)
    assert (record["state"], record["reason"]) == ("failed", name)
    assert record["reason_code"].startswith("unexpected/")
    assert "secret" not in str(record)
    lease = read_lease(lease_place(lake, spec, window), window.key)
    assert lease is not None
    assert lease.state == "free"


def test_who_is_told_to_leave_in_a_process_of_its_own_is_recorded_as_preempted(
    lake: Project, attempt_at: Callable[..., tuple[int, str]]
) -> None:
    with pytest.raises(SystemExit):
        attempt_at("run-1", error=SystemExit())
    (record,) = recorded(lake)
    assert (record["state"], record["reason_code"]) == ("preempted", "preempted")


def test_a_window_that_another_run_holds_is_not_worked_on(
    lake: Project,
    spec: PipelineSpec,
    window: Window,
    attempt_at: Callable[..., tuple[int, str]],
) -> None:
    with attempting(lake, spec, window, run_id="run-1", stage="predictions") as first:
        with pytest.raises(LostRace, match=r"is being worked on .* by run run-1"):
            attempt_at("run-2")
        first.require_held()
    by_run = {record["run_id"]: record for record in recorded(lake)}
    assert by_run["run-1"]["state"] == "scored"
    refused = by_run["run-2"]
    assert (refused["state"], refused["attempt"]) == ("lost_race", 0)
    assert "run-1" in refused["reason"]


def test_who_is_replaced_while_he_works_learns_it_and_it_is_recorded_as_his(
    lake: Project, spec: PipelineSpec, window: Window
) -> None:
    def work() -> None:
        with attempting(lake, spec, window, run_id="run-1", stage="published") as attempt:
            Path(str(lease_place(lake, spec, window))).unlink()
            attempt.require_held()

    with pytest.raises(LostRace, match="no longer holds window"):
        work()
    (record,) = recorded(lake)
    assert (record["state"], record["attempt"], record["run_id"]) == ("lost_race", 1, "run-1")


@pytest.fixture
def dead(lake: Project, spec: PipelineSpec, window: Window) -> Lease:
    """The lease of a run whose process ended without releasing it."""
    beat = datetime.now(UTC) - timedelta(seconds=5)
    # No process of now began at the boot, so this one has ended, whatever its number.
    worker = Worker.here().model_copy(update={"started": 1})
    lease = Lease(
        window=window.key,
        token=4,
        holder="run-1",
        worker=worker,
        stage="evaluation",
        hold="0123456789abcdef",
        since=beat - timedelta(seconds=2),
        beat_at=beat,
        ttl_seconds=3_600,
    )
    place = Path(str(lease_place(lake, spec, window)))
    place.parent.mkdir(parents=True)
    place.write_bytes(lease.to_json())
    return lease


def test_a_dead_attempt_is_closed_by_its_successor_with_the_last_that_is_known_of_it(
    lake: Project, dead: Lease, attempt_at: Callable[..., tuple[int, str]]
) -> None:
    assert attempt_at("run-2")[0] == 5
    killed, successor = recorded(lake)
    assert (killed["state"], killed["reason_code"]) == ("killed", "killed")
    assert (killed["attempt"], killed["run_id"], killed["stage"]) == (4, "run-1", "evaluation")
    assert (killed["started_at"], killed["ended_at"]) == (dead.since, dead.beat_at)
    assert killed["worker"] == str(dead.worker)
    assert killed["trace_id"] == attempt_at("run-1")[1]
    assert [killed[name] for name in ("rows", "cpu_seconds", "peak_memory_bytes")] == [None] * 3
    assert (successor["attempt"], successor["state"]) == (5, "scored")


def test_a_dead_attempt_cannot_commit_any_more_should_it_wake_up(
    lake: Project,
    spec: PipelineSpec,
    window: Window,
    dead: Lease,
    attempt_at: Callable[..., tuple[int, str]],
) -> None:
    attempt_at("run-2")
    table = predictions_table(lake, spec)
    assert table.token_of(window) == 5
    with pytest.raises(Fenced):
        table.commit(window, [], {}, token=dead.token)


@pytest.fixture
def small() -> Pipeline:
    return small_pipeline()


def test_the_records_of_all_stages_make_one_published_attempt(
    project: Project, small: Pipeline, window: Window
) -> None:
    scored = run_window(project, small, window, "run-1")
    (record,) = recorded(project)
    assert (record["state"], record["stage"], record["attempt"]) == ("published", "published", 1)
    assert set(dict(record["stage_seconds"])) == set(STAGES)
    assert (record["revision"], record["rows"]) == (scored.revision, scored.counts.scored)
    assert (record["shards_total"], record["shards_computed"]) == (3, 3)
    assert record["bytes_written"] == sum(output.bytes for output in scored.outputs)
    assert record["retries"] == 0
    assert record["bytes_written"] == sum(output.bytes for output in scored.outputs)
    assert (record["trace_id"], record["run_id"]) == (scored.trace_id, scored.run_id)
    assert record["manifest_sha256"] is not None
    assert record["reason_code"] is None


def test_running_a_published_window_again_is_recorded_as_no_change(
    project: Project, small: Pipeline, window: Window
) -> None:
    first = run_window(project, small, window, "run-1")
    before = outputs(project, small, window)
    run_window(project, small, window, "run-2")
    assert outputs(project, small, window) == before
    states = {record["attempt"]: record["state"] for record in recorded(project)}
    assert states == {1: "published", 2: "unchanged"}
    assert recorded(project)[1]["revision"] == first.revision


def test_where_the_ledger_cannot_be_written_the_window_is_published_and_the_records_wait(
    project: Project, small: Pipeline, window: Window, tmp_path: Path
) -> None:
    in_the_way = Path(str(project.lake)) / "_ledger"
    in_the_way.write_text("no folder")
    run_window(project, small, window, "run-1")
    assert verified(project, small, window).holds
    waiting = recorder_of(project).flush(PATIENCE_SECONDS)
    spool = unwritten_attempts(project)
    assert waiting == len(list(spool.glob("*.json"))) == len(STAGES)

    elsewhere = replace(project, lake=tmp_path / "another lake")
    assert recorder_of(elsewhere).flush(PATIENCE_SECONDS) == 0
    assert recorded(elsewhere) == []
    assert len(list(spool.glob("*.json"))) == len(STAGES)

    in_the_way.unlink()
    (record,) = recorded(project)
    assert (record["state"], record["attempt"]) == ("published", 1)
    assert list(spool.glob("*.json")) == []


def test_records_of_an_unknown_lake_wait_until_they_are_moved_as_the_docs_say(
    project: Project, small: Pipeline, window: Window
) -> None:
    in_the_way = Path(str(project.lake)) / "_ledger"
    in_the_way.write_text("no folder")
    run_window(project, small, window, "run-1")
    assert recorder_of(project).flush(PATIENCE_SECONDS) == len(STAGES)
    spool = unwritten_attempts(project)
    for path in spool.glob("*.json"):
        path.rename(spool.parent / path.name)
    in_the_way.unlink()
    assert recorded(project) == []
    how = re.search(r"```console\n(.*?)```", LEDGER_FORMAT.read_text(), flags=re.DOTALL)
    assert how is not None
    environ = {**os.environ, "DAGSTER_HOME": str(project.dagster_home), "LAKE": str(project.lake)}
    subprocess.run(["bash", "-euc", how[1]], env=environ, timeout=60, check=True)
    assert [record["state"] for record in recorded(project)] == ["published"]


@pytest.mark.parametrize("holder", ["run-1", "run-2"])
def test_a_run_closes_what_its_own_dead_process_held_also_where_nobody_can_see_that_it_died(
    lake: Project, spec: PipelineSpec, window: Window, holder: str
) -> None:
    now, place = datetime.now(UTC), lease_place(lake, spec, window)
    held = Lease(
        window=window.key,
        token=4,
        holder=holder,
        worker=Worker(host="here", pid=2),  # no /proc: not known when it started
        stage="evaluation",
        hold="0",
        since=now,
        beat_at=now,
        ttl_seconds=60,
    )
    write_bytes(place, held.to_json())
    close_killed(lake, spec, window, run_id="run-1", stage="evaluation")
    states = [record["state"] for record in recorded(lake)]
    lease = read_lease(place, window.key)
    assert lease is not None
    expected = ("free", ["killed"]) if holder == "run-1" else ("held", [])
    assert (lease.state, states) == expected
