"""Unique keys and kept rows of a window too large to hold: two streams of keys, side by side.

Where both are in key order and equal, that proves both rules; `contracts.validate` names what is
wrong where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from batchinf_assets.checks import CheckResult
from batchinf_assets.contracts.validate import check_same_keys, check_unique_key
from batchinf_assets.lake.order import KeyOrder, plain_layout, same_keys_in_order

KeyStream = Callable[[], Iterator[pa.Table]]
"""Starts reading the rows again from the first; the tables hold at least the key columns."""


def check_key_streams(
    expected: KeyStream, found: KeyStream, *, key: Sequence[str], asset: str
) -> tuple[CheckResult, CheckResult]:
    """Check that `found` has exactly the keys of `expected`, each once.

    Holds one table of each stream at a time as long as both ascend strictly and are equal. Else
    both are read again, and the keys of the whole window are held, to name the rows.

    Returns:
        The results of `check_unique_key` on `found` and of `check_same_keys`.
    """
    order = KeyOrder()
    if same_keys_in_order(_keys(expected, key), _watched(_keys(found, key), order)) and order.holds:
        rows = order.rows
        return (
            _passed("unique_key", asset, {"rows": rows, "keys": rows}),
            _passed("row_conservation", asset, {"rows_in": rows, "rows_out": rows}),
        )
    before, after = list(_keys(expected, key)), list(_keys(found, key))
    # One of them has rows, or they would be equal; the other may have no table at all.
    empty = (before + after)[0].slice(0, 0)
    rows_in, rows_out = _whole(before or [empty]), _whole(after or [empty])
    return (
        check_unique_key(rows_out, key=key, asset=asset),
        check_same_keys(rows_in, rows_out, key=key, asset=asset),
    )


def _keys(stream: KeyStream, key: Sequence[str]) -> Iterator[pa.Table]:
    return (table.select(list(key)) for table in stream())


def _watched(tables: Iterator[pa.Table], order: KeyOrder) -> Iterator[pa.Table]:
    for table in tables:
        order.add(table)
        yield table


def _whole(tables: Sequence[pa.Table]) -> pa.Table:
    """Put a stream together, without dictionaries, which differ from file to file."""
    plain = [pa.table({n: plain_layout(t.column(n)) for n in t.column_names}) for t in tables]
    return pa.concat_tables(plain, promote_options="permissive")


def _passed(name: str, asset: str, measured: dict[str, int | float | str]) -> CheckResult:
    return CheckResult(name=name, asset=asset, passed=True, measured=measured)
