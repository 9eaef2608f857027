"""Cut the feature rows of a window into shards: contiguous, in key order, of bounded size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A contiguous piece of a window's feature rows.

    Attributes:
        index: Its place, from 0.
        start: First row.
        rows: Row count; at most the declared `shard_rows`.
    """

    index: int
    start: int
    rows: int

    @property
    def file_name(self) -> str:
        """The output file of this shard."""
        return f"part-{self.index:05d}.parquet"


def plan_shards(rows: int, shard_rows: int) -> list[Shard]:
    """Cut `rows` rows into shards of `shard_rows`, the last one shorter; none for zero rows."""
    starts = range(0, rows, shard_rows)
    return [
        Shard(index=index, start=start, rows=min(shard_rows, rows - start))
        for index, start in enumerate(starts)
    ]
