"""Figures for a proposed contract: outwards of what was seen, with a margin, and easy to read."""

from __future__ import annotations

import math
from collections.abc import Callable

from batchinf_assets.spec.contract import ColumnType

MARGIN = 0.2
"""Of the span that was seen, on either side."""

EXACT = 2**53
"""Whole numbers up to which a bound, which is a float, is exact."""

_LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 50, 64, 80, 100, 128, 200, 256, 500)
_SMALLEST_EXPONENT = -300


def friendly_bounds(
    low: float, high: float, column_type: ColumnType
) -> tuple[float | None, float | None]:
    """Return a smallest and a largest value to declare; None where none can be told.

    A column without negative values stays without them, as does one without positive ones, and
    one between 0 and 1 stays between them.

    Args:
        low: The smallest value seen, finite.
        high: The largest value seen, finite.
        column_type: A numeric type.
    """
    whole = column_type in ("int32", "int64")
    if whole and max(abs(low), abs(high)) > EXACT:
        return None, None
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    span = high - low
    if not math.isfinite(span):
        return None, None
    # Of one single value the span is nothing, and the value is all there is to go by.
    measure = span or abs(high)
    if not math.isfinite(max(abs(low), abs(high)) + MARGIN * measure):
        return None, None
    step = max(math.floor(math.log10(measure)), 0 if whole else _SMALLEST_EXPONENT)
    lower = _rounded(low - MARGIN * measure, step, math.floor)
    upper = _rounded(high + MARGIN * measure, step, math.ceil)
    # A step can be finer than the floats around it are.
    lower, upper = min(lower, low), max(upper, high)
    return _kept(max(lower, 0.0) if low >= 0 else lower, column_type), _kept(
        min(upper, 0.0) if high <= 0 else upper, column_type
    )


def friendly_length(longest: int) -> int:
    """Return a number of characters to allow: short codes as they are, longer texts with room."""
    wanted = longest if longest <= 6 else math.ceil(longest * (1 + MARGIN))
    at_least_one = max(wanted, 1)
    return next((n for n in _LENGTHS if n >= at_least_one), math.ceil(at_least_one / 1000) * 1000)


def _rounded(value: float, exponent: int, towards: Callable[[float], int]) -> float:
    return float(f"{towards(value / float(f'1e{exponent}'))}e{exponent}")


def _kept(bound: float, column_type: ColumnType) -> float | None:
    """Leave out a bound that the type itself keeps, and one that is none."""
    limit = {"int32": 2.0**31 - 1, "int64": 2.0**63 - 1, "float32": 3.4e38}.get(column_type)
    if not math.isfinite(bound) or (limit is not None and abs(bound) > limit):
        return None
    return bound
