"""Shards: every row group in exactly one, in order, none larger than declared."""

import random

import pytest

from batchinf_assets.lake.layout import ROW_GROUP_ROWS, row_group_rows
from batchinf_assets.scoring.shards import Shard, plan_shards


def cuts(row_groups: list[int], shard_rows: int) -> list[tuple[int, list[int], int, int]]:
    return [
        (shard.index, list(shard.groups), shard.start, shard.rows)
        for shard in plan_shards(row_groups, shard_rows)
    ]


def test_the_last_shard_takes_what_is_left() -> None:
    assert cuts([4, 4, 2], 4) == [(0, [0], 0, 4), (1, [1], 4, 4), (2, [2], 8, 2)]
    assert cuts([4, 4, 4, 4, 1], 8) == [(0, [0, 1], 0, 8), (1, [2, 3], 8, 8), (2, [4], 16, 1)]


@pytest.mark.parametrize(
    ("row_groups", "shard_rows", "sizes"),
    [([], 4, []), ([1], 4, [1]), ([4], 4, [4]), ([5], 4, [5]), ([3, 3], 4, [3, 3]), ([0], 4, [])],
)
def test_sizes(row_groups: list[int], shard_rows: int, sizes: list[int]) -> None:
    assert [shard.rows for shard in plan_shards(row_groups, shard_rows)] == sizes


@pytest.mark.parametrize("seed", range(50))
def test_shards_touch_without_gap_or_overlap_and_cover_all_groups(seed: int) -> None:
    chance = random.Random(seed)
    groups = [chance.randint(1, 9) for _ in range(chance.randint(1, 60))]
    shards = plan_shards(groups, 10)
    assert [group for shard in shards for group in shard.groups] == list(range(len(groups)))
    ends = [shard.start + shard.rows for shard in shards]
    assert [shard.start for shard in shards] == [0, *ends[:-1]]
    assert ends[-1] == sum(groups)
    assert max(shard.rows for shard in shards) <= 10


@pytest.mark.parametrize("shard_rows", [1, 7, 100, 131_072, 131_073, 200_000, 524_288, 1_000_003])
def test_row_groups_are_cut_so_that_a_shard_is_a_whole_number_of_them(shard_rows: int) -> None:
    size = row_group_rows(shard_rows)
    assert 1 <= size <= ROW_GROUP_ROWS
    groups = shard_rows // size
    assert 0 <= shard_rows - groups * size < groups


def test_files_sort_in_the_order_of_their_shards() -> None:
    names = [
        Shard(index=index, groups=range(1), start=0, rows=1).file_name
        for index in (0, 9, 10, 99_999)
    ]
    assert names == [
        "part-00000.parquet",
        "part-00009.parquet",
        "part-00010.parquet",
        "part-99999.parquet",
    ]
    assert sorted(names) == names
