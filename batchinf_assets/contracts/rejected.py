"""What is kept of rows that were set aside: one line per row and broken rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.contracts.row_texts import key_texts, value_texts
from batchinf_assets.contracts.validate import BrokenRule

MOST_LINES = 10_000
"""Lines of a table's rows; beyond them a row keeps only the line of its first broken rule."""

REJECTED = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("value", pa.string()),
    ]
)
"""A line: position of the row, its key as samples write it, what it breaks, and with which value.

A value is escaped and at most 80 characters long, and null where it is null or the rule is about
the whole row.
"""


@dataclass
class RejectedLines:
    """Lines of one table, slice by slice.

    Attributes:
        left_off: Lines that were not kept.
    """

    key: Sequence[str]
    left_off: int = 0
    _kept: list[pa.Table] = field(default_factory=list[pa.Table])

    def add(
        self, rows: pa.Table, first: int, broken: Sequence[BrokenRule], *, every_row: bool
    ) -> None:
        """Keep what is wrong with the next slice.

        Args:
            rows: The slice.
            first: Position of its first row in the table.
            broken: The rules that set rows aside, in the order in which a row's lines stand.
            every_row: Whether each row keeps a line however many there are already.
        """
        positions = np.concatenate([each.rows for each in broken])
        ranks = np.repeat(np.arange(len(broken)), [each.rows.size for each in broken])
        order = np.lexsort((ranks, positions))
        positions, ranks = positions[order], ranks[order]
        kept = np.arange(positions.size) < MOST_LINES - self.count
        if every_row:
            kept[np.unique(positions, return_index=True)[1]] = True
        self.left_off += int(positions.size - kept.sum())
        if kept.any():
            self._kept.append(self._lines(rows, first, broken, positions[kept], ranks[kept]))

    @property
    def count(self) -> int:
        """How many lines were kept."""
        return sum(lines.num_rows for lines in self._kept)

    def table(self) -> pa.Table:
        """Return the kept lines, by row and then in the order of the rules."""
        return pa.concat_tables([REJECTED.empty_table(), *self._kept]).combine_chunks()

    def _lines(
        self,
        rows: pa.Table,
        first: int,
        broken: Sequence[BrokenRule],
        positions: npt.NDArray[np.int64],
        ranks: npt.NDArray[np.int64],
    ) -> pa.Table:
        values = np.full(positions.size, None, dtype=object)
        for rank, rule in enumerate(broken):
            mine = np.flatnonzero(ranks == rank)
            if rule.column is not None and mine.size:
                values[mine] = value_texts(rows.column(rule.column).take(pa.array(positions[mine])))
        keys = rows.select(list(self.key)).take(pa.array(positions))
        columns = [
            positions + first,
            key_texts(keys, self.key),
            [broken[rank].rule for rank in ranks],
            [broken[rank].column for rank in ranks],
            values,
        ]
        arrays = [
            pa.array(column, kind.type) for column, kind in zip(columns, REJECTED, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=REJECTED)
