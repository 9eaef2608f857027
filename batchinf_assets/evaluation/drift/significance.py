"""Whether a difference between two samples is more than chance: tests, and many tests at once.

The counts come from `distances`, how alike the rows of a window are from `between_windows`; what is
far enough to matter is judged in `drift`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEAST_EXPECTED = 10.0
"""Rows that a bin must be expected to hold on either side. Twice the usual five (Cochran 1954, Some
Methods for Strengthening the Common Chi-Squared Tests): among many columns the far tail decides. Of
unchanged windows of 50 rows in 20 columns, 4 to 6 % were called drifted with five, 2 to 4 % with
ten."""


@dataclass(frozen=True, kw_only=True)
class Homogeneity:
    """Two samples over the same bins, summed up for a test.

    Attributes:
        chi_squared: Pearson's statistic of the pooled bins.
        degrees: Its degrees of freedom, pools - 1.
        window_share: The window's part of all rows of both samples.
        rare_rows: Rows of both samples in bins that are too rare for that test.
        rare_window_rows: Those of the window.
    """

    chi_squared: float
    degrees: int
    window_share: float
    rare_rows: int
    rare_window_rows: int


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How the rows of windows hang together, as far as a test must know it.

    Attributes:
        design_effect: How many times more the samples differ than independent rows would.
        degrees: Degrees of freedom of the scaled chi-squared statistic of a window; None where it
            is not known to have fewer than the pools.
        windows: How many windows told it.
    """

    design_effect: float
    degrees: float | None
    windows: int


def is_rare(total: int, smaller_share: float) -> bool:
    """Say whether a bin has rows, but fewer than the chi-squared test needs."""
    return 0 < total * smaller_share < LEAST_EXPECTED


def pools(totals: Sequence[int], smaller_share: float) -> list[int]:
    """Put neighbouring bins together until each pool is expected to hold enough rows.

    It looks only at the rows of both samples together, so it does not favour either outcome.

    Args:
        totals: Rows of both samples by bin.
        smaller_share: The smaller sample's part of all rows.

    Returns:
        The number of the pool that each bin belongs to, ascending from 0.
    """
    numbers: list[int] = []
    pool, expected = 0, 0.0
    for total in totals:
        numbers.append(pool)
        expected += total * smaller_share
        if expected >= LEAST_EXPECTED:
            pool, expected = pool + 1, 0.0
    last = max(pool - 1, 0)  # what is left over joins the last pool that is full
    return [min(number, last) for number in numbers]


def p_value(test: Homogeneity, clustering: Clustering | None = None) -> float:
    """Return how likely two samples of one population differ at least as much.

    Independent rows have a chi-squared statistic. That of clustered rows is divided by the design
    effect and held against an F distribution: its degrees of freedom are those of the scaled
    chi-squared distribution that fits, at most pools - 1, and the windows - 1 (Rao and Scott 1984,
    On Chi-squared Tests for Multiway Contingency Tables with Cell Proportions Estimated from Survey
    Data, with Satterthwaite's correction; Thomas and Rao 1987 for F).

    The chi-squared test of homogeneity sees nothing of a bin that is rare in training and full in
    the window: it was pooled with its neighbours. So the rows of all rare bins are tested too, by
    the binomial distribution that they have if each falls to a sample by its size (Przyborowski and
    Wilenski 1940); where there are such rows, the smaller of the two p-values counts twice
    (Bonferroni). Of clustered rows both counts are divided by the design effect (Rao and Scott
    1992, A Simple Method for the Analysis of Clustered Binary Data).

    Args:
        test: The samples.
        clustering: How their rows hang together; without it they are taken as independent.
    """
    pooled = _pooled(test, clustering) if test.degrees else 1.0
    if not test.rare_rows:
        return pooled
    effect = clustering.design_effect if clustering else 1.0
    rare = _binomial(test.rare_window_rows / effect, test.rare_rows / effect, test.window_share)
    return min(1.0, 2 * min(pooled, rare))


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return the least false discovery rate at which each test would be a discovery.

    (Benjamini and Hochberg 1995, Controlling the False Discovery Rate.)

    Args:
        p_values: By test; those of one family.

    Returns:
        q-values by test, in the order given; each at least its p-value and at most 1.
    """
    ascending = sorted(p_values, key=lambda name: p_values[name])
    least, adjusted = 1.0, dict.fromkeys(p_values, 1.0)
    for rank in range(len(ascending), 0, -1):
        name = ascending[rank - 1]
        least = min(least, p_values[name] * len(ascending) / rank)
        adjusted[name] = least
    return adjusted


def _pooled(test: Homogeneity, clustering: Clustering | None) -> float:
    from scipy.special import chdtrc, fdtrc  # takes a third of a second to import

    if clustering is None:
        return float(chdtrc(test.degrees, test.chi_squared))
    degrees = min(test.degrees, clustering.degrees or test.degrees)
    ratio = test.chi_squared / test.degrees / clustering.design_effect
    return float(fdtrc(degrees, clustering.windows - 1, ratio))


def _binomial(count: float, trials: float, share: float) -> float:
    """Return twice the smaller tail of a binomial distribution, at most 1."""
    from scipy.special import betainc, betaincc

    at_least = float(betainc(count, trials - count + 1, share)) if count else 1.0
    at_most = float(betaincc(count + 1, trials - count, share)) if count < trials else 1.0
    return min(1.0, 2 * min(at_least, at_most))
