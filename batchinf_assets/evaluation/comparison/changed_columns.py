"""Which columns of the same rows hold other values, counted over a stream of pairs.

Values are equal where `lake.digest` digests them alike. Why they differ is said in `causes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.lake.matching import same_rows
from batchinf_assets.lake.order import plain_layout

Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ColumnChange:
    """A column with another value in some row.

    Attributes:
        column: Its name.
        rows: Rows where it changed.
        share: Of the rows that both sides have.
        missing_a: Of these rows, those without a value in a.
        missing_b: Those without one in b.
    """

    column: str
    rows: int
    share: float
    missing_a: int
    missing_b: int


@dataclass(frozen=True, kw_only=True)
class ChangedColumns:
    """What differs between the columns of two sides.

    Attributes:
        rows: Rows that both have.
        changed: Rows of these where some column that both have changed.
        columns: The columns that changed, the one with most rows first.
        only_a: Columns that only a has, or as another type.
        only_b: Columns that only b has, or as another type.
        by_group: Rows where some column of a group changed, by the group's name.
    """

    rows: int
    changed: int
    columns: tuple[ColumnChange, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    by_group: Mapping[str, int]

    def of(self, column: str) -> ColumnChange | None:
        """Return what changed of a column, or None where nothing did."""
        return next((change for change in self.columns if change.column == column), None)


@dataclass
class _Tally:
    rows: int = 0
    missing_a: int = 0
    missing_b: int = 0


@dataclass
class ColumnTally:
    """Counts of changed columns over a stream of pairs.

    Attributes:
        columns: The columns that both sides have, of the same types.
        only_a: Other columns of a.
        only_b: Other columns of b.
        groups: Columns by group: rows where any of them changed are counted together.
    """

    columns: tuple[str, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    _rows: int = 0
    _changed: int = 0
    _found: dict[str, _Tally] = field(default_factory=dict[str, _Tally])
    _by_group: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(
        cls, a: pa.Schema, b: pa.Schema, groups: Mapping[str, Iterable[str]], *, besides: set[str]
    ) -> ColumnTally:
        """Begin to count.

        Args:
            a: The columns of the one side.
            b: Those of the other.
            groups: Columns to count together, by a name of the caller's.
            besides: Columns not to look at.
        """
        one, other = (_plain_types(schema, besides) for schema in (a, b))
        return cls(
            columns=tuple(name for name in other if one.get(name) == other[name]),
            only_a=tuple(name for name in one if one[name] != other.get(name)),
            only_b=tuple(name for name in other if other[name] != one.get(name)),
            groups={name: tuple(columns) for name, columns in groups.items()},
        )

    def add(self, a: pa.Table, b: pa.Table) -> dict[str, Booleans]:
        """Count the next pairs; return by column which rows changed, shape (rows,)."""
        changed = {name: ~same_rows(a, b, [name]) for name in self.columns}
        for name, rows in changed.items():
            if rows.any():
                self._count(self._found.setdefault(name, _Tally()), rows, a[name], b[name])
        for group, columns in self.groups.items():
            together = any_of([changed[name] for name in columns if name in changed], a.num_rows)
            self._by_group[group] = self._by_group.get(group, 0) + int(together.sum())
        self._rows += a.num_rows
        self._changed += int(any_of(list(changed.values()), a.num_rows).sum())
        return changed

    def found(self) -> ChangedColumns:
        """Return what was counted so far."""
        order = sorted(self._found, key=lambda name: (-self._found[name].rows, name))
        return ChangedColumns(
            rows=self._rows,
            changed=self._changed,
            columns=tuple(self._change(name, self._found[name]) for name in order),
            only_a=self.only_a,
            only_b=self.only_b,
            by_group=dict(self._by_group),
        )

    def _count(self, tally: _Tally, rows: Booleans, a: pa.ChunkedArray, b: pa.ChunkedArray) -> None:
        tally.rows += int(rows.sum())
        tally.missing_a += int((rows & _missing(a)).sum())
        tally.missing_b += int((rows & _missing(b)).sum())

    def _change(self, name: str, tally: _Tally) -> ColumnChange:
        return ColumnChange(
            column=name,
            rows=tally.rows,
            share=tally.rows / self._rows,
            missing_a=tally.missing_a,
            missing_b=tally.missing_b,
        )


def any_of(flags: Iterable[Booleans], rows: int) -> Booleans:
    """Say of each row whether any of these flags is set, shape (rows,)."""
    found = np.zeros(rows, dtype=np.bool_)
    for each in flags:
        found |= each
    return found


def _missing(values: pa.ChunkedArray) -> Booleans:
    missing = values.is_null(nan_is_null=pa.types.is_floating(values.type))
    return np.asarray(missing.to_numpy(), dtype=np.bool_)


def _plain_types(schema: pa.Schema, besides: set[str]) -> dict[str, pa.DataType]:
    return {
        field.name: plain_layout(pa.chunked_array([], field.type)).type
        for field in schema
        if field.name not in besides
    }
