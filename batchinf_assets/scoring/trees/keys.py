"""Rows as integer keys, so that every split of a tree is one integer comparison.

A numeric value x becomes an int32 key such that x <= threshold exactly where key(x) <= key of the
threshold. For float32 rows the key is the float's own bits, made monotone; a float64 threshold is
rounded down to float32 first, which changes no answer. For float64 rows it is the number of the
column's thresholds below x. A missing value gets the lowest key for the splits that send it left
and the highest for those that send it right: two rows of keys for one column, where both occur.

A category becomes one bit in a row of keys per 32 codes, so that a split asks whether the bits meet
those that go right; codes that are negative, unknown or missing share a bit of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from batchinf_assets.scoring.trees.compiled import part
from batchinf_assets.scoring.trees.ensemble import CATEGORY_CODES, Precision, TreeEnsemble
from batchinf_assets.scoring.trees.ranks import RANK_ROWS, find_ranks

BLOCK = 256
"""Rows that are scored together: their keys stay in the first-level cache."""

WORD_BITS = 32
LOWEST = np.int32(-(2**31))
HIGHEST = np.int32(2**31 - 1)

_SIGN = np.int32(31)
_MAGNITUDE = np.int32(0x7FFFFFFF)
_INFINITY = np.int32(0x7F800000)
_ZERO = np.int32(0)
_ONE = np.int32(1)

Int32s = npt.NDArray[np.int32]


class NumericKeys(NamedTuple):
    """Which rows of keys come from which matrix column; what a kernel reads.

    Attributes:
        source: int32: matrix columns that numeric splits read.
        low: int32: the row of keys where missing is lowest.
        high: int32: the row of keys where missing is highest.
        cuts: float64: each column's thresholds, padded with infinity to 2**steps - 1.
        cut_start: int64: where a column's thresholds begin in `cuts`.
        steps: int32: halvings that find a value among them.
    """

    source: Int32s
    low: Int32s
    high: Int32s
    cuts: npt.NDArray[np.float64]
    cut_start: npt.NDArray[np.int64]
    steps: Int32s


class CategoryKeys(NamedTuple):
    """The same for categorical columns.

    Attributes:
        source: int32: matrix columns that categorical splits read.
        word: int32: the first row of keys with the column's bits.
        words: int32: how many there are.
        code: int32: the row of keys with the compact code itself.
        compact: int32, shape (columns, 257): the compact code of each code; the last is missing.
    """

    source: Int32s
    word: Int32s
    words: Int32s
    code: Int32s
    compact: Int32s


@dataclass(frozen=True, kw_only=True)
class KeyPlan:
    """How a block of rows becomes keys, and what the splits compare them with.

    Attributes:
        rows: Rows of keys.
        first_code: The first row that holds compact codes; those before hold keys and bits.
        numeric: Rows from numeric columns.
        categories: Rows from categorical columns.
        split_row: int32, shape (nodes,): the row that a split compares: keys of a numeric column,
            the first word of a categorical one.
        split_code: int32, shape (nodes,): the row of compact codes, for categorical splits.
        split_key: int32, shape (nodes,): what a numeric split compares with; the row goes right
            where its key is greater.
        goes_right: By node of a categorical split, uint32, shape (words,): the bits that go right.
    """

    rows: int
    first_code: int
    numeric: NumericKeys
    categories: CategoryKeys
    split_row: Int32s
    split_code: Int32s
    split_key: Int32s
    goes_right: dict[int, npt.NDArray[np.uint32]]


def plan_keys(ensemble: TreeEnsemble, rows_are: Precision) -> KeyPlan:
    """Plan the keys of an ensemble for rows of one type."""
    split_row, split_code, split_key = (
        np.zeros(len(ensemble.column), dtype=np.int32) for _ in range(3)
    )
    numeric, count = _plan_numeric(ensemble, rows_are, split_row, split_key)
    categories, goes_right, first_code, rows = _plan_categories(
        ensemble, count, split_row, split_code
    )
    return KeyPlan(
        rows=rows,
        first_code=first_code,
        numeric=numeric,
        categories=categories,
        split_row=split_row,
        split_code=split_code,
        split_key=split_key,
        goes_right=goes_right,
    )


def _plan_numeric(
    ensemble: TreeEnsemble, rows_are: Precision, split_row: Int32s, split_key: Int32s
) -> tuple[NumericKeys, int]:
    """Fill what numeric splits compare; row 0 is written for columns that lack one of the two."""
    splits = np.flatnonzero(~ensemble.is_leaf & (ensemble.category_set < 0))
    low, high, cuts, rows = [0], [0], [np.empty(0)], 1
    sources = np.unique(ensemble.column[splits])
    for source in sources:
        nodes = splits[ensemble.column[splits] == source]
        to_left = ensemble.missing_left[nodes]
        low.append(rows if to_left.any() else 0)
        rows += int(to_left.any())
        high.append(rows if not to_left.all() else 0)
        rows += int(not to_left.all())
        split_row[nodes] = np.where(to_left, low[-1], high[-1])
        distinct = ensemble.thresholds(int(source))
        if rows_are == "float32":
            split_key[nodes] = float32_keys(ensemble.threshold[nodes])
            distinct = distinct[:0]
        else:
            split_key[nodes] = np.searchsorted(distinct, ensemble.threshold[nodes])
        cuts.append(_padded(distinct))
    sizes = np.array([len(part) for part in cuts[1:]], dtype=np.int64)
    return NumericKeys(
        source=sources.astype(np.int32),
        low=np.array(low[1:], dtype=np.int32),
        high=np.array(high[1:], dtype=np.int32),
        cuts=np.concatenate(cuts),
        cut_start=np.cumsum(sizes) - sizes,
        steps=np.array([int(size).bit_length() for size in sizes], dtype=np.int32),
    ), rows


def _padded(cuts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    size = 2 ** len(cuts).bit_length() - 1
    return np.concatenate([cuts, np.full(size - len(cuts), np.inf)])


def float32_keys(thresholds: npt.NDArray[np.float64]) -> Int32s:
    """Return the keys of thresholds for float32 rows: rounded down to float32, then their bits."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    above = rounded.astype(np.float64) > thresholds
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    # -0.0 becomes 0.0: among rows -0.0 has a key of its own just below, and no threshold between.
    bits = (rounded + np.float32(0)).view(np.int32)
    return bits ^ ((bits >> _SIGN) & _MAGNITUDE)


def _plan_categories(
    ensemble: TreeEnsemble, rows: int, split_row: Int32s, split_code: Int32s
) -> tuple[CategoryKeys, dict[int, npt.NDArray[np.uint32]], int, int]:
    splits = np.flatnonzero(ensemble.category_set >= 0)
    left = np.unpackbits(
        ensemble.left_categories.astype("<u4").view(np.uint8), axis=1, bitorder="little"
    ).astype(np.bool_)
    goes_right: dict[int, npt.NDArray[np.uint32]] = {}
    word, words, compact = [], [], [np.empty((0, CATEGORY_CODES + 1), dtype=np.int32)]
    sources = np.unique(ensemble.column[splits])
    for source in sources:
        nodes = splits[ensemble.column[splits] == source]
        known = np.zeros(CATEGORY_CODES, dtype=np.bool_)
        known[list(ensemble.known_categories[int(source)])] = True
        node_left = left[ensemble.category_set[nodes]]
        codes = np.flatnonzero(known | node_left.any(axis=0))
        missing_right = ~ensemble.missing_left[nodes][:, None]
        right = ~node_left[:, codes] & (known[codes] | missing_right)
        packed = _words(np.concatenate([right, missing_right], axis=1))
        goes_right.update(zip(nodes.tolist(), packed, strict=True))
        split_row[nodes] = rows
        word.append(rows)
        words.append(packed.shape[1])
        rows += packed.shape[1]
        table = np.full((1, CATEGORY_CODES + 1), len(codes), dtype=np.int32)
        table[0, codes] = np.arange(len(codes))
        compact.append(table)
    code = rows + np.arange(len(sources), dtype=np.int32)
    split_code[splits] = code[np.searchsorted(sources, ensemble.column[splits])]
    keys = CategoryKeys(
        source=sources.astype(np.int32),
        word=np.array(word, dtype=np.int32),
        words=np.array(words, dtype=np.int32),
        code=code.astype(np.int32),
        compact=np.concatenate(compact),
    )
    return keys, goes_right, rows, rows + len(sources)


def _words(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    width = -(-bits.shape[1] // WORD_BITS) * WORD_BITS
    padded = np.pad(bits, ((0, 0), (0, width - bits.shape[1])))
    return np.packbits(padded, axis=1, bitorder="little").view("<u4").astype(np.uint32)


@part
def fill_float32_keys(bits: Any, start: Any, stop: Any, numeric: Any, keys: Any) -> None:
    """Fill rows of keys from the bits of float32 rows start to stop; bits is (columns, rows)."""
    for j in range(numeric.source.size):
        values = bits[numeric.source[j], start:stop]
        low, high = keys[numeric.low[j]], keys[numeric.high[j]]
        for r in range(stop - start):
            i = values[r]
            key = i ^ ((i >> _SIGN) & _MAGNITUDE)
            missing = (i & _MAGNITUDE) > _INFINITY
            low[r] = LOWEST if missing else key
            high[r] = HIGHEST if missing else key


@part
def fill_float64_keys(values: Any, start: Any, stop: Any, numeric: Any, keys: Any) -> None:
    """Fill rows of keys with how many thresholds lie below each float64 value."""
    x = np.zeros(BLOCK)
    for j in range(numeric.source.size):
        x[: stop - start] = values[numeric.source[j], start:stop]
        for row in range(0, BLOCK, RANK_ROWS):
            find_ranks(x, keys, numeric, j, row, numeric.low[j] * BLOCK, numeric.high[j] * BLOCK)


@part
def fill_category_keys(values: Any, start: Any, stop: Any, categories: Any, keys: Any) -> None:
    """Fill rows of keys from the category codes of rows start to stop.

    scikit-learn casts a code to an unsigned byte, in C; this is what that gives on x86-64, also
    for fractions and for codes that no byte holds.
    """
    for j in range(categories.source.size):
        x = values[categories.source[j], start:stop]
        compact, codes = categories.compact[j], keys[categories.code[j]]
        for r in range(stop - start):
            value = x[r]
            if not value >= 0.0:
                codes[r] = compact[CATEGORY_CODES]
            else:
                codes[r] = compact[np.int64(value) & 255 if value < 2147483648.0 else 0]
        for w in range(categories.words[j]):
            word = keys[categories.word[j] + w]
            for r in range(stop - start):
                bit = codes[r] - np.int32(WORD_BITS * w)
                inside = (bit >= _ZERO) & (bit < np.int32(WORD_BITS))
                word[r] = (_ONE << (bit & _SIGN)) if inside else _ZERO
