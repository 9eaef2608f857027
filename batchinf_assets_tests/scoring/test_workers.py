"""Workers: every shard once, tries that end, and no new shard once somebody says stop."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from types import CodeType, FrameType

import pytest

from batchinf_assets.errors import BatchinfError, StorageUnavailable
from batchinf_assets.scoring.shards import Shard, plan_shards
from batchinf_assets.scoring.workers import TRIES, ahead_on, run_shards

SHARDS = plan_shards([10] * 40, 10)
PATIENCE_SECONDS = 20.0


def test_every_shard_is_worked_on_exactly_once() -> None:
    seen: Counter[int] = Counter()
    lock = threading.Lock()

    def work(shard: Shard) -> int:
        with lock:
            seen[shard.index] += 1
        return shard.start

    outcome = run_shards(SHARDS, work, workers=4, stop=threading.Event())
    assert outcome.results == {shard.index: shard.start for shard in SHARDS}
    assert (outcome.failure, outcome.retries) == (None, 0)
    assert set(seen.values()) == {1}


def test_no_shards_are_done_at_once() -> None:
    outcome = run_shards([], lambda _: 1, workers=4, stop=threading.Event())
    assert outcome.results == {}


def test_as_many_shards_at_a_time_as_there_are_workers() -> None:
    together = threading.Barrier(3, timeout=20)

    def work(_shard: Shard) -> bool:
        together.wait()  # passes only while three are at it
        return True

    outcome = run_shards(SHARDS[:6], work, workers=3, stop=threading.Event())
    assert len(outcome.results) == 6


def test_a_failing_shard_is_tried_three_times_and_the_others_are_finished() -> None:
    tries: Counter[int] = Counter()

    def work(shard: Shard) -> int:
        tries[shard.index] += 1
        if shard.index == 3:
            raise OSError(errno.EIO, "Input/output error")
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=threading.Event())
    assert tries[3] == TRIES
    assert sorted(outcome.results) == [shard.index for shard in SHARDS if shard.index != 3]
    assert isinstance(outcome.failure, OSError)
    assert outcome.retries == TRIES - 1


def test_a_shard_that_fails_once_is_not_a_failure() -> None:
    failed: list[int] = []

    def work(shard: Shard) -> int:
        if shard.index % 10 == 0 and shard.index not in failed:
            failed.append(shard.index)
            raise OSError(errno.EIO, "Input/output error")
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=threading.Event())
    assert (len(outcome.results), outcome.failure, outcome.retries) == (40, None, 4)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM]
)
def test_what_another_try_does_not_mend_is_not_tried_again_nor_met_by_other_shards(
    number: int,
) -> None:
    begun: list[int] = []

    def work(shard: Shard) -> int:
        begun.append(shard.index)
        if shard.index == 2:
            raise OSError(number, "no")
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=threading.Event())
    assert begun == [0, 1, 2]
    assert sorted(outcome.results) == [0, 1]
    assert isinstance(outcome.failure, OSError)
    assert outcome.retries == 0


def test_a_store_that_does_not_answer_for_a_moment_costs_tries_and_no_shard() -> None:
    tries: Counter[int] = Counter()

    def work(shard: Shard) -> int:
        tries[shard.index] += 1
        if shard.index == 3 and tries[3] < TRIES:
            raise StorageUnavailable("The store does not answer.", next_step="Wait.")
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=threading.Event())
    assert sorted(outcome.results) == [shard.index for shard in SHARDS]
    assert (tries[3], outcome.retries, outcome.failure) == (TRIES, TRIES - 1, None)


def test_a_store_that_never_answers_is_given_up_and_not_asked_for_the_other_shards() -> None:
    tries: Counter[int] = Counter()

    def work(shard: Shard) -> int:
        tries[shard.index] += 1
        if shard.index == 3:
            raise StorageUnavailable("The store does not answer.", next_step="Wait.")
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=threading.Event())
    assert dict(tries) == {0: 1, 1: 1, 2: 1, 3: TRIES}
    assert isinstance(outcome.failure, StorageUnavailable)


def test_after_a_refusal_no_new_shard_begins() -> None:
    begun: list[int] = []

    def work(shard: Shard) -> int:
        begun.append(shard.index)
        if shard.index == 2:
            raise BatchinfError("No.", next_step="Never.")
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=threading.Event())
    assert begun == [0, 1, 2]
    assert sorted(outcome.results) == [0, 1]
    assert str(outcome.failure) == "No. Never."


def test_once_told_to_stop_no_new_shard_begins_and_the_current_one_ends() -> None:
    stop = threading.Event()

    def work(shard: Shard) -> int:
        if shard.index == 4:
            stop.set()
        return shard.index

    outcome = run_shards(SHARDS, work, workers=1, stop=stop)
    assert sorted(outcome.results) == [0, 1, 2, 3, 4]
    assert outcome.failure is None


@pytest.fixture
def _python_hears_ctrl_c() -> Iterator[None]:
    """A shell that starts a test run in the background has it ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_python_hears_ctrl_c")
def test_after_ctrl_c_no_new_shard_begins_and_those_at_work_end() -> None:
    stop, together = threading.Event(), threading.Barrier(2, timeout=PATIENCE_SECONDS)
    begun: list[int] = []
    ended: list[int] = []

    def work(shard: Shard) -> None:
        begun.append(shard.index)
        if shard.index < 2:  # both workers have one
            together.wait()
            if shard.index == 0:
                wait_until_main_thread_waits()
                os.kill(os.getpid(), signal.SIGINT)
            stop.wait(PATIENCE_SECONDS)
        ended.append(shard.index)

    with pytest.raises(KeyboardInterrupt):
        run_shards(SHARDS, work, workers=2, stop=stop)
    assert sorted(begun) == sorted(ended) == [0, 1]


def wait_until_main_thread_waits() -> None:
    """Return once it waits for its workers; while it starts them it waits for other things."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not {wait.__code__, threading.Condition.wait.__code__} <= set(codes_of_main_thread()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def codes_of_main_thread() -> Iterator[CodeType]:
    frames = sys._current_frames  # pyright: ignore[reportPrivateUsage]
    frame: FrameType | None = frames()[threading.main_thread().ident or 0]
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def test_a_bug_is_not_taken_for_a_failing_shard() -> None:
    def work(shard: Shard) -> int:
        return [][shard.index]

    with pytest.raises(IndexError):
        run_shards(SHARDS, work, workers=2, stop=threading.Event())


def test_results_come_in_order_whichever_thread_is_done_first() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(PATIENCE_SECONDS)
        if item == 1:
            second_is_done.set()
        return item * 10

    with ThreadPoolExecutor(2) as threads:
        assert list(ahead_on(threads, 2)(work, range(5))) == [0, 10, 20, 30, 40]


def test_no_more_items_are_begun_than_may_be_held() -> None:
    begun: list[int] = []
    with ThreadPoolExecutor(4) as threads:
        results = ahead_on(threads, 3)(begun.append, range(100))
        next(results)
        threads.submit(len, "").result()
    assert sorted(begun) == [0, 1, 2]


def test_after_a_failure_nothing_begins_and_what_has_begun_is_waited_for() -> None:
    begun, done, first_has_failed = list[int](), list[int](), threading.Event()

    def work(item: int) -> None:
        begun.append(item)
        if item == 0:
            first_has_failed.set()
            raise StorageUnavailable("no answer", next_step="Try again.")
        assert first_has_failed.wait(PATIENCE_SECONDS)
        time.sleep(0.05)
        done.append(item)

    with ThreadPoolExecutor(2) as threads:
        results = ahead_on(threads, 2)(work, range(100))
        with pytest.raises(StorageUnavailable):
            next(results)
        assert done == [item for item in sorted(begun) if item]
        assert len(begun) <= 2
