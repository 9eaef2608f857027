"""Which earlier windows a window is held against for drift, besides the training rows.

What is published counts, and where nothing is, what was scored and no check holds back: in a run of
several windows, none is published before all are evaluated. Rows are counted by the bins of the
model that scored the window: a window of another profile is left out, and counted as left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchinf_assets.checks import blocking_failures
from batchinf_assets.evaluation.drift.between_windows import window_spreads
from batchinf_assets.evaluation.drift.measure import judged_subjects
from batchinf_assets.evaluation.drift.sketches import (
    Sketches,
    merged,
    read_sketches,
    sketch_table,
)
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.manifest.judgement import EarlierWindowsRecord
from batchinf_assets.project import Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.scoring.predictions import manifests, published_revision
from batchinf_assets.seasons import windows_alike
from batchinf_assets.spec.evaluation import DriftReference
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.windows import Window

SEASON_WINDOWS = 366
"""Most windows of a season, the newest: more would make each window dearer than the one before."""


@dataclass(frozen=True, kw_only=True)
class EarlierWindows:
    """The rows of earlier windows together.

    Attributes:
        sketches: Their distributions, and how they differ if they are enough to tell; None where
            no window is left.
        record: How many they are, and how many were left out.
    """

    sketches: Sketches | None
    record: EarlierWindowsRecord


def earlier_windows(
    project: Project, spec: PipelineSpec, window: Window, profile: Profile
) -> dict[DriftReference, EarlierWindows]:
    """Return the declared references that consist of earlier windows.

    Args:
        project: Where the sketches are.
        spec: Declares the references.
        window: The window to be measured.
        profile: The profile of the model that scored it.

    Raises:
        ManifestInvalid: A table's log or a file is damaged.
    """
    found: dict[DriftReference, EarlierWindows] = {}
    if "previous" in spec.drift.references:
        before = spec.window.before(window, spec.drift.previous_windows)
        found["previous"] = _together(project, spec, before, profile)
    if "season" in spec.drift.references:
        alike = windows_of_season(spec, window)
        found["season"] = _together(project, spec, alike, profile)
    return found


def windows_of_season(spec: PipelineSpec, window: Window) -> list[Window]:
    """Return the declared windows before this one that share its declared season.

    At most `SEASON_WINDOWS`, the newest.
    """
    season = spec.drift.season
    if season is None:
        return []
    return windows_alike(spec.window, season, window, SEASON_WINDOWS)


def _together(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], profile: Profile
) -> EarlierWindows:
    published = read_sketches(project, spec, windows)
    waiting = _waiting(project, spec, [each for each in windows if each.key not in published])
    held_back = [key for key, draft in waiting.items() if blocking_failures(draft.checks)]
    revisions = {key: each.revision for key, each in waiting.items() if key not in held_back}
    candidates = read_sketches(project, spec, windows, revisions=revisions)
    found = {**published, **candidates}
    ordered = [found[each.key] for each in windows if each.key in found]
    fitting = [each for each in ordered if each.profile == profile.digest]
    counted = [key for each in fitting for key in each.windows]
    return EarlierWindows(
        sketches=_merged(fitting, spec, profile) if fitting else None,
        record=EarlierWindowsRecord(
            counted=len(counted),
            candidates=sum(key in candidates for key in counted),
            other_profile=len(ordered) - len(fitting),
            held_back=len(held_back),
            absent=len(windows) - len(ordered) - len(held_back),
        ),
    )


def _merged(windows: Sequence[Sketches], spec: PipelineSpec, profile: Profile) -> Sketches:
    whole = merged(windows)
    bins = {name: profile.subjects[name] for name in whole.subjects if name in profile.subjects}
    counts = [{name: each.subjects[name].bin_counts for name in bins} for each in windows]
    return replace(whole, spreads=window_spreads(counts, bins, judged=judged_subjects(spec)))


def _waiting(
    project: Project, spec: PipelineSpec, windows: Sequence[Window]
) -> dict[str, Manifest]:
    """Return the drafts of those windows that were sketched and of which nothing is published."""
    sketched, store = (
        sketch_table(project, spec).files() if windows else {},
        manifests(project, spec),
    )
    drafts = {each: store.draft(each) for each in windows if each.key in sketched}
    return {
        window.key: draft
        for window, draft in drafts.items()
        if draft is not None and published_revision(project, spec, window) is None
    }
