"""How far the windows of a reference differ from each other: what the next one is held against.

Learned from training's windows when a model is registered (`training.reference`), and from earlier
windows where these are the reference (`references`). What is kept is `registry.window_spread`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batchinf_assets.evaluation.distances import Difference, differences
from batchinf_assets.evaluation.significance import Clustering, p_value
from batchinf_assets.registry.bins import Binned
from batchinf_assets.registry.window_spread import WindowSpread, clustering_gain

LEAST_WINDOWS = 19
"""Fewer do not tell what 19 of 20 keep: one more window like 19 others is the farthest of the 20 in
1 of 20 cases."""

MEASURED_AT_ONCE = 2_000
"""Pairs of a window and a subject in one query, which bounds the memory."""

MIDDLE, HIGH = 0.5, 0.9
"""The quantiles that a scaled chi-squared distribution is fitted by."""

POSSIBLE_DEGREES = np.geomspace(0.5, 1_000.0, 400)

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A scaled chi-squared distribution, or one per window: its degrees and its design effect."""

    degrees: Floats
    design_effect: Floats


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """What windows say of one subject; each has a p-value, and a place in the lists."""

    correlation: float
    degrees: float | None
    p_values: list[float]
    found: list[Difference]


def window_spreads(
    windows: Sequence[Mapping[str, Sequence[int]]],
    bins: Mapping[str, Binned],
    *,
    judged: Collection[str],
) -> dict[str, WindowSpread]:
    """Learn how far windows differ, each held against all others.

    - What is usual is an order statistic: beyond the k-th smallest of W distances, with
      k = ⌈0.95 (W + 1)⌉, one more window like these lies in at most 1 of 20 cases, whatever their
      distribution (Wilks 1941, Determination of Sample Sizes for Setting Tolerance Limits). So does
      the smallest of its p-values over all judged subjects: many columns together stay at 1 of 20.
    - For the p-values the statistics, chi-squared divided by its degrees of freedom, are taken as
      scaled chi-squared (Satterthwaite 1946). Its degrees are those where the ratio of the 0.9
      quantile to the median is theirs; its scale is the mean design effect, from which the
      intraclass correlation follows (`WindowSpread.design_effect`). Quantiles and not moments,
      because two days of storm must not hide every later shift. A window's own p-value comes from
      the fit to the others.

    Args:
        windows: The rows of each window by bin number of each subject.
        bins: Bins of these subjects; the rows in them are not looked at.
        judged: The subjects that get a verdict together; each other one is taken by itself.

    Returns:
        By subject; nothing if fewer than `LEAST_WINDOWS` have rows.
    """
    filled = [each for each in windows if any(sum(each[name]) for name in bins)]
    if len(filled) < LEAST_WINDOWS:
        return {}
    counted = {name: np.array([each[name] for each in filled], dtype=np.int64) for name in bins}
    rows = np.max([counts.sum(axis=1) for counts in counted.values()], axis=0)
    found = _against_the_others(counted, bins)
    learned = {name: _learned(rows, each) for name, each in found.items()}
    together = _smallest(learned[name].p_values for name in bins if name in judged)
    return {
        name: _spread(rows, each, together if name in judged else each.p_values)
        for name, each in learned.items()
    }


def _against_the_others(
    counted: Mapping[str, Counts], bins: Mapping[str, Binned]
) -> dict[str, list[Difference]]:
    """Measure each window against the rows of all others."""
    totals = {name: counts.sum(axis=0) for name, counts in counted.items()}
    pairs = [(name, own) for name, counts in counted.items() for own in counts]
    found: dict[str, list[Difference]] = {name: [] for name in counted}
    for start in range(0, len(pairs), MEASURED_AT_ONCE):
        some = {str(place): pair for place, pair in enumerate(pairs[start:][:MEASURED_AT_ONCE])}
        measured = differences(
            {place: own.tolist() for place, (_, own) in some.items()},
            {
                place: bins[name].with_counts((totals[name] - own).tolist())
                for place, (name, own) in some.items()
            },
        )
        for place, (name, _) in some.items():
            found[name].append(measured[place])
    return found


def _learned(rows: Counts, found: list[Difference]) -> _Learned:
    gains = _gains(rows)
    tested = np.array([bool(each.homogeneity and each.homogeneity.degrees) for each in found])
    if np.count_nonzero(tested) < LEAST_WINDOWS:
        alone = [each.p_value if each.p_value is not None else 1.0 for each in found]
        return _Learned(correlation=0.0, degrees=None, p_values=alone, found=found)
    statistics = np.array(list(_statistics(found)))
    gain = float(np.median(gains[tested]))
    whole = _fit(np.quantile(statistics, MIDDLE), np.quantile(statistics, HIGH))
    others = _fit(
        quantiles_of_the_others(statistics, MIDDLE), quantiles_of_the_others(statistics, HIGH)
    )
    degrees = np.full(len(rows), float(whole.degrees))
    correlations = np.full(len(rows), _correlation(whole, gain))
    degrees[tested], correlations[tested] = others.degrees, _correlation(others, gain)
    effects = np.maximum(1.0, 1 + correlations * gains)
    return _Learned(
        correlation=float(_correlation(whole, gain)),
        degrees=float(whole.degrees),
        p_values=list(_p_values(found, effects, degrees)),
        found=found,
    )


def _statistics(found: Iterable[Difference]) -> Iterator[float]:
    for each in found:
        if each.homogeneity and each.homogeneity.degrees:
            yield each.homogeneity.chi_squared / each.homogeneity.degrees


def _fit(middle: Floats, high: Floats) -> _Fit:
    ratio = np.divide(high, middle, out=np.full_like(high, np.inf), where=middle > 0)
    ratios = _chi_squared(POSSIBLE_DEGREES, HIGH) / _chi_squared(POSSIBLE_DEGREES, MIDDLE)
    degrees = np.interp(-ratio, -ratios, POSSIBLE_DEGREES)  # the ratio falls as degrees rise
    return _Fit(degrees=degrees, design_effect=high * degrees / _chi_squared(degrees, HIGH))


def _correlation(fit: _Fit, gain: float) -> Floats:
    return np.clip((fit.design_effect - 1) / gain, 0, 1)


def _chi_squared(degrees: Floats, share: float) -> Floats:
    """Return the quantile of a chi-squared distribution."""
    from scipy.special import gammaincinv  # takes a third of a second to import

    return 2 * gammaincinv(degrees / 2, share)


def quantiles_of_the_others(values: Floats, share: float) -> Floats:
    """Return for each value the quantile of all others, by linear interpolation."""
    ordered = np.sort(values)
    place = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    low, part = divmod((len(values) - 2) * share, 1)
    at = int(low) + np.array([[0], [1]])
    below, above = ordered[np.minimum(at + (at >= place), len(values) - 1)]
    return below + (above - below) * part


def _p_values(found: Iterable[Difference], effects: Floats, degrees: Floats) -> Iterator[float]:
    for each, effect, own in zip(found, effects.tolist(), degrees.tolist(), strict=True):
        clustering = Clustering(design_effect=effect, degrees=own, windows=len(effects))
        yield p_value(each.homogeneity, clustering) if each.homogeneity else 1.0


def _gains(rows: Counts) -> Floats:
    """Return how much each window's design effect against the others rises with correlation."""
    total, squares = int(rows.sum()), int(rows @ rows)
    return np.array(
        [
            clustering_gain(own, total - own, (squares - own * own) / (total - own) ** 2)
            for own in rows.tolist()
        ]
    )


def _smallest(p_values: Iterable[Sequence[float]]) -> list[float]:
    """Return the smallest p-value of each window."""
    return [min(each) for each in zip(*p_values, strict=True)]


def _spread(rows: Counts, learned: _Learned, p_values: Sequence[float]) -> WindowSpread:
    shares = rows / rows.sum()
    psi = usual(each.psi for each in learned.found)
    return WindowSpread(
        windows=len(rows),
        concentration=_rounded(float(shares @ shares)),
        correlation=_rounded(learned.correlation),
        degrees=None if learned.degrees is None else _rounded(learned.degrees),
        usual_p_value=_rounded(-(usual(-each for each in p_values) or 0.0)),
        usual_psi=_rounded(psi or 0.0),
        usual_wasserstein=_maybe_rounded(usual(each.wasserstein for each in learned.found)),
    )


def usual(distances: Iterable[float | None]) -> float | None:
    """Return the distance that 19 of 20 windows keep, None of fewer than `LEAST_WINDOWS`."""
    known = sorted(each for each in distances if each is not None)
    if len(known) < LEAST_WINDOWS:
        return None
    return known[-(-19 * (len(known) + 1) // 20) - 1]


def _maybe_rounded(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    """Drop what another processor or library might compute otherwise: models are told by digest."""
    return float(f"{value:.6g}")
