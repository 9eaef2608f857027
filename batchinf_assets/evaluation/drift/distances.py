"""How far two distributions over the same frozen bins lie apart, from their counts alone.

How sure that is, comes from `significance`; what it means for a pipeline, is judged in `drift`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa

from batchinf_assets.evaluation.drift.significance import (
    Clustering,
    Homogeneity,
    is_rare,
    p_value,
    pools,
)
from batchinf_assets.evaluation.statements import statement
from batchinf_assets.lake.query import query_records
from batchinf_assets.registry.bins import Binned, NumericBins
from batchinf_assets.registry.window_spread import WindowSpread

DISTANCES_SQL = statement("distances.sql")
HOMOGENEITY_SQL = statement("homogeneity.sql")

PROPORTION_FLOOR = 1e-4
"""Smallest proportion in the stability index: an empty bin would make it infinite."""

INDEPENDENT_ROWS: Mapping[str, WindowSpread] = MappingProxyType({})

BINS = pa.schema(
    [
        ("subject", pa.string()),
        ("bin", pa.int32()),
        ("value", pa.bool_()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("deviation", pa.float64()),
        ("pool", pa.int32()),
        ("rare", pa.bool_()),
        ("reference_rows", pa.int64()),
        ("window_rows", pa.int64()),
    ]
)
"""What the SQL sees of two distributions, one row per bin."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How a subject's rows differ from a reference; None is undefined.

    Every measure but `missing` needs rows on both sides, the two about numbers need numbers on
    both. Formulas are in `differences`.

    Attributes:
        subject: A feature, or the score's column.
        rows: The window's rows.
        reference_rows: The reference's rows.
        psi: Population stability index, at least 0.
        jensen_shannon: Jensen-Shannon distance to the base 2, from 0 to 1.
        kolmogorov_smirnov: Largest difference of cumulative shares, from 0 to 1; of numbers.
        wasserstein: First Wasserstein distance in standard deviations of the training values; of
            numbers whose profile has their ends and deviation.
        homogeneity: What it is tested by.
        spread: How the reference's windows differ; None where rows are taken as independent.
        design_effect: How many times more rows of windows differ than independent ones would; None
            where rows are taken as independent.
        p_value: How likely chance alone gives such a difference.
        missing: The window's share of rows without a value.
        unseen: The window's share of categories that training does not name, as far as it is more
            than the reference's.
        parts: Sum of the squares of the windows' shares of the rows; 1 for one window.
    """

    subject: str
    rows: int
    reference_rows: int
    psi: float | None = None
    jensen_shannon: float | None = None
    kolmogorov_smirnov: float | None = None
    wasserstein: float | None = None
    homogeneity: Homogeneity | None = None
    spread: WindowSpread | None = None
    design_effect: float | None = None
    p_value: float | None = None
    missing: float | None = None
    unseen: float | None = None
    parts: float = 1.0

    @property
    def chi_squared(self) -> float | None:
        """Pearson's statistic of homogeneity, rare bins pooled."""
        return self.homogeneity.chi_squared if self.homogeneity else None

    @property
    def usual_p_value(self) -> float | None:
        """The p-value below which chance seldom brings one of its windows, if known."""
        return self.spread.usual_p_value if self.spread else None

    @property
    def usual_psi(self) -> float | None:
        """The stability index that nine of ten of the reference's own windows keep, if known."""
        return self.spread.usual_psi_of(self.parts) if self.spread else None

    @property
    def usual_wasserstein(self) -> float | None:
        """The Wasserstein distance that nine of ten of its windows keep, if known."""
        return self.spread.usual_wasserstein_of(self.parts) if self.spread else None


def differences(
    observed: Mapping[str, Sequence[int]],
    references: Mapping[str, Binned],
    spreads: Mapping[str, WindowSpread] = INDEPENDENT_ROWS,
    *,
    parts: float = 1.0,
) -> dict[str, Difference]:
    """Measure how far each subject lies from its reference.

    With p the observed share of a bin and q the reference's:

    - The population stability index is the sum of (p - q) ln(p / q), each share at least 1e-4
      (Siddiqi 2006, Credit Risk Scorecards). Missing is a bin, and so are all categories that
      training does not name; in the next two too.
    - The Jensen-Shannon distance is the square root of half the sum of p log2(p / m) and
      q log2(q / m), with m = (p + q) / 2 (Endres and Schindelin 2003).
    - chi-squared compares the rows with those expected if both sides were samples of one
      population; see `significance.p_value` for rare bins, and for rows of windows.
    - Kolmogorov-Smirnov looks at the edges only: the distance of the numbers themselves may be
      larger inside a bin.
    - Wasserstein takes values as spread evenly inside their bin, and the outermost bins as ending
      at the smallest and largest training value: what lies beyond counts as if inside, so the
      distance of far outliers is larger than it says. Of a number with few distinct values it may
      fall short by half.

    Args:
        observed: Rows by bin number, as `Profile.observe` counts them.
        references: Bins with the reference's rows in them, for the same subjects.
        spreads: How the reference's windows differ, of the subjects for which that is known.
        parts: Sum of the squares of the windows' shares of the observed rows; 1 for one window.

    Raises:
        ValueError: A subject's counts do not fit its bins.
    """
    bins = _table(observed, references)
    distances = _by_subject(bins, DISTANCES_SQL, floor=PROPORTION_FLOOR)
    tests = {name: Homogeneity(**row) for name, row in _by_subject(bins, HOMOGENEITY_SQL).items()}
    return {
        name: Difference(
            subject=name,
            rows=(rows := sum(observed[name])),
            reference_rows=(reference_rows := sum(reference.bin_counts)),
            **distances.get(name, {}),
            **_tested(tests.get(name), spreads.get(name), rows, reference_rows, parts),
            missing=_share(observed[name], -1),
            unseen=_unseen(observed[name], reference),
            parts=parts,
        )
        for name, reference in references.items()
    }


def population_stability(
    observed: Mapping[str, Sequence[int]], references: Mapping[str, Binned]
) -> dict[str, float | None]:
    """Return the stability index of each subject alone; arguments and formula of `differences`.

    Raises:
        ValueError: A subject's counts do not fit its bins.
    """
    return {name: each.psi for name, each in differences(observed, references).items()}


def _tested(
    test: Homogeneity | None,
    spread: WindowSpread | None,
    rows: int,
    reference_rows: int,
    parts: float,
) -> dict[str, Any]:
    if test is None:
        return {"spread": spread}
    effect = spread.design_effect(rows, reference_rows, parts) if spread else None
    clustering = (
        Clustering(design_effect=effect, degrees=spread.degrees, windows=spread.windows)
        if spread and effect
        else None
    )
    return {
        "homogeneity": test,
        "spread": spread,
        "design_effect": effect,
        "p_value": p_value(test, clustering),
    }


def _share(counts: Sequence[int], place: int) -> float | None:
    total = sum(counts)
    return counts[place] / total if total else None


def _unseen(window: Sequence[int], reference: Binned) -> float | None:
    if isinstance(reference, NumericBins):
        return None
    now, then = _share(window, -2), _share(reference.bin_counts, -2)
    return None if now is None or then is None else max(0.0, now - then)


def _by_subject(bins: pa.Table, sql: str, **parameters: object) -> dict[str, dict[str, Any]]:
    rows = query_records(sql, {"bins": bins}, parameters or None)
    return {row.pop("subject"): row for row in rows}


def _table(observed: Mapping[str, Sequence[int]], references: Mapping[str, Binned]) -> pa.Table:
    rows = [row for name, each in references.items() for row in _bins(name, each, observed[name])]
    columns = zip(*rows, strict=True) if rows else [()] * len(BINS)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, BINS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=BINS)


class _Bin(NamedTuple):
    """A row of `BINS`."""

    subject: str
    bin: int
    value: bool
    low: float | None
    high: float | None
    deviation: float | None
    pool: int
    rare: bool
    reference_rows: int
    window_rows: int


def _bins(subject: str, reference: Binned, window: Sequence[int]) -> Iterator[_Bin]:
    held_against = reference.bin_counts
    if len(window) != len(held_against):
        raise ValueError(f"'{subject}' has {len(held_against)} bins, {len(window)} were counted")
    totals = [a + b for a, b in zip(held_against, window, strict=True)]
    smaller = min(sum(held_against), sum(window)) / (sum(totals) or 1)
    number = isinstance(reference, NumericBins)
    ends = _ends(reference) if number else []
    for place, pool in enumerate(pools(totals, smaller)):
        low, high = ends[place] if place < len(ends) else (None, None)
        yield _Bin(
            subject=subject,
            bin=place,
            value=place < len(ends),
            low=low,
            high=high,
            deviation=reference.deviation if number else None,
            pool=pool,
            rare=is_rare(totals[place], smaller),
            reference_rows=held_against[place],
            window_rows=window[place],
        )


def _ends(bins: NumericBins) -> list[tuple[float | None, float | None]]:
    return list(pairwise((bins.low, *bins.edges, bins.high)))
