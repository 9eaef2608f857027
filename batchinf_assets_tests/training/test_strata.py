"""Rows are shared out over groups by size, none is left out, and the same draw is the same."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchinf_assets.errors import UsageError
from batchinf_assets.training.strata import allocate, draw_stratified

sizes = st.lists(st.integers(1, 5000), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("available", "count", "expected"),
    [
        ([50, 30, 20], 10, [5, 3, 2]),
        # Quotas 4.6, 3.5, 1.9: the last seats go to the remainders .9 and .6.
        ([46, 35, 19], 10, [5, 3, 2]),
        # Quotas 1.5 and 1.5: the earlier of two equal remainders.
        ([7, 7], 3, [2, 1]),
        # Quotas 9.8, 0.1, 0.1: one each, and the first has the rest.
        ([98, 1, 1], 10, [8, 1, 1]),
        # Quotas 4.5, 4.5, 1, of which the last is no less than one.
        ([45, 45, 10], 10, [5, 4, 1]),
        # 0.9 of 100 in 10 gets one; of what is left the second has 0.99 of 91 in 9, and gets one.
        ([81, 10, 9], 10, [8, 1, 1]),
        ([3, 2], 5, [3, 2]),
        ([9, 9, 9], 3, [1, 1, 1]),
    ],
)
def test_shares_are_those_computed_by_hand(
    available: list[int], count: int, expected: list[int]
) -> None:
    assert allocate(available, count) == expected


def test_numbers_are_grouped_by_quartile_and_missing_ones_together() -> None:
    rows = pa.table({"hour": [*range(1, 9), None, None], "wind": [float("nan")] * 5 + [0.5] * 5})
    by_hour = {s.values["hour"]: s.available for s in draw_stratified(rows, ["hour"], 5, seed=0)}
    assert by_hour == {
        "up to 2": 2,
        "above 2 up to 4": 2,
        "above 4 up to 6": 2,
        "above 6": 2,
        None: 2,
    }
    by_wind = {s.values["wind"]: s.available for s in draw_stratified(rows, ["wind"], 2, seed=0)}
    assert by_wind == {"up to 0.5": 5, None: 5}


@given(sizes, st.data())
def test_shares_add_up_and_no_group_gives_nothing_or_more_than_it_has(
    available: list[int], data: st.DataObject
) -> None:
    count = data.draw(st.integers(len(available), sum(available)))
    shares = allocate(available, count)
    assert sum(shares) == count
    assert all(1 <= share <= size for share, size in zip(shares, available, strict=True))
    by_size = [share for _, share in sorted(zip(available, shares, strict=True))]
    assert by_size == sorted(by_size)  # the larger of two groups gives no fewer


@given(sizes, st.data())
def test_no_share_is_a_row_away_from_its_quota_where_every_quota_is_one_or_more(
    available: list[int], data: st.DataObject
) -> None:
    least = -(-sum(available) // min(available))
    count = data.draw(st.integers(min(least, sum(available)), sum(available)))
    quotas = [size * count / sum(available) for size in available]
    shares = allocate(available, count)
    assert all(abs(share - quota) < 1 for share, quota in zip(shares, quotas, strict=True))


def test_more_rows_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match=r"1,001 rows cannot be drawn from 1,000\."):
        allocate([400, 600], 1001)


def test_fewer_rows_than_groups_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match="2 rows cannot represent 3 groups"):
        allocate([5, 5, 5], 2)


def flock(rows: int = 1000) -> pa.Table:
    random = np.random.default_rng(4)
    return pa.table(
        {
            "label": random.random(rows) < 0.1,
            "place": random.choice(["b", "a", None], rows, p=[0.6, 0.3, 0.1]),
            "number": np.arange(rows),
        }
    )


def test_groups_come_in_the_order_of_their_values_a_missing_one_last() -> None:
    strata = draw_stratified(flock(), ["label", "place"], 100, seed=0)
    assert [tuple(stratum.values.values()) for stratum in strata] == [
        (label, place) for label in ("false", "true") for place in ("a", "b", None)
    ]
    assert sum(stratum.available for stratum in strata) == 1000


def test_drawn_rows_are_of_their_group_and_different() -> None:
    rows = flock()
    strata = draw_stratified(rows, ["label", "place"], 200, seed=3)
    for stratum in strata:
        drawn = rows.take(pa.array(stratum.drawn))
        assert {str(label).lower() for label in drawn["label"].to_pylist()} == {
            stratum.values["label"]
        }
        assert set(drawn["place"].to_pylist()) == {stratum.values["place"]}
    places = np.concatenate([stratum.drawn for stratum in strata])
    assert len(np.unique(places)) == len(places) == 200


def test_the_same_seed_draws_the_same_rows_and_another_one_others() -> None:
    def drawn(seed: int) -> list[list[int]]:
        found = draw_stratified(flock(), ["label"], 100, seed=seed)
        return [stratum.drawn.tolist() for stratum in found]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_every_row_of_a_group_is_drawn_as_often_as_any_other() -> None:
    rows, times = flock(40), np.zeros(40, int)
    for seed in range(2000):
        (stratum,) = draw_stratified(rows, [], 10, seed=seed)
        times[stratum.drawn] += 1
    # 500 each; a standard deviation is 19.4, and the largest of 40 stays below five of them.
    assert np.abs(times - 500).max() < 97


def test_nothing_can_be_drawn_from_no_rows() -> None:
    with pytest.raises(UsageError, match="cannot be drawn from 0"):
        draw_stratified(flock(0), ["label"], 1, seed=0)
