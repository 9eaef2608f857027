"""How far the next window may lie by chance, beyond what nine of ten windows tell.

A far tail is not seen in a few dozen windows, so it is taken from a distribution and tied to their
0.9 quantile. Who learns it from windows is `between_windows`.
"""

from __future__ import annotations

import numpy as np

NINE_OF_TEN = 0.9
"""What a tenth of the windows do is not looked at: storms must not hide what comes after them."""


def far_statistic(high: float, *, per_unit: float, windows: int, chance: float) -> float:
    """Return the statistic that one more window exceeds by chance only so often.

    Pearson's statistic of many bins has no tail of many degrees where windows differ: one direction
    has most of their variance. Rows of a normal column moved by d standard deviations have a mean
    square contingency of exp(d²) - 1, so it is its logarithm that grows with the square of what
    moved. That square is extrapolated as the square of Student's t, from the quantile that storms
    do not reach. The quantile 0.9 of W windows tells its scale as well as the variance of 0.64 W
    would: t has half as many degrees of freedom as there are windows.

    Args:
        high: The 0.9 quantile of the windows' statistics.
        per_unit: Mean square contingency of a window for each unit of its statistic.
        windows: How many they are, W.
        chance: How often one more window like them may exceed the result, below 0.1.
    """
    if high <= 0:
        return 0.0
    from scipy.special import fdtri, gammaincinv  # takes a third of a second to import

    ratio = fdtri(1, windows / 2, 1 - chance) / (2 * gammaincinv(0.5, NINE_OF_TEN))
    return float(np.expm1(np.log1p(high * per_unit) * ratio) / per_unit)
