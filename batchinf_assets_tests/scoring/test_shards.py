"""Shards: every row in exactly one, in order, none too large."""

import pytest

from batchinf_assets.scoring.shards import Shard, plan_shards


def cuts(rows: int, shard_rows: int) -> list[tuple[int, int, int]]:
    return [(shard.index, shard.start, shard.rows) for shard in plan_shards(rows, shard_rows)]


def test_the_last_shard_takes_what_is_left() -> None:
    assert cuts(10, 4) == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]


@pytest.mark.parametrize(
    ("rows", "shard_rows", "sizes"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [4]), (5, 4, [4, 1]), (3, 1, [1, 1, 1])],
)
def test_sizes(rows: int, shard_rows: int, sizes: list[int]) -> None:
    assert [shard.rows for shard in plan_shards(rows, shard_rows)] == sizes


@pytest.mark.parametrize("rows", [1, 7, 100, 131_072, 131_073, 1_000_000])
@pytest.mark.parametrize("shard_rows", [1_000, 131_072])
def test_shards_touch_without_gap_or_overlap_and_cover_all_rows(rows: int, shard_rows: int) -> None:
    shards = plan_shards(rows, shard_rows)
    ends = [shard.start + shard.rows for shard in shards]
    assert [shard.start for shard in shards] == [0, *ends[:-1]]
    assert ends[-1] == rows
    assert max(shard.rows for shard in shards) <= shard_rows


def test_files_sort_in_the_order_of_their_shards() -> None:
    names = [Shard(index=index, start=0, rows=1).file_name for index in (0, 9, 10, 99_999)]
    assert names == [
        "part-00000.parquet",
        "part-00009.parquet",
        "part-00010.parquet",
        "part-99999.parquet",
    ]
    assert sorted(names) == names
