"""Drift: how far a window's features and scores moved, and what the pipeline makes of it.

The bins and the training rows come from `registry.profile`, earlier windows from `references`, the
measures from `distances` and `significance`, what is usual between windows from `between_windows`.
The check that tells it is in `drift_check`; what a label says about the scores is in `golden` and
`performance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from batchinf_assets.errors import ModelRefused, Refusal
from batchinf_assets.evaluation.drift.distances import Difference, differences
from batchinf_assets.evaluation.drift.significance import benjamini_hochberg
from batchinf_assets.evaluation.drift.sketches import Sketches
from batchinf_assets.registry.bins import Binned, CategoryCounts, NumericBins
from batchinf_assets.registry.profile import Profile
from batchinf_assets.registry.window_spread import WindowSpread
from batchinf_assets.spec.contract import NUMERIC
from batchinf_assets.spec.evaluation import DriftReference, DriftSpec
from batchinf_assets.spec.pipeline import PipelineSpec

Verdict = Literal[
    "stable", "moderate", "major", "insufficient data", "too few windows", "not judged"
]

WORST_FIRST: tuple[Verdict, ...] = (
    "major",
    "moderate",
    "stable",
    "insufficient data",
    "too few windows",
    "not judged",
)
"""Of the subjects of one reference: a thin column hides no verdict on the others."""

WORST_REFERENCE_FIRST: tuple[Verdict, ...] = (
    "major",
    "moderate",
    "insufficient data",
    "too few windows",
    "stable",
    "not judged",
)
"""Of several references: what one of them could not say is not said by another."""


@dataclass(frozen=True, kw_only=True)
class Drift(Difference):
    """How far one subject moved from one reference.

    Attributes:
        reference: What it is held against.
        q_value: The least false discovery rate at which it is a discovery among the judged subjects
            of this reference; None where it is not judged.
        verdict: What the measures mean under the pipeline's bounds.
    """

    reference: DriftReference
    verdict: Verdict
    q_value: float | None = None


def measure_drift(
    observed: Mapping[str, Sequence[int]],
    rows: int,
    profile: Profile,
    *,
    spec: PipelineSpec,
    previous: Sketches | None = None,
    season: Sketches | None = None,
) -> tuple[Drift, ...]:
    """Measure every feature, then the score, against each declared reference.

    A subject is `moderate` or `major` only if it moved far enough (its stability index or its
    Wasserstein distance reaches the bound) and surely enough (its q-value is at most the declared
    rate of false alarms), both on enough rows. It must also lie farther than nine of ten of the
    reference's own windows, and its p-value below the bound that these set for it alone. Of a
    reference whose windows are not known, rows are taken as independent. A declared reference that
    is not there gives `insufficient data`; a season of fewer windows than declared measures without
    judging, as `too few windows`.

    Args:
        observed: The window's rows by bin number of each feature and of the score, as
            `Profile.observe` counts them.
        rows: The window's rows; each subject's counts add up to it.
        profile: The model's training reference.
        spec: Declares the features, the references and the bounds.
        previous: The windows right before, by the bins of the same profile.
        season: Earlier windows of the same weekday or month, likewise.

    Raises:
        ModelRefused: The profile lacks a feature or the score, or knows it as another kind.
        ValueError: The counts of a subject do not add up to the rows, or sketches are of another
            profile.
    """
    training = _subjects(profile, spec)
    for subject in training:
        if sum(observed[subject]) != rows:
            raise ValueError(f"{sum(observed[subject])} values of '{subject}' for {rows} rows")
    references: dict[DriftReference, Mapping[str, Binned]] = {
        "training": training,
        "previous": _refilled(training, previous, profile),
        "season": _refilled(training, season, profile),
    }
    spreads: dict[DriftReference, Mapping[str, WindowSpread]] = {
        "training": profile.window_spreads or {},
        "previous": previous.spreads if previous else {},
        "season": season.spreads if season else {},
    }
    declared: dict[DriftReference, Mapping[str, Binned]] = {
        name: references[name] for name in spec.drift.references
    }
    found = _differences(observed, declared, spreads)
    thin = season is None or len(season.windows) < spec.drift.season_windows
    return tuple(
        drift
        for name, measured in found.items()
        for drift in judged(name, measured, spec, too_few_windows=thin and name == "season")
    )


def judged(
    reference: DriftReference,
    found: Iterable[Difference],
    spec: PipelineSpec,
    *,
    too_few_windows: bool = False,
) -> Iterator[Drift]:
    """Give each subject of one reference its verdict, as `measure_drift` describes.

    Args:
        reference: What they were held against.
        found: The subjects, which are one family of tests.
        spec: Declares who is judged, and the bounds.
        too_few_windows: Whether the reference has too few windows for any verdict.
    """
    drifts = [_unjudged(reference, each, spec, too_few_windows) for each in found]
    family = {
        drift.subject: drift.p_value
        for drift in drifts
        if drift.verdict == "stable" and drift.p_value is not None
    }
    q_values = benjamini_hochberg(family)
    for drift in drifts:
        q_value = q_values.get(drift.subject)
        sure = q_value is not None and q_value <= spec.drift.false_alarms and _unlikely(drift)
        verdict = _effect(drift, spec.drift.bounds_of(drift.subject)) if sure else drift.verdict
        yield replace(drift, q_value=q_value, verdict=verdict)


def judged_subjects(spec: PipelineSpec) -> tuple[str, ...]:
    """Return the features that get a verdict, and the score."""
    features = (name for name, column in spec.features.columns.items() if column.drift)
    return (*features, spec.prediction.score)


def overall_verdict(drifts: Iterable[Drift]) -> Verdict:
    """Return the worst verdict of the references, `not judged` if there are none.

    A reference with `insufficient data` or `too few windows` counts as worse than one that is
    `stable`.
    """
    verdicts: tuple[Verdict, ...] = (*reference_verdicts(drifts).values(), "not judged")
    return min(verdicts, key=WORST_REFERENCE_FIRST.index)


def reference_verdicts(drifts: Iterable[Drift]) -> dict[DriftReference, Verdict]:
    """Return the worst verdict of the judged subjects by reference."""
    found: dict[DriftReference, Verdict] = {}
    for drift in drifts:
        both: tuple[Verdict, ...] = (found.get(drift.reference, "not judged"), drift.verdict)
        found[drift.reference] = min(both, key=WORST_FIRST.index)
    return found


def drift_windows(drifts: Iterable[Drift]) -> dict[DriftReference, int]:
    """Return, by reference, how many of its windows told how far windows usually differ.

    0 says that this is not known, and that rows were taken as independent.
    """
    found: dict[DriftReference, int] = {}
    for drift in drifts:
        windows = drift.spread.windows if drift.spread else 0
        found[drift.reference] = max(found.get(drift.reference, 0), windows)
    return found


def _differences(
    observed: Mapping[str, Sequence[int]],
    references: Mapping[DriftReference, Mapping[str, Binned]],
    spreads: Mapping[DriftReference, Mapping[str, WindowSpread]],
) -> dict[DriftReference, list[Difference]]:
    """Measure all references at once: what takes the time is to plan the SQL, not to run it."""
    pairs = {
        f"{name}/{subject}": (observed[subject], each)
        for name, bins in references.items()
        for subject, each in bins.items()
    }
    found = differences(
        {name: counts for name, (counts, _) in pairs.items()},
        {name: bins for name, (_, bins) in pairs.items()},
        {
            f"{name}/{subject}": each
            for name in references
            for subject, each in spreads[name].items()
        },
    )
    return {
        name: [replace(found[f"{name}/{subject}"], subject=subject) for subject in bins]
        for name, bins in references.items()
    }


def _unjudged(
    reference: DriftReference,
    found: Difference,
    spec: PipelineSpec,
    too_few_windows: bool,  # noqa: FBT001 - as in `judged`
) -> Drift:
    """Say who does not enter the family; everybody else is stable until shown otherwise."""
    feature = spec.features.columns.get(found.subject)
    enough = min(found.rows, found.reference_rows) >= spec.drift.bounds_of(found.subject).min_rows
    verdict: Verdict = "stable" if enough else "insufficient data"
    if too_few_windows:
        verdict = "too few windows"
    if feature is not None and not feature.drift:
        verdict = "not judged"
    measures = {field.name: getattr(found, field.name) for field in fields(Difference)}
    return Drift(reference=reference, verdict=verdict, **measures)


def _effect(found: Difference, bounds: DriftSpec) -> Verdict:
    # Distances that are not there, as of categories, cannot reach a bound: the index still does.
    psi = _unusual(found.psi, found.usual_psi)
    shift = _unusual(found.wasserstein, found.usual_wasserstein)
    if psi >= bounds.major or shift >= bounds.major_shift:
        return "major"
    return "moderate" if psi >= bounds.moderate or shift >= bounds.moderate_shift else "stable"


def _unlikely(drift: Drift) -> bool:
    """Say whether a window of the reference would seldom be as far by chance."""
    p_value, usual = drift.p_value, drift.usual_p_value
    return usual is None or (p_value is not None and p_value < usual)


def _unusual(distance: float | None, usual: float | None) -> float:
    """Return a distance, 0 if windows of the reference are usually as far from each other."""
    return 0.0 if distance is None or (usual is not None and distance <= usual) else distance


def _refilled(
    training: Mapping[str, Binned], earlier: Sketches | None, profile: Profile
) -> dict[str, Binned]:
    """Put the rows of earlier windows into training's bins; none where there are no such windows.

    Training's bins know their ends and deviation, those of a stored sketch do not.
    """
    if earlier is not None and earlier.profile != profile.digest:
        raise ValueError(f"sketches of profile {earlier.profile}, not of {profile.digest}")
    found = earlier.subjects if earlier else {}
    return {
        name: each.with_counts(
            found[name].bin_counts if name in found else [0] * len(each.bin_counts)
        )
        for name, each in training.items()
    }


def _subjects(profile: Profile, spec: PipelineSpec) -> dict[str, Binned]:
    numeric = {name: column.type in NUMERIC for name, column in spec.features.columns.items()}
    numeric[spec.prediction.score] = True
    for name, is_number in numeric.items():
        if isinstance(profile.subjects.get(name), NumericBins if is_number else CategoryCounts):
            continue
        raise ModelRefused(
            f"The reference profile of model {spec.model.name} has no "
            f"{'numeric' if is_number else 'categorical'} '{name}'.",
            reason=Refusal.SCHEMA,
            next_step=f"Register a model for the declared features: "
            f"batchinf model register {spec.name}.",
        )
    return {name: profile.subjects[name] for name in numeric}
