"""Trying again what may pass: bounded, with growing random delays, by the class of the failure.

This is about one window in one step of a run. A window whose run died is `unfinished`'s business.
"""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from threading import Lock
from typing import TypeVar

from batchinf_assets.errors import BatchinfError, FailureClass
from batchinf_assets.spec.run import RetrySpec

Result = TypeVar("Result")

_PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ESTALE,  # a network file system's server began anew
    }
)
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A try that failed and is followed by another one.

    Attributes:
        error: How it failed.
        again: How often it will have been tried again, from 1.
        of: How often it may be tried again.
        delay_seconds: How long nothing happens before.
    """

    error: BatchinfError | OSError
    again: int
    of: int
    delay_seconds: float


class Retries:
    """The retries of one step of a run.

    Args:
        declared: How often and how long.
        on_retry: Told of each before its delay.
        sleep: Waits so many seconds.
        uniform: A random number from 0 to 1.
    """

    def __init__(
        self,
        declared: RetrySpec,
        on_retry: Callable[[Retry], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._declared, self._on_retry = declared, on_retry
        self._sleep, self._uniform = sleep, uniform
        self._left, self._taking = declared.budget, Lock()

    def run(self, work: Callable[[int], Result]) -> Result:
        """Do the work, again where it failed in a way that may pass.

        Args:
            work: Told how often it was tried before.

        Raises:
            BatchinfError: The last try's failure; so is an OSError.
        """
        for again in count():
            try:
                return work(again)
            except (BatchinfError, OSError) as error:
                if not self._may_try_again(error, again):
                    raise
                retry = self._next(error, again + 1)
            self._on_retry(retry)
            self._sleep(retry.delay_seconds)
        raise AssertionError("count() does not end")

    def _may_try_again(self, error: BatchinfError | OSError, again: int) -> bool:
        passing = failure_class(error) is FailureClass.TRANSIENT
        return passing and again + 1 < self._declared.tries and self._take()

    def _take(self) -> bool:
        """Take one retry from the budget, which windows side by side share."""
        with self._taking:
            left, self._left = self._left, max(0, self._left - 1)
        return left > 0

    def _next(self, error: BatchinfError | OSError, again: int) -> Retry:
        delay = delay_seconds(self._declared, again, self._uniform())
        return Retry(error=error, again=again, of=self._declared.tries - 1, delay_seconds=delay)


def delay_seconds(declared: RetrySpec, again: int, share: float) -> float:
    """Return how long to wait before a try.

    "Full jitter" of M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015: many
    runs that met the same outage do not come back at the same moment.

    Args:
        declared: The bounds.
        again: Which retry it is, from 1.
        share: A random number from 0 to 1.
    """
    longest = declared.longest_delay.total_seconds()
    return share * min(longest, declared.first_delay.total_seconds() * 2.0 ** (again - 1))


def failure_class(error: BaseException) -> FailureClass:
    """Return the class of any failure, also of one that is not from this package."""
    if isinstance(error, BatchinfError):
        return error.failure_class
    if isinstance(error, MemoryError):
        return FailureClass.MACHINE
    return _class_of_system_error(error) if isinstance(error, OSError) else FailureClass.UNEXPECTED


def _class_of_system_error(error: OSError) -> FailureClass:
    if isinstance(error, ConnectionError | TimeoutError) or error.errno in _PASSING:
        return FailureClass.TRANSIENT
    if error.errno in _CLOSED:
        return FailureClass.PERMISSION
    return FailureClass.MACHINE if error.errno in _EXHAUSTED else FailureClass.UNEXPECTED
