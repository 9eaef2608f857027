"""A range month by month: realised quality and drift of its windows together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median

from batchinf_assets.evaluation.drift.measure import Drift
from batchinf_assets.evaluation.drift.pooled_drift import pooled_drift
from batchinf_assets.evaluation.metrics.figures import Figure
from batchinf_assets.evaluation.metrics.tasks import task_of
from batchinf_assets.evaluation.realised.trailing import trailing_metrics
from batchinf_assets.evaluation.report.range_reading import WindowReading
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.pipeline import PipelineSpec


@dataclass(frozen=True, kw_only=True)
class Month:
    """The windows that start in one calendar month, by their local time.

    Attributes:
        name: Such as `2013-07`.
        windows: How many of the range's.
        published: How many of them readers see.
        predictions: Rows of these.
        labelled: Rows with a label; None where no window has any on record.
        realised: Metrics over the labelled rows of all windows, as if they were one; empty where
            none were kept.
        delay: Median over windows of the median label delay, in seconds; None where it is not
            known.
        sketched: How many windows the next are about.
        drift: Of these windows together against training, by column; empty where it is not known,
            or where several models scored.
        verdicts: How many windows have each verdict, by column; against the leading reference.
    """

    name: str
    windows: int
    published: int
    predictions: int
    labelled: int | None
    realised: Mapping[str, Figure]
    delay: float | None
    sketched: int
    drift: Mapping[str, Drift]
    verdicts: Mapping[str, Counter[str]]

    def drifted(self, column: str) -> tuple[int, int]:
        """Return how many windows drifted far, and how many moderately."""
        counts = self.verdicts.get(column, Counter())
        return counts["major"], counts["moderate"]


def months_of(
    found: Sequence[WindowReading], profiles: Mapping[str, Profile], *, spec: PipelineSpec
) -> list[Month]:
    """Put the windows of each month together.

    Args:
        found: The windows of a range, in order.
        profiles: Of the models that scored, by digest, as far as they are known.
        spec: Declares what predictions are measured by, and the leading reference.
    """
    by_month = groupby(found, key=lambda each: f"{each.window.start:%Y-%m}")
    return [_month(name, list(own), profiles, spec) for name, own in by_month]


def moved_columns(months: Sequence[Month]) -> list[str]:
    """Return every column that was measured, those that drifted in most months first.

    Of those alike the ones that drifted in most windows, then those that moved furthest.
    """
    total: dict[str, Counter[str]] = {}
    for month in months:
        for column in (*month.verdicts, *month.drift):
            total.setdefault(column, Counter()).update(month.verdicts.get(column, Counter()))
    return sorted(total, key=lambda name: _place(name, months, total[name]))


def _place(
    column: str, months: Sequence[Month], windows: Counter[str]
) -> tuple[int, int, int, int, float]:
    own = [month.drift[column] for month in months if column in month.drift]
    words = Counter(each.verdict for each in own)
    furthest = max((each.psi or 0.0 for each in own), default=0.0)
    return (
        -words["major"],
        -words["moderate"],
        -windows["major"],
        -windows["moderate"],
        -furthest,
    )


def _month(
    name: str, own: Sequence[WindowReading], profiles: Mapping[str, Profile], spec: PipelineSpec
) -> Month:
    labelled = [each.labelled for each in own if each.labelled is not None]
    landed = [each.reading.labelled for each in own if each.reading.labelled is not None]
    delays = [delay for each in own if (delay := each.reading.delay.get("median")) is not None]
    together = trailing_metrics({len(own): labelled}, task_of(spec)) if labelled else ()
    return Month(
        name=name,
        windows=len(own),
        published=sum(_is_published(each) for each in own),
        predictions=sum(each.manifest.counts.scored for each in own if each.manifest),
        labelled=sum(each.labelled for each in landed) if landed else None,
        realised=together[0].metrics.measured_figures if together else {},
        delay=median(delays) if delays else None,
        sketched=sum(each.sketches is not None for each in own),
        drift=_drift(own, profiles, spec),
        verdicts=_verdicts(own, spec.drift.leading),
    )


def _is_published(each: WindowReading) -> bool:
    return each.standing is not None and each.standing.state == "published"


def _drift(
    own: Sequence[WindowReading], profiles: Mapping[str, Profile], spec: PipelineSpec
) -> dict[str, Drift]:
    """Return nothing where the sketches are not of one known profile."""
    sketches = [each.sketches for each in own if each.sketches is not None]
    profile = profiles.get(sketches[0].profile) if sketches else None
    if profile is None or any(each.profile != profile.digest for each in sketches):
        return {}
    return {each.subject: each for each in pooled_drift(sketches, profile, spec=spec)}


def _verdicts(own: Sequence[WindowReading], reference: str) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for each in own:
        for drift in each.reading.drift_from(reference):
            counts.setdefault(drift.subject, Counter())[drift.verdict or "not known"] += 1
    return counts
