"""From what was measured to the 95 % interval around it: Wilson, DeLong, resamples.

The variance for DeLong comes from `sql/binary.sql`, the resamples from `metrics.bootstrap`.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from batchinf_assets.evaluation.metrics.figures import Interval

CONFIDENCE = 0.95

Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""What a normal value exceeds in absolute size with probability 1 - `CONFIDENCE`: 1.96."""

Floats = npt.NDArray[np.float64]


def wilson_interval(share: float | None, trials: int) -> Interval | None:
    """Return the score interval of a proportion (Wilson 1927), inside 0 to 1 and around the share.

    With n trials and share s its ends are (s + z²/2n ± z sqrt(s(1 - s)/n + z²/4n²)) / (1 + z²/n).

    Args:
        share: Successes over trials; None without trials.
        trials: How many there were.
    """
    if share is None or trials == 0:
        return None
    square = Z * Z / trials
    centre = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return interval_around(share, centre - half, centre + half, highest=1.0)


def mean_interval(values: Floats) -> Interval | None:
    """Return the interval of a mean by Student's t; None with fewer than two values, (n,)."""
    from scipy.special import stdtrit  # takes a tenth of a second that loading definitions saves

    if len(values) < 2:
        return None
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * spread / math.sqrt(len(values))
    return Interval(low=mean - half, high=mean + half)


def auroc_interval(
    auroc: float | None, variance: float | None, *, positives: int, negatives: int
) -> Interval | None:
    """Return the interval of an AUROC: normal, with the variance of DeLong and others (1988).

    That variance is 0 where the scores part the classes without a mistake, and where all are tied,
    which says nothing of the next sample. The largest variance that an AUROC of A can have is
    A(1 - A) / min(positives, negatives) (Birnbaum and Klose 1957); the interval is then Wilson's
    with that number of trials. With a single positive or negative there is no variance and no
    interval.

    Args:
        auroc: The area; None with one class only.
        variance: Its variance; None with fewer than two rows of a class.
        positives: Rows whose label is true.
        negatives: Rows whose label is false.
    """
    if auroc is None or variance is None:
        return None
    if variance <= 0:
        return wilson_interval(auroc, min(positives, negatives))
    half = Z * math.sqrt(variance)
    return interval_around(auroc, auroc - half, auroc + half, highest=1.0)


def percentiles(drawn: Floats, confidence: float) -> tuple[float, float] | None:
    """Return the ends of the percentile interval (Efron and Tibshirani 1993, chapter 13).

    Quantiles are interpolated linearly. There is no interval where more resamples lack the figure
    than the interval leaves out at one end: those could have been the worst ones.

    Args:
        drawn: The figure of each resample, NaN where it is undefined, (resamples,).
        confidence: Such as 0.95.
    """
    tail = (1 - confidence) / 2
    defined = drawn[~np.isnan(drawn)]
    if not len(defined) or len(drawn) - len(defined) > tail * len(drawn):
        return None
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    value: float | None, drawn: Floats, *, lowest: float = 0.0, highest: float = math.inf
) -> Interval | None:
    """Return the percentile interval of resamples, stretched to hold the figure itself.

    Args:
        value: The figure; None where it is undefined.
        drawn: The figure of each resample, NaN where it is undefined, (resamples,).
        lowest: The smallest value that the figure can take.
        highest: The largest.
    """
    found = None if value is None else percentiles(drawn, CONFIDENCE)
    if value is None or found is None:
        return None
    return interval_around(value, *found, lowest=lowest, highest=highest)


def strayed_interval(
    value: float | None, strays: Floats, *, lowest: float = 0.0, highest: float = math.inf
) -> Interval | None:
    """Return the interval of a sum of distances, of which noise makes more: a calibration error.

    Its percentiles would all lie above the truth. By the triangle inequality such a sum is off by
    at most the distances between what was found and the truth, put together; how large these are,
    resamples tell by how far they stray from the sample. The interval reaches that far to each side
    in `CONFIDENCE` of them, so it holds the truth at least that often.

    Args:
        value: The sum; None where it is undefined.
        strays: The distances of each resample from the sample, put together, (resamples,).
        lowest: The smallest value that the sum can take.
        highest: The largest.
    """
    if value is None:
        return None
    reach = float(np.quantile(strays, CONFIDENCE))
    return interval_around(value, value - reach, value + reach, lowest=lowest, highest=highest)


def interval_around(
    value: float, low: float, high: float, *, lowest: float = 0.0, highest: float = math.inf
) -> Interval:
    """Return the ends kept inside the figure's range, with the figure between them."""
    return Interval(
        low=max(lowest, min(low, value)),
        high=min(highest, max(high, value)),
    )
