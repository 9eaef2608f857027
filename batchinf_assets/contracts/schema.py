"""Declared columns as a pandera schema over values.

Types are no part of it: they are judged on the Arrow table, before pandas has widened anything
(`contracts.validate.check_columns`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pandera.pandas as pandera

from batchinf_assets.checks import SAMPLE_KEYS
from batchinf_assets.contract_spec import ColumnSpec, ColumnType

NOT_NULL = "not null"
FINITE = "finite"

_FLOATS: frozenset[ColumnType] = frozenset({"float32", "float64"})
_SHOWN_VALUES = 10


def pandera_schema(columns: Mapping[str, ColumnSpec]) -> pandera.DataFrameSchema:
    """Build the pandera schema of declared columns.

    Every column must be present; others may stand beside them. The text of each check is the rule
    in words: `finite`, `at least 0.0`, `at most 1.0`, `one of EWR, JFK`. In a float column ±inf is
    never finite, and NaN only where the column is nullable; bounds do not apply to nulls and NaN.

    Args:
        columns: Each column's spec by name.

    Returns:
        A schema for frames made from Arrow tables of the declared types.
    """
    return pandera.DataFrameSchema(
        {
            name: pandera.Column(
                checks=_checks(column), nullable=column.nullable, description=column.description
            )
            for name, column in columns.items()
        }
    )


def _checks(column: ColumnSpec) -> list[pandera.Check]:
    checks: list[pandera.Check] = []
    if column.type in _FLOATS:
        checks.append(_finite(column))
    if column.min is not None:
        checks.append(_at_least(column, column.min))
    if column.max is not None:
        checks.append(_at_most(column, column.max))
    if column.allowed is not None:
        checks.append(_one_of(column, column.allowed))
    return checks


def _finite(column: ColumnSpec) -> pandera.Check:
    nan_allowed = column.nullable

    def finite(values: pd.Series) -> pd.Series:
        numbers = values.to_numpy()
        passed = ~np.isinf(numbers) if nan_allowed else np.isfinite(numbers)
        return pd.Series(passed, index=values.index)

    return _check(finite, column, FINITE)


def _at_least(column: ColumnSpec, bound: float) -> pandera.Check:
    limit = _limit(column.type, bound, math.ceil)

    def at_least(values: pd.Series) -> pd.Series:
        numbers = values.to_numpy()
        return pd.Series((numbers >= limit) | np.isnan(numbers), index=values.index)

    return _check(at_least, column, f"at least {limit!s}")


def _at_most(column: ColumnSpec, bound: float) -> pandera.Check:
    limit = _limit(column.type, bound, math.floor)

    def at_most(values: pd.Series) -> pd.Series:
        numbers = values.to_numpy()
        return pd.Series((numbers <= limit) | np.isnan(numbers), index=values.index)

    return _check(at_most, column, f"at most {limit!s}")


def _one_of(column: ColumnSpec, allowed: tuple[str, ...]) -> pandera.Check:
    def one_of(values: pd.Series) -> pd.Series:
        return values.isin(allowed)

    rest = f", … ({len(allowed)} values)" if len(allowed) > _SHOWN_VALUES else ""
    return _check(one_of, column, f"one of {', '.join(allowed[:_SHOWN_VALUES])}{rest}")


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


def _limit(
    column_type: ColumnType, bound: float, whole: Callable[[float], int]
) -> int | float | np.float32:
    """Give the bound the column's own precision, so that comparing never rounds a value."""
    if column_type == "float32":
        with np.errstate(over="ignore"):
            return np.float32(bound)
    if column_type == "float64" or not math.isfinite(bound):
        return bound
    return whole(bound)
