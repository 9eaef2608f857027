"""What one step of a run does with windows that crash, and with what may pass."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from batchinf_assets.attempts import attempting, recorder_of
from batchinf_assets.errors import Preempted, StorageRefused, StorageUnavailable
from batchinf_assets.orchestration.assets.window_asset import window_asset
from batchinf_assets.orchestration.metadata.names import REFUSED
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.errands import Step
from batchinf_assets.orchestration.steps.isolation import CRASHES_ALLOWED, RETRIES
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.project import CHECKOUT, Project
from batchinf_assets.spec.load import Pipeline, load_pipeline
from batchinf_assets.spec.run import RetrySpec
from batchinf_assets.telemetry.ledger import Ledger
from batchinf_assets.windows import Window
from batchinf_assets_tests.orchestration.steps import steps_elsewhere as elsewhere

FIRST, LAST = "2013-07-01", "2013-07-08"
BAD = "2013-07-03"
SECRET = "postgresql://user:hunter2@db"
KEY = dg.AssetKey(["flight_delays", "snapshot"])
IMPATIENT = RetrySpec.model_validate({"first_delay": "PT0.001S", "longest_delay": "PT0.001S"})

Body = Callable[[Try, Window], None]


def impatient_with(workers: int) -> Pipeline:
    found = load_pipeline("flight_delays")
    backfill = found.spec.backfill.model_copy(update={"workers": workers})
    spec = found.spec.model_copy(update={"retries": IMPATIENT, "backfill": backfill})
    return Pipeline(spec=spec, folder=found.folder)


@pytest.fixture
def impatient() -> Pipeline:
    return impatient_with(workers=1)  # where the test's bodies are


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def run_over(
    impatient: Pipeline, instance: dg.DagsterInstance
) -> Callable[[Body], dg.ExecuteInProcessResult]:
    """Materialize eight windows with a step that does this and is otherwise that of an asset."""

    def run(body: Body) -> dg.ExecuteInProcessResult:
        def step(
            _workplace: Workplace, _pipeline: Pipeline, tried: Try, window: Window
        ) -> WindowResult:
            body(tried, window)
            return WindowResult(data_version="1", metadata={})

        return materialize(impatient, step, instance)

    return run


def materialize(
    pipeline: Pipeline, step: Step, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    asset = window_asset(pipeline, "snapshot", [], step, kinds=set())
    job = dg.define_asset_job("windows", selection=[asset])
    defs = dg.Definitions(
        assets=[asset], jobs=[job], resources={"workplace": Workplace()}
    ).resolve_job_def("windows")
    return defs.execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": FIRST,
            "dagster/asset_partition_range_end": LAST,
        },
    )


@pytest.fixture
def deaths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """Return how often a process died that worked on a window."""
    book = tmp_path / "deaths"
    book.touch()
    monkeypatch.setenv("DEATHS", str(book))
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lake"))
    return lambda: Counter(book.read_text().split())


@pytest.fixture
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with nothing in it."""
    folder = tmp_path_factory.mktemp("nothing")
    return Project.here(
        {**os.environ, "BATCHINF_LAKE": str(folder / "lake"), "DAGSTER_HOME": str(folder)},
        CHECKOUT,
    )


def materialized(instance: dg.DagsterInstance) -> set[str]:
    return instance.get_materialized_partitions(KEY)


def days(*numbers: int) -> set[str]:
    return {f"2013-07-{number:02}" for number in numbers}


def refused(instance: dg.DagsterInstance) -> dict[str, str]:
    found: dict[str, str] = {}
    for record in instance.fetch_observations(KEY, limit=100).records:
        observation = record.asset_observation
        assert observation is not None
        found[str(observation.partition)] = str(observation.metadata[REFUSED].value)
    return found


def logged(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, level: str) -> str:
    entries = instance.all_logs(result.run_id)
    return "\n".join(
        each.user_message for each in entries if each.level == logging.getLevelName(level)
    )


def retries_shown(instance: dg.DagsterInstance) -> dict[str, object]:
    found: dict[str, object] = {}
    for record in instance.fetch_materializations(KEY, limit=100).records:
        event = record.asset_materialization
        assert event is not None
        if RETRIES in event.metadata:
            found[str(event.partition)] = event.metadata[RETRIES].value
    return found


@pytest.mark.parametrize(
    "error", [KeyError(SECRET), MemoryError(), OSError(5, "Input/output error", "/disk")], ids=repr
)
def test_a_window_that_crashes_is_refused_by_itself_and_the_others_go_on(
    run_over: Callable[[Body], dg.ExecuteInProcessResult],
    instance: dg.DagsterInstance,
    error: Exception,
) -> None:
    def body(_tried: Try, window: Window) -> None:
        if window.key == BAD:
            raise error

    result = run_over(body)
    assert not result.success
    assert materialized(instance) == days(1, 2, 4, 5, 6, 7, 8)
    (sentence,) = [why for key, why in refused(instance).items() if key == BAD]
    assert f"Window {BAD} crashed in snapshot of flight_delays: {type(error).__name__}" in sentence
    assert ("Input/output error (/disk)" in sentence) == isinstance(error, OSError)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "Make room there, then run it again."),
        (errno.EDQUOT, "Make room there, then run it again."),
        (errno.EROFS, "Let this user write there, then run it again."),
        (errno.EACCES, "Let this user write there, then run it again."),
        (errno.EIO, "Its traceback is in the run's log; the other windows went on."),
    ],
)
def test_a_window_that_the_disk_stopped_is_told_what_to_do_about_it(
    run_over: Callable[[Body], dg.ExecuteInProcessResult],
    instance: dg.DagsterInstance,
    number: int,
    remedy: str,
) -> None:
    def body(_tried: Try, window: Window) -> None:
        if window.key == BAD:
            raise OSError(number, os.strerror(number), "/disk")

    run_over(body)
    (sentence,) = [why for key, why in refused(instance).items() if key == BAD]
    assert f"{os.strerror(number)} (/disk). {remedy}" in sentence


def test_the_log_has_the_traceback_of_a_crash_and_no_foreign_message(
    run_over: Callable[[Body], dg.ExecuteInProcessResult], instance: dg.DagsterInstance
) -> None:
    def body(_tried: Try, window: Window) -> None:
        if window.key == BAD:
            try:
                raise ConnectionAbortedError(SECRET)
            except OSError as error:
                raise KeyError(SECRET) from error

    result = run_over(body)
    errors = logged(instance, result, "ERROR")
    assert f'{__file__}", line' in errors
    assert "raise KeyError(SECRET) from error" in errors
    assert errors.index("ConnectionAbortedError") < errors.index("KeyError\n")
    everything = "\n".join(str(entry.to_json()) for entry in instance.all_logs(result.run_id))
    assert "hunter2" not in everything


def test_a_step_in_which_window_after_window_crashes_tries_no_further_one(
    run_over: Callable[[Body], dg.ExecuteInProcessResult], instance: dg.DagsterInstance
) -> None:
    tried: list[str] = []

    def body(_tried: Try, window: Window) -> None:
        tried.append(window.key)
        if window.key > FIRST:
            raise KeyError("a bug")

    result = run_over(body)
    assert not result.success
    assert len(tried) == 1 + CRASHES_ALLOWED
    assert materialized(instance) == {FIRST}
    found = refused(instance)
    assert set(found) == days(2, 3, 4, 5, 6, 7, 8)
    for key in days(5, 6, 7, 8):
        assert f"Window {key} was not tried in snapshot" in found[key]
        assert "2013-07-02, 2013-07-03, 2013-07-04 crashed there" in found[key]


def test_a_step_whose_native_code_kills_process_after_process_tries_no_further_window(
    deaths: Callable[[], Counter[str]], instance: dg.DagsterInstance
) -> None:
    result = materialize(impatient_with(workers=2), elsewhere.break_memory, instance)
    assert not result.success
    dead, found = deaths(), refused(instance)
    assert set(dead.values()) == {IMPATIENT.tries}
    assert len(dead) in {CRASHES_ALLOWED, CRASHES_ALLOWED + 1}  # the other hand had begun one
    assert set(found) == days(1, 2, 3, 4, 5, 6, 7, 8)
    for key in dead:
        assert f"The process that worked on window {key} ended by SIGSEGV" in found[key]
    for key in set(found) - set(dead):
        sentence, crashed = found[key].split(", as ")
        assert sentence == f"Window {key} was not tried in snapshot of flight_delays"
        assert set(crashed.split(" crashed there. ")[0].split(", ")) <= set(dead)
    warned, errors = (logged(instance, result, level) for level in ("WARNING", "ERROR"))
    assert f"worked on window {FIRST} ended by SIGSEGV" in warned
    assert f"worked on window {FIRST} ended by SIGSEGV" in errors


def test_a_process_killed_once_is_no_crash_of_its_window_however_many_were(
    deaths: Callable[[], Counter[str]], instance: dg.DagsterInstance
) -> None:
    result = materialize(impatient_with(workers=2), elsewhere.be_killed_at_first, instance)
    assert result.success
    assert deaths() == dict.fromkeys(days(1, 2, 3, 4, 5, 6, 7, 8), 1)
    assert materialized(instance) == days(1, 2, 3, 4, 5, 6, 7, 8)
    assert retries_shown(instance) == dict.fromkeys(days(1, 2, 3, 4, 5, 6, 7, 8), 1)


def test_what_passes_is_tried_again_and_the_window_says_how_often(
    run_over: Callable[[Body], dg.ExecuteInProcessResult], instance: dg.DagsterInstance
) -> None:
    tries: list[tuple[str, int]] = []

    def body(tried: Try, window: Window) -> None:
        tries.append((window.key, tried.again))
        if window.key == BAD and tried.again < 2:
            raise StorageUnavailable("The store does not answer.", next_step="Wait.")

    result = run_over(body)
    assert result.success
    assert materialized(instance) == days(1, 2, 3, 4, 5, 6, 7, 8)
    assert [again for key, again in tries if key == BAD] == [0, 1, 2]
    assert len(tries) == 8 + 2
    counts = retries_shown(instance)
    assert counts == {BAD: 2}
    warned = logged(instance, result, "WARNING")
    assert "Retry 1 of 2 in 0.0 s: The store does not answer." in warned
    assert "Retry 2 of 2" in warned


def test_a_refusal_is_never_tried_again_and_bounds_hold_for_the_rest(
    run_over: Callable[[Body], dg.ExecuteInProcessResult], instance: dg.DagsterInstance
) -> None:
    tries: list[str] = []

    def body(_tried: Try, window: Window) -> None:
        tries.append(window.key)
        if window.key == "2013-07-02":
            raise StorageRefused("The store refused.", next_step="Ask for access.")
        if window.key == BAD:
            raise StorageUnavailable("The store does not answer.", next_step="Wait.")

    run_over(body)
    assert (tries.count("2013-07-02"), tries.count(BAD)) == (1, IMPATIENT.tries)
    assert set(refused(instance)) == days(2, 3)
    assert materialized(instance) == days(1, 4, 5, 6, 7, 8)


@pytest.mark.parametrize(
    "ending", [Preempted("Told to leave.", next_step="Again."), KeyboardInterrupt()], ids=repr
)
def test_a_run_that_is_told_to_leave_counts_as_no_crash(
    run_over: Callable[[Body], dg.ExecuteInProcessResult],
    instance: dg.DagsterInstance,
    ending: BaseException,
) -> None:
    def body(_tried: Try, window: Window) -> None:
        if window.key == BAD:
            raise ending

    try:
        result = run_over(body)
    except KeyboardInterrupt:
        assert isinstance(ending, KeyboardInterrupt)
    else:
        assert not result.success
    assert materialized(instance) == days(1, 2)
    assert refused(instance) == {}


def test_the_ledger_counts_the_retries_of_a_window(
    empty_project: Project,
    impatient: Pipeline,
    run_over: Callable[[Body], dg.ExecuteInProcessResult],
) -> None:
    project = empty_project

    def body(tried: Try, window: Window) -> None:
        with attempting(
            project,
            impatient.spec,
            window,
            run_id=tried.run_id,
            stage="snapshot",
            again=tried.again,
        ):
            if window.key == BAD and tried.again < 2:
                raise StorageUnavailable("The store does not answer.", next_step="Wait.")

    assert run_over(body).success
    assert recorder_of(project).flush(60) == 0
    rows = Ledger(project.lake).read().to_pylist()
    assert {row["window"]: (row["state"], row["retries"]) for row in rows} == {
        key: ("scored", 2 if key == BAD else None) for key in days(1, 2, 3, 4, 5, 6, 7, 8)
    }
