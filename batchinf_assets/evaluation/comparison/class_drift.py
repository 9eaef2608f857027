"""How far the distributions of each class's probability lie apart, between two sides.

A model's profile has bins of the largest probability alone, and that stays where two classes change
places. So the bins are those that the one side's own probabilities give.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from batchinf_assets.evaluation.drift.distances import Difference, differences
from batchinf_assets.registry.profile import Profile, numeric_bins
from batchinf_assets.scoring.observed import observe
from batchinf_assets.scoring.said import Scores
from batchinf_assets.spec.prediction import PredictionSpec


def class_differences(a: Scores, b: Scores, prediction: PredictionSpec) -> tuple[Difference, ...]:
    """Hold the probabilities of each class in b against those in a.

    Both sides are mostly the same rows, so what the measures say of chance does not hold; the
    Wasserstein distance is in standard deviations of a.

    Args:
        a: Scores of the one side, (rows, classes) in the order in which classes are declared.
        b: Those of the other.
        prediction: Names the columns of the classes.

    Returns:
        One per class; none of one score, and without rows.
    """
    if not prediction.classes or not len(a):
        return ()
    columns = dict(enumerate(prediction.given))
    bins = {name: numeric_bins(pa.array(a[:, place])) for place, name in columns.items()}
    said = {name: pa.array(b[:, place]) for place, name in columns.items()}
    counted = observe(Profile(rows=len(a), subjects=bins), said)
    found = differences({name: each.tolist() for name, each in counted.items()}, bins)
    return furthest_first(found.values())


def furthest_first(found: Iterable[Difference]) -> tuple[Difference, ...]:
    """Return the subject that moved furthest first."""
    return tuple(sorted(found, key=lambda each: -(each.psi or 0)))
