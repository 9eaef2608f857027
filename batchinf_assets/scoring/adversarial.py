"""Rows on which scorers that are not quite equal differ: made of golden rows, value by value.

Holding two scorers against each other on these rows is in `scoring.parity`. What is put in place of
golden values comes in kinds, and rows of one kind stand together: a model that refuses missing
values, say, must not keep the other rows from being compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batchinf_assets.errors import GoldenSetInvalid
from batchinf_assets.lake.schema import ARROW_TYPES, arrow_schema
from batchinf_assets.scoring.encoding.recipe import Arithmetic, MatrixColumn, Recipe
from batchinf_assets.scoring.frame import feature_column
from batchinf_assets.scoring.trees.ensemble import TreeEnsemble
from batchinf_assets.spec.contract import NUMERIC, FeatureSpec

Numbers = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

SHARE = 40
"""Of each kind but that of thresholds, one row in forty has one value, and one in forty many."""

LONG = 300
"""Characters of a long string."""

_FLOAT32 = np.finfo(np.float32)
_FLOAT64 = np.finfo(np.float64)


@dataclass(frozen=True, kw_only=True)
class ThresholdCoverage:
    """How many split thresholds occur in rows.

    Attributes:
        present: Distinct thresholds, as the feature's type can hold them, that some row holds.
        total: Distinct thresholds.
    """

    present: int
    total: int

    def __str__(self) -> str:
        return f"{self.present} of {self.total} split thresholds"


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """Values to put in place of a feature's golden ones; the first `needed` before all others."""

    values: pa.Array
    needed: int = 0


def adversarial_rows(
    golden: pa.Table,
    columns: Mapping[str, FeatureSpec],
    thresholds: Mapping[str, npt.NDArray[np.float64]],
    *,
    rows: int = 20_000,
    seed: int,
) -> pa.Table:
    """Replace features of golden rows, one at a time and many at once.

    By: every split threshold and its neighbours in float64 and float32, the values that rounding to
    float32 carries across it, and other values seen in the golden rows; signed zeros, denormals,
    limits, numbers that are no code of a category; finite numbers beyond float32; missing values
    where the feature is nullable; strings that are unseen, empty, long, or nearly a seen one.
    Every threshold occurs where no feature has more thresholds than four fifths of `rows`; else
    they are sampled evenly, and `threshold_coverage` counts them.

    Args:
        golden: At least one row, with at least the declared features.
        columns: The declared features.
        thresholds: Split thresholds by feature, float64; see `feature_thresholds`.
        rows: How many rows to make.
        seed: Decides which golden row and which values meet.

    Returns:
        The declared features in their declared types.

    Raises:
        GoldenSetInvalid: The golden set has no row.
        BatchinfError: A feature of the golden set does not fit its declaration.
    """
    kept = _golden_columns(golden, columns)
    compared = {
        name: _compared(kept[name], spec, _finite(thresholds, name))
        for name, spec in columns.items()
    }
    kinds = [kind for kind in _kinds(kept, columns) if kind]
    random = np.random.default_rng(seed)
    needed = max(pool.needed for pool in compared.values())
    share = rows // SHARE
    left = rows - 2 * share * len(kinds)
    many = max(left - left // 2, min(left, needed))
    sections = [
        (compared, _one_at_a_time(compared, left - many)),
        (compared, _many_at_once(compared, many, random)),
    ]
    for kind in kinds:
        sections.append((kind, _one_at_a_time(kind, share)))
        sections.append((kind, _many_at_once(kind, share, random)))
    tables = [_replaced(kept, columns, pools, picks, random) for pools, picks in sections]
    return pa.concat_tables(tables).combine_chunks()


def hostile_rows(golden: pa.Table, columns: Mapping[str, FeatureSpec]) -> list[pa.Table]:
    """Make tables that a model may refuse, each for one value of one feature.

    Infinities, numbers at and beyond the limit of float32, and missing values that the declaration
    does not allow.

    Args:
        golden: At least one row, with at least the declared features.
        columns: The declared features.

    Returns:
        Tables of two rows: a golden one, and the same with the value.

    Raises:
        GoldenSetInvalid: The golden set has no row.
        BatchinfError: A feature of the golden set does not fit its declaration.
    """
    kept = _golden_columns(golden, columns)
    two = pa.table({name: column.take(pa.array([0, 0])) for name, column in kept.items()})
    return [
        two.set_column(index, name, pa.concat_arrays([kept[name][:1], value]))
        for index, (name, spec) in enumerate(columns.items())
        for value in _hostile_values(spec)
    ]


def feature_thresholds(
    recipe: Recipe, ensemble: TreeEnsemble
) -> dict[str, npt.NDArray[np.float64]]:
    """Carry split thresholds of matrix columns back to the features that they are made of.

    Arithmetic is inverted in float64, for the threshold and for its neighbours in float64 and
    float32. Columns of codes have no threshold that a value of the feature could meet.

    Returns:
        Distinct finite thresholds, float64, ascending, by feature.
    """
    found: dict[str, list[Numbers]] = {}
    for index, column in enumerate(recipe.columns):
        if not any(step.kind in ("ordinal", "one_hot", "impute_text") for step in column.steps):
            found.setdefault(column.feature, []).append(
                _carried_back(ensemble.thresholds(index), column)
            )
    distinct = {name: np.unique(np.concatenate(parts)) for name, parts in found.items()}
    return {name: _finite(distinct, name) for name in distinct}


def threshold_coverage(
    rows: pa.Table,
    columns: Mapping[str, FeatureSpec],
    thresholds: Mapping[str, npt.NDArray[np.float64]],
) -> ThresholdCoverage:
    """Count the split thresholds that occur in rows."""
    present = total = 0
    for name, spec in columns.items():
        expected = _at_or_below(_finite(thresholds, name), spec)
        if len(expected):
            found = rows.column(name).drop_null().to_numpy()
            present += int(np.isin(expected, found).sum())
            total += len(expected)
    return ThresholdCoverage(present=present, total=total)


def _golden_columns(golden: pa.Table, columns: Mapping[str, FeatureSpec]) -> dict[str, pa.Array]:
    if golden.num_rows == 0:
        raise GoldenSetInvalid(
            "The golden set has no row to make adversarial rows from.",
            next_step="Point golden.file in defs.yaml to labelled rows.",
        )
    return {
        name: feature_column(golden, name, spec).combine_chunks() for name, spec in columns.items()
    }


def _finite(thresholds: Mapping[str, Numbers], name: str) -> Numbers:
    """Return a feature's thresholds but for infinity, which splits missing values from all else."""
    values = thresholds.get(name, np.empty(0))
    return values[np.isfinite(values)]


def _one_at_a_time(pools: Mapping[str, _Pool], rows: int) -> dict[str, Indices]:
    """Give each row one value of one feature, all features in turn; -1 keeps the golden value."""
    feature = np.repeat(np.arange(len(pools)), [len(pool.values) for pool in pools.values()])
    value = np.concatenate([np.arange(len(pool.values)) for pool in pools.values()])
    order = np.sort(np.resize(_evenly(len(value), rows), rows))
    return {
        name: np.where(feature[order] == index, value[order], -1)
        for index, name in enumerate(pools)
    }


def _many_at_once(
    pools: Mapping[str, _Pool], rows: int, random: np.random.Generator
) -> dict[str, Indices]:
    """Give each feature its values once in any order, then in half of the other rows again."""
    picks: dict[str, Indices] = {}
    for name, pool in pools.items():
        size = len(pool.values)
        needed = _evenly(pool.needed, rows)
        others = pool.needed + _evenly(size - pool.needed, rows - len(needed))
        again = random.integers(0, size, rows - len(needed) - len(others))
        again[random.random(len(again)) < 0.5] = -1
        picks[name] = random.permutation(np.concatenate([needed, others, again]))
    return picks


def _evenly(count: int, most: int) -> Indices:
    if count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64)


def _replaced(
    kept: Mapping[str, pa.Array],
    columns: Mapping[str, FeatureSpec],
    pools: Mapping[str, _Pool],
    picks: Mapping[str, Indices],
    random: np.random.Generator,
) -> pa.Table:
    golden, rows = len(next(iter(kept.values()))), len(next(iter(picks.values())))
    base = random.integers(0, golden, rows)
    made = dict(kept)
    taken = dict.fromkeys(kept, base)
    for name, pick in picks.items():
        made[name] = pa.concat_arrays([kept[name], pools[name].values])
        taken[name] = np.where(pick < 0, base, golden + pick)
    arrays = [made[name].take(pa.array(taken[name])) for name in columns]
    return pa.table(arrays, schema=arrow_schema(columns))


def _compared(kept: pa.Array, spec: FeatureSpec, thresholds: Numbers) -> _Pool:
    """Return what splits compare with: thresholds, their neighbours, and golden values."""
    type_ = ARROW_TYPES[spec.type]
    if spec.type == "bool":
        return _Pool(values=pa.array([False, True], type_))
    if spec.type == "string":
        return _Pool(values=_seen(kept, 1_000) if len(kept.drop_null()) else pa.array([""]))
    exact = _at_or_below(thresholds, spec)
    near = np.concatenate([_neighbours(thresholds, spec), _extremes(kept), [0]]).astype(exact.dtype)
    others = np.setdiff1d(near, exact)
    values = pa.array(np.concatenate([exact, others]), type_)
    return _Pool(values=values, needed=len(exact))


def _kinds(
    kept: Mapping[str, pa.Array], columns: Mapping[str, FeatureSpec]
) -> Iterator[dict[str, _Pool]]:
    """Yield the pools of values that a model may not know, one kind after the other."""
    numeric = {name: spec for name, spec in columns.items() if spec.type in NUMERIC}
    yield {name: _pool(_odd_numbers(kept[name], spec), spec) for name, spec in numeric.items()}
    wide = {name: spec for name, spec in columns.items() if spec.type == "float64"}
    limits = [float(sign * value) for value in (_FLOAT64.max, 1e39) for sign in (1, -1)]
    yield {name: _pool(limits, spec) for name, spec in wide.items()}
    nullable = {name: spec for name, spec in columns.items() if spec.nullable}
    yield {name: _pool(_missing(spec), spec) for name, spec in nullable.items()}
    texts = {name: spec for name, spec in columns.items() if spec.type == "string"}
    yield {name: _pool(_odd_strings(kept[name], spec), spec) for name, spec in texts.items()}


def _pool(values: list[Any], spec: FeatureSpec) -> _Pool:
    return _Pool(values=pa.array(values, ARROW_TYPES[spec.type], from_pandas=False))


def _odd_numbers(kept: pa.Array, spec: FeatureSpec) -> list[Any]:
    around = _extremes(kept)
    if spec.type in ("int32", "int64"):
        limit = np.iinfo(spec.type)
        beside = [int(value) + step for value in around for step in (-1, 1)]
        codes = [-1, 0, 255, 256, 10**9, int(limit.min), int(limit.max), *beside]
        return [code for code in codes if limit.min <= code <= limit.max]
    codes = [0.0, -0.0, -1.0, 0.5, 255.0, 256.0, 1e9]
    beside = [float(value) + step for value in around for step in (-1, 0.5, 1)]
    limits = [_FLOAT32.smallest_subnormal, _FLOAT32.tiny, _FLOAT32.max]
    if spec.type == "float64":
        limits += [_FLOAT64.smallest_subnormal, _FLOAT64.tiny]
    return codes + beside + [float(sign * value) for value in limits for sign in (1, -1)]


def _missing(spec: FeatureSpec) -> list[Any]:
    return [None, float("nan")] if spec.type in ("float32", "float64") else [None]


def _odd_strings(kept: pa.Array, spec: FeatureSpec) -> list[Any]:
    nearly = [
        changed
        for text in _seen(kept, 8).to_pylist()
        for changed in (text.swapcase(), f"{text} ", f" {text}", f"{text}\0", text[:-1])
    ]
    return ["", "unseen", "nan", "None", "0", "é", "x" * LONG, *nearly, *(spec.allowed or ())]


def _seen(kept: pa.Array, most: int) -> pa.Array:
    seen = kept.drop_null().unique().sort()
    return seen.take(pa.array(_evenly(len(seen), most)))


def _hostile_values(spec: FeatureSpec) -> Iterator[pa.Array]:
    type_ = ARROW_TYPES[spec.type]
    if spec.type in ("float32", "float64"):
        values = [float("inf"), float("-inf"), float(_FLOAT32.max), -float(_FLOAT32.max)]
        if spec.type == "float64":
            # Rounding to float32 gives its largest number for the first, infinity for the second.
            half = float(_FLOAT32.max) + 2.0**103
            values += [float(np.nextafter(half, 0)), half, 1e39, -1e39, float(_FLOAT64.max)]
        if not spec.nullable:
            values.append(float("nan"))
        yield from (pa.array([value], type_, from_pandas=False) for value in values)
    if not spec.nullable:
        yield pa.array([None], type_)


def _carried_back(thresholds: Numbers, column: MatrixColumn) -> Numbers:
    steps = [step for step in column.steps if isinstance(step, Arithmetic)]
    if not steps:
        return thresholds
    with np.errstate(all="ignore"):  # what cannot be carried back is not finite, and left out
        narrow = thresholds.astype(np.float32)
        beside = [np.nextafter(narrow, np.float32(end)) for end in (-np.inf, np.inf)]
        beside += [np.nextafter(thresholds, end) for end in (-np.inf, np.inf)]
        values = np.concatenate([thresholds, *beside]).astype(np.float64)
        for step in reversed(steps):
            values = _inverted(values, step)
    return values


def _inverted(values: Numbers, step: Arithmetic) -> Numbers:
    match step.kind:
        case "add":
            return values - step.value
        case "subtract":
            return values + step.value
        case "multiply":
            return values / np.float64(step.value)
        case "divide":
            return values * step.value


def _at_or_below(thresholds: Numbers, spec: FeatureSpec) -> Numbers:
    """Return the largest value of the feature's type at or below each threshold, distinct."""
    match spec.type:
        case "float64":
            return np.unique(thresholds)
        case "float32":
            return np.unique(_float32_at_or_below(thresholds))
        case "int32" | "int64":
            return np.unique(_whole(np.floor(thresholds), spec))
        case _:
            return np.empty(0)


def _neighbours(thresholds: Numbers, spec: FeatureSpec) -> Numbers:
    if spec.type in ("int32", "int64"):
        floor = np.floor(thresholds)
        return np.concatenate([_whole(floor + step, spec) for step in (-1, 1, 2)])
    below = _float32_at_or_below(thresholds)
    with np.errstate(all="ignore"):
        above = np.nextafter(below, np.float32(np.inf))
        grid = [np.nextafter(below, np.float32(-np.inf)), below, above]
        grid.append(np.nextafter(above, np.float32(np.inf)))
    if spec.type == "float32":
        return _within_float32(np.concatenate(grid))
    wide = [numbers.astype(np.float64) for numbers in grid]
    # Halfway to the next float32 rounding turns, on whichever side of that the threshold lies.
    turns = (wide[1] + wide[2]) / 2
    beside = [
        np.nextafter(exact, end) for exact in (thresholds, turns) for end in (-np.inf, np.inf)
    ]
    return _within_float32(np.concatenate([*wide, turns, *beside]))


def _float32_at_or_below(thresholds: Numbers) -> npt.NDArray[np.float32]:
    bounded = np.clip(thresholds, _FLOAT32.min, _FLOAT32.max)
    with np.errstate(under="ignore"):
        narrow = bounded.astype(np.float32)
        lower = np.nextafter(narrow, np.float32(-np.inf))
    return np.where(narrow > bounded, lower, narrow)


def _within_float32(numbers: Numbers) -> Numbers:
    return numbers[np.abs(numbers) <= _FLOAT32.max]


def _whole(numbers: Numbers, spec: FeatureSpec) -> Numbers:
    limit = np.iinfo(spec.type)
    inside = numbers[(numbers >= limit.min) & (numbers < float(limit.max))]
    return inside.astype(spec.type)


def _extremes(kept: pa.Array) -> Numbers:
    values = kept.drop_null().to_numpy(zero_copy_only=False)
    finite = values[np.isfinite(values)]
    return np.array([finite.min(), finite.max()]) if len(finite) else finite
