"""How far the next window may lie by chance, beyond what nine of ten windows tell.

A far tail is not seen in a few dozen windows, so it is taken from a distribution and tied to their
0.9 quantile. Who learns it from windows is `between_windows`.
"""

from __future__ import annotations

import numpy as np

NINE_OF_TEN = 0.9
"""What a tenth of the windows do is not looked at: storms must not hide what comes after them."""


def far_statistic(
    high: float, *, degrees: float, per_unit: float, windows: int, chance: float
) -> float:
    """Return the statistic that one more window exceeds by chance only so often.

    Where windows differ, few directions have most of the variance, and the tail of Pearson's
    statistic is longer than that of a distribution which fits its middle: it is taken to have a
    quarter of the degrees of freedom, at least one. Rows of a normal column moved by d standard
    deviations have a mean square contingency of exp(d²) - 1, so it is its logarithm that grows with
    the square of what moved. That square is extrapolated by an F distribution, from the quantile
    that storms do not reach. The quantile 0.9 of W windows tells its scale as well as the variance
    of 0.64 W would: F has half as many degrees of freedom below as there are windows.

    Args:
        high: The 0.9 quantile of the windows' statistics, each divided by its degrees of freedom.
        degrees: Degrees of freedom of the scaled chi-squared distribution that fits their middle.
        per_unit: Mean square contingency of a window for each unit of its statistic.
        windows: How many they are, W.
        chance: How often one more window like them may exceed the result, below 0.1.
    """
    if high <= 0:
        return 0.0
    from scipy.special import fdtri, gammaincinv  # takes a third of a second to import

    own = max(1.0, degrees / 4)
    ratio = fdtri(own, windows / 2, 1 - chance) / (2 * gammaincinv(own / 2, NINE_OF_TEN) / own)
    return float(np.expm1(np.log1p(high * per_unit) * ratio) / per_unit)
