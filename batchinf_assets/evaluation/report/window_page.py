"""The page of one revision: what was checked and measured, and whether readers see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from batchinf_assets.checks import CheckResult, quoted
from batchinf_assets.evaluation.drift.measure import WORST_FIRST
from batchinf_assets.evaluation.metrics.figures import Figure
from batchinf_assets.evaluation.realised.trailing_state import TrailingState
from batchinf_assets.evaluation.report.places import Link
from batchinf_assets.evaluation.report.readings import (
    MEASURES,
    METRICS,
    TRAINING,
    DriftReading,
    Reading,
    SegmentReading,
    TrendReading,
)
from batchinf_assets.evaluation.report.rendering import render
from batchinf_assets.evaluation.report.spreads import Spread, spread_of
from batchinf_assets.evaluation.report.standing import Standing
from batchinf_assets.evaluation.report.window_charts import calibration_chart, spread_chart
from batchinf_assets.manifest.document import Manifest
from batchinf_assets.registry.bins import Binned
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.evaluation import GoldenSpec, PerformanceSpec
from batchinf_assets.spec.pipeline import PipelineSpec
from batchinf_assets.spec.prediction import Kind

MOST_DRIFTED = 4

USUAL = ("usual_psi", "usual_wasserstein", "usual_p_value", "design_effect")
"""What a reference's own windows tell; a table of its own, or the page is too wide to print."""
"""A measure that is known where windows of the reference told how far they differ."""
LONGEST_NAME = 30


@dataclass(frozen=True, kw_only=True)
class QualityRow:
    """One metric, as it was measured in each way.

    Attributes:
        metric: Its name.
        golden: On the golden set; None where it is not known, as in the others.
        golden_bound: What is required there, in words.
        estimated: Before outcomes were known.
        realised: On realised outcomes.
        realised_bound: What is required of them.
        pooled: Over several windows, by measure.
        trend: Where it is going.
    """

    metric: str
    golden: Figure | None
    golden_bound: str | None
    estimated: Figure | None
    realised: Figure | None
    realised_bound: str | None
    pooled: Mapping[str, Figure | None]
    trend: TrendReading | None

    @property
    def surprise(self) -> float | None:
        """How far the realised value is above the estimate."""
        if self.estimated is None or self.realised is None:
            return None
        if self.estimated.value is None or self.realised.value is None:
            return None
        return self.realised.value - self.estimated.value


@dataclass(frozen=True, kw_only=True)
class DriftTable:
    """How far every subject moved from one reference.

    Attributes:
        reference: What the window is held against.
        measures: Those that are known of any subject.
        usual: What the reference's own windows tell of any subject.
        rows: The worst first.
    """

    reference: str
    measures: tuple[str, ...]
    usual: tuple[str, ...]
    rows: tuple[DriftReading, ...]

    @property
    def sampling(self) -> str:
        """What rows were taken for; nothing where it was not recorded."""
        if self.usual:
            return "Compared with how far its own windows lie from each other."
        recorded = any(USUAL[0] in row.measures for row in self.rows)
        return "Rows taken as independent." if recorded else ""


def window_page(
    spec: PipelineSpec,
    manifest: Manifest,
    reading: Reading,
    *,
    standing: Standing,
    manifest_link: Link,
    sketch: Mapping[str, Binned],
    training: Profile | None,
    trailing_state: TrailingState | None = None,
) -> bytes:
    """Return the page as HTML.

    Args:
        spec: The pipeline.
        manifest: The revision's manifest or draft.
        reading: What was measured on it.
        standing: Whether readers see it.
        manifest_link: Where its manifest lies.
        sketch: Its rows by bin, by subject; empty where none were kept.
        training: The same of the training rows; None where they are not known.
        trailing_state: Whether its figures over several windows are those of what is on record by
            now; None where there are none, or nothing was kept that tells.
    """
    drift = reading.drift_from(spec.drift.leading)
    spreads = tuple(most_drifted(drift, sketch, training))
    return render(
        "window.html",
        spec=spec,
        manifest=manifest,
        reading=reading,
        standing=standing,
        manifest_link=manifest_link,
        checks=in_reading_order(manifest.checks),
        quality=tuple(quality_rows(reading, spec)),
        segments=segment_tables(reading),
        kind=spec.prediction.of,
        drift=drift_tables(reading),
        realised_bounds=bool(spec.performance.at_least or spec.performance.at_most),
        spreads=_spread_chart(spreads, drift),
        training_known=training is not None,
        trailing_state=trailing_state,
        calibration=_calibration_chart(reading, spec.prediction.of),
    )


def quality_rows(reading: Reading, spec: PipelineSpec) -> Iterator[QualityRow]:
    """Yield every metric that anything is known of, the known ones first."""
    known = {**reading.golden, **reading.realised, **reading.estimated}
    names = [name for name in METRICS if name in known]
    for name in [*names, *(name for name in known if name not in METRICS)]:
        yield QualityRow(
            metric=name,
            golden=reading.golden.get(name),
            golden_bound=_bound(name, spec.golden),
            estimated=reading.estimated.get(name),
            realised=reading.realised.get(name),
            realised_bound=_bound(name, spec.performance),
            pooled={measure: found.get(name) for measure, found in reading.pooled.items()},
            trend=reading.trends.get(name),
        )


def segment_tables(reading: Reading) -> dict[str, tuple[SegmentReading, ...]]:
    """Return the segments by where their labels come from, those without any left out."""
    tables = {"Golden set": reading.golden_segments, "Realised": reading.realised_segments}
    return {name: table for name, table in tables.items() if table}


def drift_tables(reading: Reading) -> list[DriftTable]:
    """Return a table for each reference, training first."""
    references = dict.fromkeys(drift.reference for drift in reading.drift)
    return [
        DriftTable(
            reference=reference,
            measures=tuple(name for name in MEASURES if any(name in d.measures for d in rows)),
            usual=tuple(n for n in USUAL if any(d.measures.get(n) is not None for d in rows)),
            rows=tuple(worst_first(rows)),
        )
        for reference in sorted(references, key=lambda name: name != TRAINING)
        for rows in [reading.drift_from(reference)]
    ]


def worst_first(drift: Sequence[DriftReading]) -> list[DriftReading]:
    """Sort by verdict, then by how far the subject moved."""
    severity = {word: at for at, word in enumerate(WORST_FIRST)}

    def place(each: DriftReading) -> tuple[int, float]:
        return severity.get(each.verdict or "", len(severity)), -(each.psi or 0.0)

    return sorted(drift, key=place)


def most_drifted(
    drift: Sequence[DriftReading], sketch: Mapping[str, Binned], training: Profile | None
) -> Iterator[Spread]:
    """Yield how the subjects are spread that moved most, as their verdicts say, from training.

    Nothing where no sketch was kept.
    """
    found = 0
    for each in worst_first(drift):
        bins = sketch.get(each.subject)
        learned = training.subjects.get(each.subject) if training else None
        spread = spread_of(each.subject, bins, learned) if bins is not None else None
        if spread is not None and found < MOST_DRIFTED:
            found += 1
            yield spread


def in_reading_order(checks: Sequence[CheckResult]) -> list[CheckResult]:
    """Sort checks: failed ones first, blocking before the others, else as they ran."""
    return sorted(checks, key=lambda check: (check.passed, not check.blocking))


def _bound(name: str, declared: GoldenSpec | PerformanceSpec) -> str | None:
    for sign, bounds in (("≥", declared.at_least), ("≤", declared.at_most)):
        for metric, bound in bounds.items():
            if metric == name:
                return f"{sign} {bound:g}"
    return None


def _spread_chart(spreads: Sequence[Spread], drift: Sequence[DriftReading]) -> Markup | None:
    if not spreads:
        return None
    by_subject = {each.subject: each for each in drift}
    titles = [_title(by_subject[each.subject]) for each in spreads]
    return spread_chart(spreads, titles)


def _title(drift: DriftReading) -> str:
    psi = "" if drift.psi is None else f"PSI {drift.psi:.3f}"
    said = ", ".join(part for part in (psi, drift.verdict) if part)
    name = quoted(drift.subject, longest=LONGEST_NAME)
    return f"{name}  ({said})" if said else name


def _calibration_chart(reading: Reading, kind: Kind) -> Markup | None:
    golden, realised = reading.golden_calibration, reading.realised_calibration
    return calibration_chart(golden, realised, kind) if golden or realised else None
