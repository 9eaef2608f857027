"""Which earlier windows a window is held against for drift, besides the training rows.

Only what is published counts, by the bins of the model that scored the window: a window of another
profile is left out, and counted as left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchinf_assets.evaluation.sketches import Sketches, merged, read_sketches
from batchinf_assets.evaluation_spec import DriftReference
from batchinf_assets.project import Project
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec import PipelineSpec
from batchinf_assets.windows import Window

SEASON_WINDOWS = 366
"""Most windows of a season, the newest: more would make each window dearer than the one before."""


@dataclass(frozen=True, kw_only=True)
class EarlierWindows:
    """The rows of earlier windows together.

    Attributes:
        sketches: Their distributions; None where no window is left.
        other_profile: Windows left out because their bins are those of another profile.
        unpublished: Windows left out because nothing is published, or nothing was sketched.
    """

    sketches: Sketches | None
    other_profile: int
    unpublished: int


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
    """Return the declared windows before this one that share its weekday, or its month.

    What counts is the local date of their start. At most `SEASON_WINDOWS`, the newest.
    """
    first = spec.window.start
    since = (window.start.date() - first).days
    per_day = 24 if spec.window.every == "hour" else 1
    before = spec.window.before(window, (since + 1) * per_day)
    alike = [each for each in before if _season(each, spec) == _season(window, spec)]
    return alike[-SEASON_WINDOWS:]


def _season(window: Window, spec: PipelineSpec) -> int:
    return window.start.month if spec.drift.season == "month" else window.start.isoweekday()


def _together(
    project: Project, spec: PipelineSpec, windows: Sequence[Window], profile: Profile
) -> EarlierWindows:
    found = read_sketches(project, spec, windows)
    fitting = [each for each in found.values() if each.profile == profile.digest]
    return EarlierWindows(
        sketches=merged(fitting) if fitting else None,
        other_profile=len(found) - len(fitting),
        unpublished=len(windows) - len(found),
    )
