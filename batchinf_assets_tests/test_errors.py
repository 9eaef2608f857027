"""What every failure keeps on its way from one process to another."""

from __future__ import annotations

import pickle

import pytest

from batchinf_assets import errors
from batchinf_assets.checks import CheckResult
from batchinf_assets.errors import (
    BatchinfError,
    DocumentTooLarge,
    LandedFileUnreadable,
    LandingFault,
    LostRace,
    ModelRefused,
    Overrun,
    Refusal,
    RunOverCap,
    WindowRefused,
)

CHECK = CheckResult(name="schema", asset="snapshot", passed=False)

OTHERS: list[BatchinfError] = [
    DocumentTooLarge("manifest.json", 4096),
    LandedFileUnreadable("It is cut off.", reason=LandingFault.TRUNCATED, next_step="Land again."),
    ModelRefused("It was changed.", reason=next(iter(Refusal)), next_step="Register it again."),
    RunOverCap("It took an hour.", reason=Overrun.SPENT, next_step="Approve it."),
    WindowRefused("It breaks a rule.", next_step="Land it again.", checks=[CHECK]),
]

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type)]
PLAIN = [
    kind("It is so.", next_step="Do this.")
    for kind in ALL
    if issubclass(kind, BatchinfError) and kind not in {type(each) for each in OTHERS}
]


@pytest.mark.parametrize("error", [*PLAIN, *OTHERS], ids=lambda error: type(error).__name__)
def test_a_failure_goes_whole_from_process_to_process(error: BatchinfError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert (str(there), vars(there), there.exit_code) == (str(error), vars(error), error.exit_code)


def test_what_is_lost_on_the_way_would_show() -> None:
    one, other = LostRace("A.", next_step="B."), LostRace("A.", next_step="C.")
    assert vars(one) != vars(other)
