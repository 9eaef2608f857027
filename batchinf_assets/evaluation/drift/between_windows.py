"""How far the windows of a reference differ from each other: what the next one is held against.

Learned from training's windows when a model is registered (`training.reference`), and from earlier
windows where these are the reference (`references`). What is kept is `registry.window_spread`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from batchinf_assets.evaluation.drift.distances import Difference, differences
from batchinf_assets.evaluation.drift.far_tail import NINE_OF_TEN, far_statistic
from batchinf_assets.evaluation.drift.significance import Clustering, Homogeneity, p_value
from batchinf_assets.registry.bins import Binned
from batchinf_assets.registry.window_spread import WindowSpread, clustering_gain

LEAST_WINDOWS = 19
"""Fewer do not tell what nine of ten keep, with one of them a storm."""

FALSE_ALARMS = 0.05
"""Share of windows like these that may be called drifted, over all columns judged together."""

MEASURED_AT_ONCE = 2_000
"""Pairs of a window and a subject in one query, which bounds the memory."""

MIDDLE = 0.5
"""With `NINE_OF_TEN`, the quantiles that a scaled chi-squared distribution is fitted by."""

POSSIBLE_DEGREES = np.geomspace(0.5, 1_000.0, 400)

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A scaled chi-squared distribution: its degrees of freedom and its design effect, the mean."""

    degrees: float
    design_effect: float


@dataclass(frozen=True, kw_only=True)
class _Learned:
    """What windows say of one subject; `least_likely` is the p-value that the next one keeps."""

    correlation: float
    degrees: float | None
    least_likely: float
    found: list[Difference]


def window_spreads(
    windows: Sequence[Mapping[str, Sequence[int]]],
    bins: Mapping[str, Binned],
    *,
    judged: Collection[str],
) -> dict[str, WindowSpread]:
    """Learn how far windows differ, each held against all others.

    Each subject is learned from its own counts, and by quantiles that a storm in a tenth of the
    windows does not reach.

    - What is usual is the distance that nine of ten windows keep.
    - For the p-values the statistics, chi-squared divided by its degrees of freedom, are taken as
      scaled chi-squared (Satterthwaite 1946). Its degrees are those where the ratio of the 0.9
      quantile to the median is theirs; its scale is the mean design effect, from which the
      intraclass correlation follows (`WindowSpread.design_effect`).
    - How small a p-value has to be is said by the far tail, where that fit is too thin; see
      `far_tail`. It is held at `FALSE_ALARMS` divided by the subjects that are judged
      together (Bonferroni).

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
    together = sum(name in judged for name in bins)
    chance = {name: FALSE_ALARMS / (together if name in judged else 1) for name in bins}
    return {name: _spread(rows, _learned(rows, each, chance[name])) for name, each in found.items()}


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


def _learned(rows: Counts, found: list[Difference], chance: float) -> _Learned:
    """Learn one subject; `chance` is how often it may alarm where nothing changed."""
    tested = np.array([bool(each.homogeneity and each.homogeneity.degrees) for each in found])
    if np.count_nonzero(tested) < LEAST_WINDOWS:
        least = min(chance, _kept_by_most(each.p_value for each in found))
        return _Learned(correlation=0.0, degrees=None, least_likely=least, found=found)
    tests = [each.homogeneity for each in found if each.homogeneity and each.homogeneity.degrees]
    middle, high = np.quantile(
        [each.chi_squared / each.degrees for each in tests], [MIDDLE, NINE_OF_TEN]
    ).tolist()
    fit, gains = _fit(middle, high), _gains(rows)[tested]
    correlation = min(1.0, max(0.0, (fit.design_effect - 1) / float(np.median(gains))))
    degrees = int(np.median([each.degrees for each in tests]))
    per_unit = degrees * float(np.median((1 / rows + 1 / (rows.sum() - rows))[tested]))
    far = far_statistic(high, per_unit=per_unit, windows=len(tests), chance=chance)
    fitted = partial(_p_value, correlation=correlation, degrees=fit.degrees, windows=len(found))
    own = [fitted(each, gain=gain) for each, gain in zip(tests, gains.tolist(), strict=True)]
    least = fitted(_test_of(far, degrees), gain=float(np.median(gains)))
    return _Learned(
        correlation=correlation,
        degrees=fit.degrees,
        least_likely=min(least, _kept_by_most(own)),
        found=found,
    )


def _fit(middle: float, high: float) -> _Fit:
    ratios = _chi_squared(POSSIBLE_DEGREES, NINE_OF_TEN) / _chi_squared(POSSIBLE_DEGREES, MIDDLE)
    ratio = high / middle if middle > 0 else np.inf
    degrees = float(np.interp(-ratio, -ratios, POSSIBLE_DEGREES))  # it falls as degrees rise
    effect = high * degrees / _chi_squared(np.array([degrees]), NINE_OF_TEN).item()
    return _Fit(degrees=degrees, design_effect=effect)


def _chi_squared(degrees: Floats, share: float) -> Floats:
    """Return the quantile of a chi-squared distribution."""
    from scipy.special import gammaincinv  # takes a third of a second to import

    return 2 * gammaincinv(degrees / 2, share)


def _p_value(
    test: Homogeneity, *, gain: float, correlation: float, degrees: float, windows: int
) -> float:
    effect = max(1.0, 1 + correlation * gain)
    return p_value(test, Clustering(design_effect=effect, degrees=degrees, windows=windows))


def _test_of(statistic: float, degrees: int) -> Homogeneity:
    """Return a test that has this statistic, and no rows in rare bins."""
    return Homogeneity(
        chi_squared=statistic * degrees,
        degrees=degrees,
        window_share=0.5,
        rare_rows=0,
        rare_window_rows=0,
    )


def _kept_by_most(p_values: Iterable[float | None]) -> float:
    """Return the p-value that nine of ten windows keep; of one without a test, 1."""
    return -(usual(-1.0 if each is None else -each for each in p_values) or 0.0)


def _gains(rows: Counts) -> Floats:
    """Return how much each window's design effect against the others rises with correlation."""
    total, squares = int(rows.sum()), int(rows @ rows)
    return np.array(
        [
            clustering_gain(own, total - own, (squares - own * own) / (total - own) ** 2)
            for own in rows.tolist()
        ]
    )


def _spread(rows: Counts, learned: _Learned) -> WindowSpread:
    shares = rows / rows.sum()
    psi = usual(each.psi for each in learned.found)
    return WindowSpread(
        windows=len(rows),
        concentration=_rounded(float(shares @ shares)),
        correlation=_rounded(learned.correlation),
        degrees=None if learned.degrees is None else _rounded(learned.degrees),
        usual_p_value=_rounded(learned.least_likely),
        usual_psi=_rounded(psi or 0.0),
        usual_wasserstein=_maybe_rounded(usual(each.wasserstein for each in learned.found)),
    )


def usual(distances: Iterable[float | None]) -> float | None:
    """Return the distance that nine of ten windows keep, None of fewer than `LEAST_WINDOWS`."""
    known = sorted(each for each in distances if each is not None)
    if len(known) < LEAST_WINDOWS:
        return None
    return known[-(-9 * len(known) // 10) - 1]


def _maybe_rounded(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _rounded(value: float) -> float:
    """Drop what another processor or library might compute otherwise: models are told by digest."""
    return float(f"{value:.6g}")
