"""What a later snapshot of a window changed: rows added, changed and removed, by key and content.

Rows are equal where their content digests would be; see `lake.digest`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from batchinf_assets.checks import SAMPLE_KEYS
from batchinf_assets.contracts.validate import sample_keys
from batchinf_assets.lake.matching import (
    Block,
    chosen_rows,
    match_rows,
    same_rows,
    side_by_side,
    unmatched_rows,
)
from batchinf_assets.lake.order import plain_layout
from batchinf_assets.lake.row_groups import RowGroups, ahead


@dataclass(frozen=True, kw_only=True)
class RowChanges:
    """How one version of a window's rows differs from an earlier one.

    Attributes:
        added: Rows whose key is new.
        removed: Rows whose key is gone.
        changed: Rows of the same key with another value in some column.
        unchanged: Rows that are the same.
        added_keys: The first of them, as text; also of the next two.
        removed_keys: The first removed ones.
        changed_keys: The first changed ones.
    """

    added: int
    removed: int
    changed: int
    unchanged: int
    added_keys: tuple[str, ...] = ()
    removed_keys: tuple[str, ...] = ()
    changed_keys: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Added and changed rows among all that there are now; 0.0 where there are none."""
        rows = self.added + self.changed + self.unchanged
        return (self.added + self.changed) / rows if rows else 0.0


def compare_rows(before: RowGroups, after: RowGroups, key: Sequence[str]) -> RowChanges:
    """Compare two files of rows that ascend by key; holds a row group of each at a time.

    A column that only one of them has, or that has another type, makes every row a changed one.

    Args:
        before: The earlier rows.
        after: The later ones.
        key: The key columns; both sides have them, of the same types.

    Raises:
        ManifestInvalid: A file is gone or damaged.
        ValueError: A key holds a null or a float that is not finite, or the keys differ in type.
    """
    columns = _shared_columns(before, after, key)
    found = _Found()
    for block in side_by_side(ahead(before.all()), ahead(after.all()), key):
        found.add(block, key, columns)
    return found.changes()


@dataclass
class _Tally:
    rows: int = 0
    keys: tuple[str, ...] = ()

    def add(self, rows: pa.Table, key: Sequence[str]) -> None:
        self.rows += rows.num_rows
        if rows.num_rows and len(self.keys) < SAMPLE_KEYS:
            self.keys = (*self.keys, *sample_keys(rows, key))[:SAMPLE_KEYS]


@dataclass
class _Found:
    added: _Tally = field(default_factory=_Tally)
    removed: _Tally = field(default_factory=_Tally)
    changed: _Tally = field(default_factory=_Tally)
    unchanged: int = 0

    def add(self, block: Block, key: Sequence[str], columns: Sequence[str] | None) -> None:
        old, new = match_rows(block.before, block.after, key)
        before, after = chosen_rows(block.before, old), chosen_rows(block.after, new)
        other = (
            np.ones(len(new), dtype=np.bool_)
            if columns is None
            else ~same_rows(before, after, columns)
        )
        self.added.add(unmatched_rows(block.after, new), key)
        self.removed.add(unmatched_rows(block.before, old), key)
        self.changed.add(after.filter(pa.array(other)), key)
        self.unchanged += len(new) - int(other.sum())

    def changes(self) -> RowChanges:
        return RowChanges(
            added=self.added.rows,
            removed=self.removed.rows,
            changed=self.changed.rows,
            unchanged=self.unchanged,
            added_keys=self.added.keys,
            removed_keys=self.removed.keys,
            changed_keys=self.changed.keys,
        )


def _shared_columns(before: RowGroups, after: RowGroups, key: Sequence[str]) -> list[str] | None:
    """Return the columns, or None where they are not the same on both sides."""
    old, new = ({f.name: _plain(f.type) for f in side.schema} for side in (before, after))
    if [old[name] for name in key] != [new[name] for name in key]:
        raise ValueError(f"the keys of {before.place} and {after.place} differ in type")
    return list(new) if old == new else None


def _plain(kind: pa.DataType) -> pa.DataType:
    return plain_layout(pa.chunked_array([], kind)).type
