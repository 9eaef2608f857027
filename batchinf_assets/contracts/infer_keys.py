"""Which few columns identify a row of a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

MOST_COLUMNS = 10
"""Columns that are combined, those with the most values; three of ten are 120 combinations."""

LARGEST_KEY = 3

_FIRST_LOOK = 4096

_Codes = npt.NDArray[np.int64]


def candidate_keys(rows: pa.Table, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the smallest sets of columns whose values never repeat together, at most three large.

    Args:
        rows: The sample.
        columns: Columns that may be part of a key; none of them has nulls.

    Returns:
        All sets of the smallest size that has one, in the order of the columns; none where there is
        no such set, and for fewer than two rows.
    """
    if rows.num_rows < 2:
        return []
    codes = {name: _codes(rows.column(name)) for name in columns}
    distinct = {name: int(of.max()) + 1 for name, of in codes.items()}
    most = sorted(columns, key=lambda name: -distinct[name])[:MOST_COLUMNS]
    tried = [name for name in columns if name in most]
    for size in range(1, LARGEST_KEY + 1):
        found = list(_unique_sets(tried, size, codes, distinct, rows.num_rows))
        if found:
            return found
    return []


def repeated_rows(rows: pa.Table, key: Sequence[str]) -> int:
    """Count the rows whose key another row has too; two nulls count as the same value."""
    codes = {name: _codes(rows.column(name)) for name in key}
    if not rows.num_rows:
        return 0
    together = _combined([codes[name] for name in key])
    counts = np.unique(together, return_counts=True)[1]
    return int(counts[counts > 1].sum())


def _unique_sets(
    columns: Sequence[str],
    size: int,
    codes: dict[str, _Codes],
    distinct: dict[str, int],
    rows: int,
) -> Iterator[tuple[str, ...]]:
    for names in combinations(columns, size):
        if np.prod([float(distinct[name]) for name in names]) < rows:
            continue
        parts = [codes[name] for name in names]
        if _never_repeat([part[:_FIRST_LOOK] for part in parts]) and _never_repeat(parts):
            yield names


def _never_repeat(parts: Sequence[_Codes]) -> bool:
    together = _combined(parts)
    return np.unique(together).size == together.size


def _combined(parts: Sequence[_Codes]) -> _Codes:
    """Number the combinations of values; numbered anew after each, they stay below rows squared."""
    together = parts[0]
    for part in parts[1:]:
        together = together * (int(part.max(initial=0)) + 1) + part
        together = np.unique(together, return_inverse=True)[1].astype(np.int64)
    return together


def _codes(values: pa.ChunkedArray) -> _Codes:
    encoded = values.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    numbers = encoded.indices.cast(pa.int64()).fill_null(-1)
    return np.asarray(numbers.to_numpy(zero_copy_only=False)) + 1
