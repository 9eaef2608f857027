"""What is tried again, how often and after which delay."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from batchinf_assets.errors import (
    BatchinfError,
    FailureClass,
    Fenced,
    LeaseLost,
    LostRace,
    ManifestInvalid,
    ModelRefused,
    Preempted,
    Refusal,
    SigningKeyUnavailable,
    StorageFailed,
    StorageRefused,
    StorageUnavailable,
    WindowCrashed,
    WindowRefused,
)
from batchinf_assets.project import CHECKOUT
from batchinf_assets.retries import Retries, Retry, delay_seconds, failure_class
from batchinf_assets.spec.run import RetrySpec

NEVER: list[BaseException] = [
    WindowRefused("Rows.", next_step="Mend.", checks=[]),
    ModelRefused("Unsigned.", reason=Refusal.UNSIGNED, next_step="Sign."),
    SigningKeyUnavailable("No key.", next_step="Make one."),
    StorageRefused("Denied.", next_step="Ask."),
    StorageFailed("Full.", next_step="Make room."),
    ManifestInvalid("Damaged.", next_step="Restore."),
    LostRace("Another run.", next_step="Wait."),
    Fenced("A newer attempt.", next_step="Wait."),
    Preempted("Told to leave.", next_step="Again."),
    WindowCrashed("A bug.", next_step="Mend."),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EIO, "Input/output error"),
    FileNotFoundError(errno.ENOENT, "No such file"),
]
PASSING: list[BaseException] = [
    StorageUnavailable("No answer.", next_step="Wait."),
    LeaseLost("No beat.", next_step="Again."),
    ConnectionResetError(errno.ECONNRESET, "Connection reset"),
    TimeoutError(),
    OSError(errno.ESTALE, "Stale file handle"),
]


def failing(errors: list[BaseException]) -> tuple[Callable[[int], str], list[int]]:
    """Return work that fails so before it succeeds, and what it was told."""
    told: list[int] = []

    def work(again: int) -> str:
        told.append(again)
        if len(told) <= len(errors):
            raise errors[len(told) - 1]
        return "done"

    return work, told


def retries(
    declared: RetrySpec | None = None, *, share: float = 1.0
) -> tuple[Retries, list[Retry], list[float]]:
    said: list[Retry] = []
    slept: list[float] = []
    made = Retries(declared or RetrySpec(), said.append, sleep=slept.append, uniform=lambda: share)
    return made, said, slept


def unavailable(times: int) -> list[BaseException]:
    return [StorageUnavailable("No answer.", next_step="Wait.")] * times


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_may_pass_is_tried_again_until_it_does(error: BaseException) -> None:
    tried, said, slept = retries()
    work, told = failing([error, error])
    assert tried.run(work) == "done"
    assert told == [0, 1, 2]
    assert [(retry.again, retry.of) for retry in said] == [(1, 2), (2, 2)]
    assert slept == [1.0, 2.0]


@pytest.mark.parametrize("error", NEVER, ids=lambda error: type(error).__name__)
def test_what_will_not_pass_is_tried_once(error: BaseException) -> None:
    tried, said, slept = retries()
    work, told = failing([error])
    with pytest.raises(type(error)):
        tried.run(work)
    assert (told, said, slept) == ([0], [], [])


def test_an_error_that_nobody_foresaw_is_not_even_caught() -> None:
    tried, said, _ = retries()
    work, told = failing([KeyError("x")])
    with pytest.raises(KeyError):
        tried.run(work)
    assert (told, said) == ([0], [])


def test_the_last_failure_is_the_one_that_is_told() -> None:
    tried, _, slept = retries(RetrySpec(tries=2))
    last = LeaseLost("The lease.", next_step="Again.")
    work, told = failing([*unavailable(1), last])
    with pytest.raises(LeaseLost):
        tried.run(work)
    assert (told, slept) == ([0, 1], [1.0])


def test_a_retry_that_meets_bad_data_ends_there() -> None:
    tried, _, _ = retries()
    work, told = failing([*unavailable(1), ManifestInvalid("Damaged.", next_step="Restore.")])
    with pytest.raises(ManifestInvalid):
        tried.run(work)
    assert told == [0, 1]


def test_a_step_whose_store_is_down_for_good_stops_trying_again_window_by_window() -> None:
    tried, said, _ = retries(RetrySpec(budget=3))
    tries: list[int] = []
    for _window in range(5):
        work, told = failing(unavailable(9))
        with pytest.raises(StorageUnavailable):
            tried.run(work)
        tries.append(len(told))
    assert tries == [3, 2, 1, 1, 1]
    assert len(said) == 3


def test_windows_side_by_side_share_one_budget() -> None:
    told: list[str] = []

    def fail(window: str) -> None:
        def work(_again: int) -> str:
            told.append(window)
            raise unavailable(1)[0]

        with pytest.raises(StorageUnavailable):
            tried.run(work)

    def meanwhile() -> float:
        if "beside" not in told:
            fail("beside")
        return 0.0

    spec = RetrySpec(tries=2, budget=1)
    tried = Retries(spec, lambda _retry: None, sleep=lambda _seconds: None, uniform=meanwhile)
    fail("first")
    assert told == ["first", "beside", "first"]


@given(st.integers(1, 9), st.floats(0, 1))
def test_a_delay_is_random_below_a_bound_that_doubles(again: int, share: float) -> None:
    declared = RetrySpec()
    bound = min(60.0, 2.0 ** (again - 1))
    assert delay_seconds(declared, again, share) == share * bound
    assert 0 <= delay_seconds(declared, again, share) <= bound


def test_delays_that_shrink_are_no_declaration() -> None:
    with pytest.raises(ValidationError, match="longest_delay must not be below"):
        RetrySpec.model_validate({"first_delay": "PT2M", "longest_delay": "PT1M"})


def every_error() -> list[type[BatchinfError]]:
    found, left = [], [BatchinfError]
    while left:
        subclasses = left.pop().__subclasses__()
        found += [each for each in subclasses if each.__module__ == BatchinfError.__module__]
        left += subclasses
    return found


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_stands_in_the_table_of_its_class(kind: type[BatchinfError]) -> None:
    page = (CHECKOUT / "docs" / "automation.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {kind.failure_class} |")]
    assert f"`{kind.__name__}`" in row


def test_exhausted_memory_is_the_machines_and_a_bug_is_unexpected() -> None:
    assert failure_class(MemoryError()) is FailureClass.MACHINE
    assert failure_class(KeyError("x")) is FailureClass.UNEXPECTED
