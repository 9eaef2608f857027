"""Run a piece of work per shard on all cores: shards side by side, and the row groups of each.

What the work is, is in `scoring.shard_scoring`. One thread per core takes a row group from reading
to checking, so that its rows stay in that core's cache; only what came out of them, a fifth of the
bytes or less, is handed on to the thread that writes the shard. While that one waits for the disk,
every core has a row group of another shard; and the last shard of a window has more than one core.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, Protocol, TypeVar

from batchinf_assets.errors import BatchinfError, StorageUnavailable
from batchinf_assets.scoring.shards import Shard

Item = TypeVar("Item")
Result = TypeVar("Result")


class InOrder(Protocol):
    """What does a piece of work per item as `map` does: the results come in the items' order."""

    def __call__(
        self, work: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]:
        """Begin; nothing is done before the first result is asked for."""
        ...


TRIES = 3
"""How often a shard is tried whose storage fails for a moment."""

WILL_NOT_PASS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""What another try a moment later does not mend."""

SIGNALS_HEARD_AFTER_SECONDS = 1.0
"""Python handles signals on the main thread, and one that the kernel gives to another thread does
not wake it: it looks by itself."""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of the shards.

    Attributes:
        results: By shard index, of every shard that was finished.
        failure: The first failure, if there was one.
        retries: How often a shard was tried again.
    """

    results: dict[int, Result]
    failure: BaseException | None
    retries: int


@dataclass
class _Progress(Generic[Result]):
    results: dict[int, Result] = field(default_factory=dict)
    failure: BaseException | None = None
    retries: int = 0


def ahead_on(threads: Executor, ahead: int) -> InOrder:
    """Let threads work on the items after the one that is looked at.

    Where the work of one fails, or nobody asks any more, no other one begins, and those that have
    begun are waited for.

    Args:
        threads: Who works; may work for others too.
        ahead: How many items are begun or done at a time, which bounds memory.
    """

    def in_order(work: Callable[[Item], Result], items: Iterable[Item], /) -> Iterator[Result]:
        left, begun = iter(items), deque[Future[Result]]()
        try:
            while True:
                begun.extend(
                    threads.submit(work, item) for item in islice(left, ahead - len(begun))
                )
                if not begun:
                    return
                yield begun[0].result()
                begun.popleft()
        finally:
            wait([each for each in begun if not each.cancel()])

    return in_order


def run_shards(
    shards: Sequence[Shard],
    work: Callable[[Shard], Result],
    *,
    workers: int,
    stop: threading.Event,
) -> Outcome[Result]:
    """Run the work of every shard; once `stop` is set no new shard begins.

    A refusal (a `BatchinfError`) and a full disk would be met by the other shards too: none begins
    any more. Where storage fails for one shard, it is tried again and the others go on, so that
    they are finished for the next attempt. Nothing is raised here but what no shard can be blamed
    for.

    Args:
        shards: What to do, in order.
        work: Does one shard.
        workers: How many shards at a time.
        stop: Set by whoever wants the work to end soon.
    """
    progress: _Progress[Result] = _Progress()
    lock, left = threading.Lock(), iter(shards)

    def run() -> None:
        while (shard := _next(left, lock, progress, stop)) is not None:
            _run(shard, work, progress, lock)

    count = max(1, min(workers, len(shards)))
    with ThreadPoolExecutor(count) as pool:
        try:
            running = [pool.submit(run) for _ in range(count)]
            while wait(running, timeout=SIGNALS_HEARD_AFTER_SECONDS).not_done:
                pass
        except BaseException:  # Ctrl-C: leaving the pool waits for what has begun, and for no more
            stop.set()
            raise
    for each in running:
        each.result()
    return Outcome(results=progress.results, failure=progress.failure, retries=progress.retries)


def _next(
    left: Iterator[Shard],
    lock: threading.Lock,
    progress: _Progress[Result],
    stop: threading.Event,
) -> Shard | None:
    with lock:
        if stop.is_set() or _meets_all(progress.failure):
            return None
        return next(left, None)


def _run(
    shard: Shard,
    work: Callable[[Shard], Result],
    progress: _Progress[Result],
    lock: threading.Lock,
) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            result = work(shard)
        except (BatchinfError, OSError, MemoryError) as error:
            with lock:
                if attempt < TRIES and _may_pass(error):
                    progress.retries += 1
                    continue
                progress.failure = progress.failure or error
            return
        with lock:
            progress.results[shard.index] = result
        return


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, StorageUnavailable):
        return True
    return isinstance(error, OSError) and error.errno not in WILL_NOT_PASS


def _meets_all(failure: BaseException | None) -> bool:
    lacking = isinstance(failure, OSError) and failure.errno in WILL_NOT_PASS
    return lacking or isinstance(failure, BatchinfError)
