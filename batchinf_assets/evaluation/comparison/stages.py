"""Where the time of two revisions went: seconds per row by stage, off their manifests."""

from __future__ import annotations

from dataclasses import dataclass

from batchinf_assets.manifest.document import Manifest


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """Working time of one stage for each scored row; None where it is not on record.

    Attributes:
        stage: Its name in the manifests' `timings`.
        a: Seconds per row of the one revision.
        b: Of the other.
    """

    stage: str
    a: float | None
    b: float | None


def stage_times(a: Manifest, b: Manifest) -> tuple[StageTime, ...]:
    """Return the stages of both, the slowest first."""
    found = [
        StageTime(stage=stage, a=_per_row(a, stage), b=_per_row(b, stage))
        for stage in sorted({*a.timings, *b.timings})
    ]
    return tuple(sorted(found, key=lambda time: -max(time.a or 0, time.b or 0)))


def _per_row(manifest: Manifest, stage: str) -> float | None:
    seconds = manifest.timings.get(stage)
    return (
        None if seconds is None or not manifest.counts.scored else seconds / manifest.counts.scored
    )
