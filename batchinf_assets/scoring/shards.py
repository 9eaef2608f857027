"""Cut the feature rows of a window into shards: whole row groups, in key order, of bounded size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A contiguous piece of a window's feature rows; with the revision's id, its identity.

    Attributes:
        index: Its place, from 0.
        groups: The row groups of the features file that it consists of.
        start: First row.
        rows: Row count.
    """

    index: int
    groups: range
    start: int
    rows: int

    @property
    def file_name(self) -> str:
        """The output file of this shard."""
        return file_name(self.index)


def file_name(index: int) -> str:
    """Return the name of the output file of a shard; names sort as the shards do."""
    return f"part-{index:05d}.parquet"


def plan_shards(row_groups: Sequence[int], shard_rows: int) -> list[Shard]:
    """Cut row groups into shards of at most `shard_rows` rows; none for no groups.

    A group larger than that is a shard by itself. The same groups give the same plan.

    Args:
        row_groups: Rows per group, in order.
        shard_rows: The declared size.
    """
    shards: list[Shard] = []
    first = start = rows = 0
    for group, size in enumerate(row_groups):
        if rows and rows + size > shard_rows:
            shards.append(_shard(len(shards), range(first, group), start, rows))
            first, start, rows = group, start + rows, 0
        rows += size
    if rows:
        shards.append(_shard(len(shards), range(first, len(row_groups)), start, rows))
    return shards


def _shard(index: int, groups: range, start: int, rows: int) -> Shard:
    return Shard(index=index, groups=groups, start=start, rows=rows)
