"""Seconds per row by segment: every segment in blocks of one size, by a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from batchinf_assets.promotion.comparison.segment_times import (
    BLOCK,
    MOST_SAMPLED,
    TRIES,
    FeatureSample,
    segment_times,
)
from batchinf_assets.scoring.scorer import Outputs, Scorer

CARRIERS = pa.table({"carrier": ["AA"] * 5 + ["UA"] * 3 + [None], "hour": [*range(9)]})


@dataclass
class Stopwatch:
    """A clock that only scoring moves; the first call of a block is the slowest."""

    seconds: float = 0.0
    blocks: list[list[str | None]] = field(default_factory=list[list[str | None]])

    def __call__(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class SlowOn:
    """Takes a second per row, and three for those of one carrier."""

    carrier: str
    watch: Stopwatch
    name: str = "slow"

    def outputs(self, features: pa.Table) -> Outputs:
        carriers = features.column("carrier")
        slow = pc.sum(pc.equal(carriers, self.carrier)).as_py() or 0
        waited = 10.0 if carriers.to_pylist() not in self.watch.blocks else 0.0
        self.watch.blocks.append(carriers.to_pylist())
        self.watch.seconds += features.num_rows + 2 * slow + waited
        return np.full((features.num_rows, 2), 0.5)

    def for_workers(self) -> Scorer | None:
        return None


def test_the_slowest_segment_comes_first_in_seconds_per_row_of_both_models() -> None:
    watch = Stopwatch()
    found = segment_times(
        SlowOn("UA", watch), SlowOn("AA", watch), CARRIERS, ["carrier"], clock=watch
    )
    told = {each.value: (each.rows, each.a, each.b) for each in found}
    assert told == {"UA": (3, 3.0, 1.0), "AA": (5, 1.0, 3.0), "(missing)": (1, 1.0, 1.0)}
    assert found[-1].value == "(missing)"
    assert {len(block) for block in watch.blocks} == {BLOCK}
    assert len(watch.blocks) == 3 * 2 * (1 + TRIES)


def test_a_column_of_numbers_is_timed_by_quartiles() -> None:
    watch = Stopwatch()
    one = SlowOn("UA", watch)
    found = segment_times(one, one, CARRIERS, ["hour"], clock=watch)
    assert {each.value for each in found} == {
        "up to 2",
        "above 2 up to 4",
        "above 4 up to 6",
        "above 6",
    }
    assert sum(each.rows for each in found) == 9


def test_coded_columns_are_parted_like_plain_ones() -> None:
    watch = Stopwatch()
    coded = CARRIERS.set_column(0, "carrier", CARRIERS.column("carrier").dictionary_encode())
    one = SlowOn("UA", watch)
    found = segment_times(one, one, coded, ["carrier"], clock=watch)
    assert [(each.value, each.a) for each in found[:1]] == [("UA", 3.0)]


@pytest.mark.parametrize("size", [MOST_SAMPLED - 1, MOST_SAMPLED, 2 * MOST_SAMPLED])
def test_a_sample_holds_the_first_rows_and_no_more_than_its_bound(size: int) -> None:
    rows, sample = pa.table({"row": np.arange(size)}), FeatureSample()
    for start in range(0, size, 50_000):
        sample.add(rows.slice(start, 50_000))
    assert sample.rows().column("row").to_pylist() == list(range(min(size, MOST_SAMPLED)))
