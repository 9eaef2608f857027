"""Which later verdicts on a published revision a declaration lets act by themselves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from batchinf_assets_tests.spec.test_pipeline import toy

BOUNDED = {"performance": {"at_least": {"auroc": 0.6}}}


@pytest.mark.parametrize(
    ("automatic", "causes"),
    [
        (False, set[str]()),
        (True, {"performance"}),
        ([], set[str]()),
        (["evaluation", "verification"], {"evaluation", "verification"}),
    ],
)
def test_true_is_performance_alone_and_other_causes_are_named(
    automatic: object, causes: set[str]
) -> None:
    assert toy(**BOUNDED, rollback={"automatic": automatic}).rollback.causes == causes


def test_without_a_word_nothing_is_taken_back_by_itself() -> None:
    assert toy().rollback.causes == frozenset()


def test_only_performance_needs_outcomes_and_bounds() -> None:
    spec = toy(outcomes=None, rollback={"automatic": ["evaluation", "verification"]})
    assert spec.rollback.causes == {"evaluation", "verification"}
    for automatic in (True, ["performance"]):
        with pytest.raises(ValidationError, match="needs bounds in performance"):
            toy(rollback={"automatic": automatic})
        with pytest.raises(ValidationError, match="no outcomes are declared"):
            toy(outcomes=None, rollback={"automatic": automatic})


def test_a_cause_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValidationError, match="automatic"):
        toy(rollback={"automatic": ["drift"]})


def test_evaluation_can_only_take_back_where_one_of_its_verdicts_blocks() -> None:
    lenient = {"golden_quality": "ticket", "golden_set": "ticket", "drift": "inform"}
    with pytest.raises(ValidationError, match="no verdict of gate blocks"):
        toy(gate=lenient, rollback={"automatic": ["evaluation"]})
    assert toy(gate={**lenient, "drift": "block"}, rollback={"automatic": ["evaluation"]})
