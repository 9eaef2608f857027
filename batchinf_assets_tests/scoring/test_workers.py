"""Workers: every shard once, tries that end, and no new shard once somebody says stop."""

from __future__ import annotations

import errno
import threading
from collections import Counter

import pytest

from batchinf_assets.errors import BatchinfError
from batchinf_assets.scoring.shards import Shard, plan_shards
from batchinf_assets.scoring.workers import TRIES, run_shards

SHARDS = plan_shards([10] * 40, 10)


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_another_try_does_not_mend_is_not_tried_again(number: int) -> None:
    tries: Counter[int] = Counter()

    def work(shard: Shard) -> int:
        tries[shard.index] += 1
        raise OSError(number, "no")

    outcome = run_shards(SHARDS[:2], work, workers=1, stop=threading.Event())
    assert dict(tries) == {0: 1, 1: 1}
    assert isinstance(outcome.failure, OSError)


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


def test_a_bug_is_not_taken_for_a_failing_shard() -> None:
    def work(shard: Shard) -> int:
        return [][shard.index]

    with pytest.raises(IndexError):
        run_shards(SHARDS, work, workers=2, stop=threading.Event())
