"""What a run tells of itself: while it goes on, window by window, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from batchinf_assets.checks import CheckResult, Violation
from batchinf_assets.errors import Preempted, StorageRefused
from batchinf_assets.orchestration.assets.window_asset import window_asset
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.runs.execute import Reported, RunReport, run_job
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.orchestration.unfinished.sensor import HERE
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.windows import Window

FIRST, BAD, LAST = "2013-07-01", "2013-07-02", "2013-07-03"
REFUSED = StorageRefused("The store refused.", next_step="Ask for access.")

Body = Callable[[Window], Sequence[CheckResult] | None]
Run = Callable[..., RunReport]


def nothing(_window: Window) -> None:
    pass


def silent(_window: str, _asset: str) -> None:
    pass


def raising(error: Exception) -> Body:
    def body(window: Window) -> None:
        if window.key == BAD:
            raise error

    return body


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lake"))
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def run(instance: dg.DagsterInstance) -> Run:
    """Run three windows through a first step that does this, and a last one that does that."""
    found = load_pipeline("flight_delays")
    here = found.spec.backfill.model_copy(update={"workers": 1})  # where the test's bodies are
    spec = found.spec.model_copy(update={"backfill": here})
    pipeline = Pipeline(spec=spec, folder=found.folder)

    def asset(name: str, upstream: list[str], body: Body) -> dg.AssetsDefinition:
        def step(_at: Workplace, _of: Pipeline, _tried: Try, window: Window) -> WindowResult:
            checks = body(window) or ()
            return WindowResult(data_version="1", metadata={}, checks=checks)

        return window_asset(pipeline, name, upstream, step, kinds=set())

    def act(first: Body = nothing, last: Body = nothing, said: Reported = silent) -> RunReport:
        assets = [asset("snapshot", [], first), asset("performance", ["snapshot"], last)]
        defs = dg.Definitions(
            assets=assets,
            jobs=[dg.define_asset_job("windows", selection=assets)],
            resources={"workplace": Workplace()},
            executor=dg.in_process_executor,
        )
        windows = spec.window.between(FIRST, LAST)
        return run_job(defs.resolve_job_def("windows"), instance, windows, said)

    return act


def test_every_finished_window_of_every_asset_is_told_once_and_in_order(run: Run) -> None:
    told: list[tuple[str, str]] = []
    report = run(said=lambda window, asset: told.append((asset, window)))
    days = (FIRST, BAD, LAST)
    assert told == [(asset, day) for asset in ("snapshot", "performance") for day in days]
    assert (report.succeeded, report.failure, report.refused) == (True, None, {})
    assert (report.crashed, report.preempted) == (False, False)
    assert report.done == [FIRST, BAD, LAST]
    assert set(report.seconds) == {FIRST, BAD, LAST}


def test_a_window_refused_at_the_first_or_at_the_last_step_is_not_done_and_says_why(
    run: Run,
) -> None:
    for steps in ({"first": raising(REFUSED)}, {"last": raising(REFUSED)}):
        report = run(**steps)
        assert not report.succeeded
        assert report.refused == {BAD: "The store refused. Ask for access."}
        assert report.done == [FIRST, LAST]
        assert (report.crashed, report.preempted) == (False, False)
        assert report.failure == f"{BAD}: The store refused. Ask for access."


def test_a_run_that_is_told_to_leave_is_preempted_and_did_not_crash(run: Run) -> None:
    report = run(last=raising(Preempted("Told to leave.", next_step="Run it again.")))
    assert (report.succeeded, report.preempted, report.crashed) == (False, True, False)
    assert report.failure == "Told to leave. Run it again."
    assert (report.done, report.refused) == ([FIRST], {})


def test_a_step_that_fails_by_itself_crashed_and_its_cause_is_the_sentence(run: Run) -> None:
    report = run(first=raising(dg.DagsterInvariantViolationError("The step is broken.")))
    assert (report.succeeded, report.crashed, report.preempted) == (False, True, False)
    assert "The step is broken." in (report.failure or "")
    assert (report.done, report.refused) == ([], {})


def test_dagster_knows_the_run_as_one_of_this_process_over_this_range(
    run: Run, instance: dg.DagsterInstance
) -> None:
    recorded = instance.get_run_by_id(run().run_id)
    assert recorded is not None
    assert recorded.tags[HERE] == "true"
    assert recorded.tags["dagster/asset_partition_range_start"] == FIRST
    assert recorded.tags["dagster/asset_partition_range_end"] == LAST


def test_a_check_that_failed_and_kept_nothing_back_is_told_with_its_windows(run: Run) -> None:
    few = Violation(column="origin", rule="one of [EWR, JFK]", count=3)

    def checked(window: Window) -> Sequence[CheckResult]:
        found = () if window.key == FIRST else (few,)
        fine = CheckResult(name="schema", asset="snapshot", passed=True)
        warns = CheckResult(
            name="warnings", asset="snapshot", passed=not found, blocking=False, violations=found
        )
        return (fine, warns)

    report = run(first=checked)
    sentence = "column origin: expected one of [EWR, JFK], found 3 rows outside"
    assert report.succeeded
    assert report.warned == {"snapshot/warnings": {BAD: sentence, LAST: sentence}}
