"""Declared columns as a pandera schema over values.

Types are no part of it: they are judged on the Arrow table, before pandas has widened anything
(`contracts.validate.check_columns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc

from batchinf_assets.checks import SAMPLE_KEYS, quoted
from batchinf_assets.contracts.value_rules import (
    UNIQUE,
    ValueSets,
    is_among,
    is_short,
    limits,
    matches,
)
from batchinf_assets.lake.schema import ARROW_TYPES
from batchinf_assets.spec.contract import ColumnSpec, ColumnType

NOT_NULL = "not null"
FINITE = "finite"

_FLOATS: frozenset[ColumnType] = frozenset({"float32", "float64"})
_SHOWN_VALUES = 10


def pandera_schema(
    columns: Mapping[str, ColumnSpec], sets: ValueSets | None = None
) -> pandera.DataFrameSchema:
    """Build the pandera schema of declared columns.

    Every column must be present; others may stand beside them. The text of each check is the rule
    in words: `finite`, `float64 in [0.0, 1.0]`, `int32 at least 0`, `one of EWR, JFK`,
    `matching '[A-Z]{2}'`, `at most 8 characters`, `known in planes.tail_number`, `unique`. In a
    float column ±inf is never finite, and NaN only where the column is nullable; no other rule
    applies to nulls and NaN.

    Args:
        columns: Each column's spec by name.
        sets: For columns with `known_in` or `unique`, what these rules need to know.

    Returns:
        A schema for frames made from Arrow tables of the declared types.

    Raises:
        KeyError: `sets` lacks a column.
    """
    given = sets or ValueSets()
    return pandera.DataFrameSchema(
        {
            name: pandera.Column(
                checks=[*_checks(column), *_set_checks(name, column, given)],
                nullable=column.nullable,
                description=column.description,
            )
            for name, column in columns.items()
        }
    )


def rule_texts(schema: pandera.DataFrameSchema, name: str) -> list[str]:
    """Return the rules of a column in words, in the order in which they are reported."""
    checks = cast("list[pandera.Check]", schema.columns[name].checks)
    return [NOT_NULL, *(str(check.error) for check in checks)]


def _checks(column: ColumnSpec) -> list[pandera.Check]:
    checks: list[pandera.Check] = []
    if column.type in _FLOATS:
        checks.append(_finite(column))
    if column.min is not None or column.max is not None:
        checks.append(_bounded(column))
    if column.allowed is not None:
        checks.append(_one_of(column, column.allowed))
    if (pattern := column.pattern) is not None:
        rule = f"matching '{quoted(pattern)}'"
        checks.append(_by_arrow(column, rule, lambda values: matches(values, pattern)))
    if (most := column.max_length) is not None:
        rule = f"at most {most} character{'s' if most > 1 else ''}"
        checks.append(_by_arrow(column, rule, lambda values: is_short(values, most)))
    return checks


def _set_checks(name: str, column: ColumnSpec, sets: ValueSets) -> list[pandera.Check]:
    checks: list[pandera.Check] = []
    if column.known_in is not None:
        known = sets.known[name]
        rule = f"known in {column.known_in}"
        checks.append(_by_arrow(column, rule, lambda values: is_among(values, known)))
    if column.unique:
        repeated = sets.repeated[name]
        checks.append(
            _by_arrow(column, UNIQUE, lambda values: pc.invert(is_among(values, repeated)))
        )
    return checks


def _finite(column: ColumnSpec) -> pandera.Check:
    nan_allowed = column.nullable

    def finite(values: pd.Series) -> pd.Series:
        numbers = values.to_numpy()
        passed = ~np.isinf(numbers) if nan_allowed else np.isfinite(numbers)
        return pd.Series(passed, index=values.index)

    return _check(finite, column, FINITE)


def _bounded(column: ColumnSpec) -> pandera.Check:
    least, most = limits(column)

    def bounded(values: pd.Series) -> pd.Series:
        numbers = values.to_numpy()
        inside = (numbers >= least) & (numbers <= most)
        return pd.Series(inside | np.isnan(numbers), index=values.index)

    if column.min is not None and column.max is not None:
        return _check(bounded, column, f"{column.type} in [{least!s}, {most!s}]")
    bound = f"at most {most!s}" if column.min is None else f"at least {least!s}"
    return _check(bounded, column, f"{column.type} {bound}")


def _one_of(column: ColumnSpec, allowed: tuple[str, ...]) -> pandera.Check:
    def one_of(values: pd.Series) -> pd.Series:
        return values.isin(allowed)

    rest = f", … ({len(allowed)} values)" if len(allowed) > _SHOWN_VALUES else ""
    return _check(one_of, column, f"one of {', '.join(allowed[:_SHOWN_VALUES])}{rest}")


def _by_arrow(column: ColumnSpec, rule: str, judge: Callable[[pa.Array], Any]) -> pandera.Check:
    kind = ARROW_TYPES[column.type]

    def judged(values: pd.Series) -> pd.Series:
        # From a categorical series Arrow makes a dictionary, and of NaN null.
        verdict = judge(pa.array(values, from_pandas=True).cast(kind))
        passed = pc.fill_null(verdict, fill_value=pa.scalar(True))  # noqa: FBT003
        return pd.Series(passed.to_numpy(zero_copy_only=False), index=values.index)

    return _check(judged, column, rule)


def _check(
    passed: Callable[[pd.Series], pd.Series], column: ColumnSpec, rule: str
) -> pandera.Check:
    # The float checks judge NaN themselves: dropping it first would cost more than the check.
    # Few failure cases suffice, as the whole mask stays in the error; pandera writes each one out.
    return pandera.Check(
        passed,
        error=rule,
        ignore_na=column.type not in _FLOATS,
        n_failure_cases=SAMPLE_KEYS,
    )
