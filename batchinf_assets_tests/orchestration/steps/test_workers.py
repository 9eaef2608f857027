"""Processes that work on windows: what goes to them, what comes back, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from batchinf_assets.errors import (
    FailureClass,
    LandedFileUnreadable,
    LandingFault,
    Overrun,
    Preempted,
    RunOverCap,
    WorkerDied,
)
from batchinf_assets.orchestration.resources import Workplace
from batchinf_assets.orchestration.steps.errands import (
    CrashedThere,
    Errand,
    Step,
    frames_of,
    kind_of,
)
from batchinf_assets.orchestration.steps.tries import Try, WindowResult
from batchinf_assets.orchestration.steps.workers import Workers
from batchinf_assets.project import CHECKOUT
from batchinf_assets.retries import failure_class
from batchinf_assets.spec.load import load_pipeline
from batchinf_assets_tests.orchestration.steps import steps_elsewhere as elsewhere
from batchinf_assets_tests.side_by_side import Awaiting

PIPELINE = load_pipeline("flight_delays")
WINDOW = PIPELINE.spec.window.window("2013-07-03")
TRIED = Try(run_id="r1", again=0)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Workers]:
    monkeypatch.setenv("SAID", "by-this-run")
    monkeypatch.setenv("BEGUN", str(tmp_path / "begun"))
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lake"))
    with closing(Workers(Workplace(), PIPELINE, 2)) as made:
        yield made


def work(workers: Workers, step: Step, tried: Try = TRIED) -> WindowResult:
    errand = Errand(step=step, run_id=tried.run_id, again=tried.again, window=WINDOW)
    return workers.work(errand, tried)


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def test_a_window_is_worked_on_elsewhere_with_what_the_run_has(workers: Workers) -> None:
    said = (
        work(workers, elsewhere.say_where, Try(run_id="r2", again=1)).data_version or ""
    ).split()
    cores = max(1, len(os.sched_getaffinity(0)) // 2)
    assert int(said[0]) != os.getpid()
    assert said[1:] == ["2013-07-03", "flight_delays", "r2", "1", str(cores), "by-this-run"]


def test_a_process_is_used_again(workers: Workers) -> None:
    pids = {str(work(workers, elsewhere.say_where).data_version).split()[0] for _ in range(3)}
    assert len(pids) == 1


def test_what_was_imported_for_all_is_not_looked_through_for_garbage(workers: Workers) -> None:
    assert int(work(workers, elsewhere.count_set_apart).data_version or 0) > 100_000


def test_what_a_step_asks_of_its_run_is_answered_by_the_run(workers: Workers) -> None:
    asked = Awaiting(lambda: None)
    tried = Try(run_id="r1", again=0, order=asked, require_left=lambda: asked.heard.append("left"))
    assert work(workers, elsewhere.ask_everything, tried).data_version == WINDOW.key
    assert asked.heard == ["earlier", "later", "left"]


def test_a_run_that_may_not_go_on_says_so_elsewhere_too(workers: Workers) -> None:
    def nothing_left() -> None:
        raise RunOverCap("It took an hour.", reason=Overrun.SPENT, next_step="Approve it.")

    with pytest.raises(RunOverCap) as refused:
        work(workers, elsewhere.ask_everything, Try(run_id="r", again=0, require_left=nothing_left))
    assert refused.value.reason is Overrun.SPENT


def test_a_refusal_comes_back_whole(workers: Workers) -> None:
    with pytest.raises(LandedFileUnreadable, match="2013-07-03 is cut off") as refused:
        work(workers, elsewhere.refuse)
    assert refused.value.reason is LandingFault.TRUNCATED
    assert "in refuse" in frames_of(refused.value)


def test_an_error_of_the_system_keeps_its_kind(workers: Workers) -> None:
    with pytest.raises(FileNotFoundError) as missing:
        work(workers, elsewhere.find_nothing)
    assert missing.value.filename == "/nowhere/2013-07-03"


def test_a_crash_says_its_kind_and_its_place_but_not_its_message(workers: Workers) -> None:
    with pytest.raises(CrashedThere) as crashed:
        work(workers, elsewhere.crash)
    assert kind_of(crashed.value) == "OperationalError"
    assert "in crash" in frames_of(crashed.value)
    assert "by-this-run" not in frames_of(crashed.value) + str(crashed.value)


def test_a_broken_connection_is_one_whatever_library_it_broke_in(workers: Workers) -> None:
    with pytest.raises(ConnectionResetError) as disconnected:
        work(workers, elsewhere.be_disconnected)
    assert failure_class(disconnected.value) is FailureClass.TRANSIENT
    assert "RemoteDisconnected" in frames_of(disconnected.value)
    assert "by-this-run" not in frames_of(disconnected.value) + str(disconnected.value)


def test_a_crash_is_told_of_also_where_the_error_itself_cannot_be_sent(workers: Workers) -> None:
    with pytest.raises(CrashedThere) as crashed:
        work(workers, elsewhere.crash_with_a_lock)
    assert kind_of(crashed.value) == "ValueError"


def test_a_process_whose_answer_nobody_understands_is_not_kept(workers: Workers) -> None:
    before = set(multiprocessing.active_children())
    for _ in range(3):
        with pytest.raises(ValueError, match="no number"):
            work(workers, elsewhere.answer_in_riddles)
    assert set(multiprocessing.active_children()) == before


def test_a_process_that_died_while_it_had_nothing_to_do_costs_no_window_a_try(
    workers: Workers,
) -> None:
    pid = int(str(work(workers, elsewhere.say_where).data_version).split()[0])
    (process,) = [each for each in multiprocessing.active_children() if each.pid == pid]
    os.kill(pid, signal.SIGKILL)
    process.join(30)
    assert work(workers, elsewhere.say_where).data_version


def test_a_process_that_cannot_be_started_is_one_that_died(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_process: BaseProcess) -> None:
        raise EOFError  # so it ends where the fork server dies meanwhile

    with monkeypatch.context() as broken:
        broken.setattr(BaseProcess, "start", refuse)
        with pytest.raises(WorkerDied, match="2013-07-03 could not be started"):
            work(workers, elsewhere.say_where)
    assert work(workers, elsewhere.say_where).data_version


def test_a_process_that_is_killed_takes_its_window_with_it_and_nothing_else(
    workers: Workers,
) -> None:
    with pytest.raises(WorkerDied, match="2013-07-03 ended by SIGKILL"):
        work(workers, elsewhere.be_killed)
    assert work(workers, elsewhere.say_where).data_version


def test_a_run_that_leaves_lets_what_can_stop_stop(workers: Workers, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as beside:
        begun = beside.submit(work, workers, elsewhere.go_on_until_told)
        assert eventually((tmp_path / "begun").exists)
        workers.leave()
        assert begun.result(30).data_version == "told"
    with pytest.raises(Preempted, match="2013-07-03 was left"):
        work(workers, elsewhere.say_where)


def test_a_run_that_leaves_waits_for_nothing_else(workers: Workers, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as beside:
        begun = beside.submit(work, workers, elsewhere.go_on)
        assert eventually((tmp_path / "begun").exists)
        workers.leave()
        with pytest.raises(Preempted):
            begun.result(30)


RUN = """
import sys
from batchinf_assets_tests.orchestration.steps import test_workers, steps_elsewhere
if __name__ == "__main__":
    workers = test_workers.Workers(test_workers.Workplace(), test_workers.PIPELINE, 2)
    test_workers.work(workers, steps_elsewhere.go_on)
"""


def test_no_process_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    environ = {**os.environ, "BEGUN": str(begun), "PYTHONPATH": str(CHECKOUT)}
    (tmp_path / "run.py").write_text(RUN)
    run = subprocess.Popen([sys.executable, tmp_path / "run.py"], env=environ, cwd=CHECKOUT)
    try:
        assert eventually(lambda: begun.exists() and bool(begun.read_text()), 60)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait(10)
    assert eventually(lambda: has_ended(begun.read_text()))


WORK = """
from batchinf_assets_tests.orchestration.steps import test_workers, steps_elsewhere
if __name__ == "__main__":
    workers = test_workers.Workers(test_workers.Workplace(), test_workers.PIPELINE, 2)
    print(test_workers.work(workers, steps_elsewhere.say_where).data_version)
    workers.close()
"""


def test_a_temporary_folder_far_down_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    environ = {**os.environ, "SAID": "x", "TMPDIR": str(deep), "PYTHONPATH": str(CHECKOUT)}
    (tmp_path / "run.py").write_text(WORK)
    command = [sys.executable, tmp_path / "run.py"]
    run = subprocess.run(
        command, env=environ, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=120
    )
    assert "2013-07-03 flight_delays" in run.stdout, run.stderr


def has_ended(pid: str) -> bool:
    try:
        return "\nState:\tZ" in Path("/proc", pid, "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_processes_end_with_their_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAID", "x")
    monkeypatch.setenv("BATCHINF_LAKE", str(tmp_path / "lake"))
    workplace = Workplace()

    def hands() -> AbstractContextManager[Workers]:
        return closing(Workers(workplace, PIPELINE, 2))

    made = workplace.until_the_end("hands", hands)
    assert workplace.until_the_end("hands", hands) is made
    pid = str(work(made, elsewhere.say_where).data_version).split()[0]
    workplace.end()
    assert not Path("/proc", pid).exists()
