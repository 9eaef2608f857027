"""Drift of several windows together, such as those of a month: a slow change no day shows.

One window is measured in `drift`, and gets its verdict there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batchinf_assets.evaluation.drift.distances import INDEPENDENT_ROWS, differences
from batchinf_assets.evaluation.drift.measure import Drift, judged
from batchinf_assets.evaluation.drift.sketches import Sketches, merged
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.pipeline import PipelineSpec


def pooled_drift(
    windows: Sequence[Sketches], profile: Profile, *, spec: PipelineSpec
) -> tuple[Drift, ...]:
    """Measure every feature and the score of several windows together against training.

    Verdicts are those of `measure_drift`, with what is usual, and how alike rows are, for so many
    windows: the more there are, the nearer to training they lie by chance. Where training is no
    declared reference, nothing is judged.

    Args:
        windows: At least one, all of the profile's bins.
        profile: The model's training reference.
        spec: Declares the references and the bounds.

    Returns:
        The subjects that every window has, in the profile's order.

    Raises:
        UsageError: There are no windows, or they have the bins of several profiles.
    """
    together = merged(windows).subjects
    shared = [name for name in profile.subjects if name in together]
    found = differences(
        {name: together[name].bin_counts for name in shared},
        {name: profile.subjects[name] for name in shared},
        profile.window_spreads or INDEPENDENT_ROWS,
        parts=_sum_of_squared_shares([each.rows for each in windows]),
    )
    drifts = tuple(judged("training", found.values(), spec))
    if "training" in spec.drift.references:
        return drifts
    return tuple(replace(each, verdict="not judged", q_value=None) for each in drifts)


def _sum_of_squared_shares(rows: Sequence[int]) -> float:
    total = sum(rows)
    return sum((own / total) ** 2 for own in rows) if total else 1.0
