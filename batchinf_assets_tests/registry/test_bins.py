"""Bins filled with other rows; how values fall into them is shown in `test_profile`."""

import pytest

from batchinf_assets.registry.bins import CategoryCounts, NumericBins


def test_other_rows_keep_a_numbers_edges_and_spread() -> None:
    bins = NumericBins(
        edges=(1.0, 2.0), counts=(1, 2, 3), missing=4, low=0.0, high=9.0, mean=2.0, deviation=1.0
    )
    filled = bins.with_counts([5, 6, 7, 8])
    assert filled.bin_counts == (5, 6, 7, 8)
    assert filled.with_counts(bins.bin_counts) == bins


def test_other_rows_go_to_categories_in_order_of_name() -> None:
    bins = CategoryCounts(counts={"b": 1, "a": 2}, other=3, missing=4)
    assert bins.with_counts([5, 6, 7, 8]) == CategoryCounts(
        counts={"a": 5, "b": 6}, other=7, missing=8
    )


@pytest.mark.parametrize(
    "bins",
    [
        NumericBins(edges=(1.0,), counts=(0, 0), missing=0),
        CategoryCounts(counts={"a": 0}, other=0, missing=0),
    ],
)
@pytest.mark.parametrize("counts", [[1, 2], [1, 2, 3, 4]])
def test_rows_of_other_bins_are_refused(
    bins: NumericBins | CategoryCounts, counts: list[int]
) -> None:
    with pytest.raises(ValueError, match=f"{len(counts)} counts for 3 bins"):
        bins.with_counts(counts)
