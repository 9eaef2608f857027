"""The page of a range of windows: where quality, drift, scores and labels were going."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from markupsafe import Markup

from batchinf_assets.evaluation.metrics.figures import Figure
from batchinf_assets.evaluation.records.confusion import confusion_over
from batchinf_assets.evaluation.report.heat_map import DriftCell, drift_chart
from batchinf_assets.evaluation.report.months import Month, months_of, moved_columns
from batchinf_assets.evaluation.report.range_charts import (
    MetricSeries,
    label_chart,
    score_chart,
    ticks,
    trend_chart,
)
from batchinf_assets.evaluation.report.range_reading import Trouble, WindowReading
from batchinf_assets.evaluation.report.readings import METRICS, REALISED, Figures
from batchinf_assets.evaluation.report.rendering import render
from batchinf_assets.evaluation.report.spreads import quantiles_of
from batchinf_assets.registry.bins import NumericBins
from batchinf_assets.registry.profile import Profile
from batchinf_assets.spec.pipeline import PipelineSpec

ALWAYS_DRAWN = ("auroc", "brier", "mae", "r_squared", "macro_f1", "weighted_f1")
"""Of these the ones that the pipeline is measured by."""

PERCENTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_TROUBLES = 200


def range_page(
    spec: PipelineSpec,
    found: Sequence[WindowReading],
    troubles: Sequence[Trouble],
    profiles: Mapping[str, Profile],
) -> bytes:
    """Return the page as HTML.

    Args:
        spec: The pipeline.
        found: What is known of each window, at least one, in order.
        troubles: Attempts that did not come through, and rollbacks.
        profiles: Of the models that scored, by digest, as far as they are known.
    """
    months = months_of(found, profiles, spec=spec)
    states = [each.standing.state if each.standing else "never scored" for each in found]
    return render(
        "range.html",
        spec=spec,
        headline=spec.prediction.of.headline[0],
        found=found,
        first=found[0].window.key,
        last=found[-1].window.key,
        states=Counter(sorted(states)).most_common(),
        predictions=sum(each.manifest.counts.scored for each in found if each.manifest),
        quarantined=sum(each.manifest.counts.quarantined for each in found if each.manifest),
        trends=tuple(_trends(spec, found)),
        drift=_drift_chart(spec, found),
        scores=_score_chart(spec, found),
        labels=_label_chart(found),
        months=months,
        monthly=_known_metrics(months, spec),
        moved=moved_columns(months),
        confusion=confusion_over(
            each.reading.confusions[REALISED]
            for each in found
            if REALISED in each.reading.confusions
        ),
        stale=[each.window.key for each in found if each.trailing_state == "stale"],
        drift_by_month=_monthly_drift_chart(spec, months),
        troubles=troubles[:MOST_TROUBLES],
        more_troubles=max(0, len(troubles) - MOST_TROUBLES),
    )


def drawn_metrics(spec: PipelineSpec) -> list[str]:
    """Return the metrics to draw: those with a declared bound, and two that every reader asks."""
    golden, realised = spec.golden, spec.performance
    bounded = (*golden.at_least, *golden.at_most, *realised.at_least, *realised.at_most)
    wanted = {*ALWAYS_DRAWN, *bounded} & {*spec.prediction.of.metrics}
    return [name for name in METRICS if name in wanted]


def _trends(spec: PipelineSpec, found: Sequence[WindowReading]) -> Iterator[tuple[str, Markup]]:
    windows = [each.window for each in found]
    measures = [name for each in found for name in each.reading.pooled]
    pooled_name = max(measures, key=_windows_of, default="")
    for metric in drawn_metrics(spec):
        series = MetricSeries(
            metric=metric,
            golden=[each.reading.golden.get(metric) for each in found],
            estimated=[each.reading.estimated.get(metric) for each in found],
            realised=[each.reading.realised.get(metric) for each in found],
            pooled=[_of(each.reading.pooled.get(pooled_name), metric) for each in found],
            pooled_name=pooled_name.replace("_", " "),
            bounds=tuple(_bounds(spec, metric)),
        )
        if any((*series.golden, *series.estimated, *series.realised)):
            yield metric, trend_chart(series, windows)


def _windows_of(measure: str) -> int:
    """Return how many windows `trailing_28` is about."""
    count = measure.rpartition("_")[2]
    return int(count) if count.isdigit() else 0


def _of(figures: Figures | None, metric: str) -> Figure | None:
    return figures.get(metric) if figures is not None else None


def _bounds(spec: PipelineSpec, metric: str) -> Iterator[tuple[str, float]]:
    for what, declared in (("golden", spec.golden), ("realised", spec.performance)):
        bounds = {**declared.at_least, **declared.at_most}
        if metric in bounds:
            yield what, bounds[metric]


def _drift_chart(spec: PipelineSpec, found: Sequence[WindowReading]) -> Markup | None:
    known = [
        {drift.subject: drift for drift in each.reading.drift_from(spec.drift.leading)}
        for each in found
    ]
    columns = dict.fromkeys(name for each in known for name in each)
    nothing = DriftCell(psi=None, major=False)
    cells = [
        (
            name,
            [
                DriftCell(psi=each[name].psi, major=each[name].verdict == "major")
                if name in each
                else nothing
                for each in known
            ],
        )
        for name in columns
    ]
    if not cells:
        return None
    cells.sort(key=lambda line: (-sum(c.major for c in line[1]), -_total(line[1])))
    return drift_chart(
        cells,
        list(ticks([each.window for each in found])),
        said="Drift by column and window",
        moderate=spec.drift.moderate,
        major=spec.drift.major,
    )


def _monthly_drift_chart(spec: PipelineSpec, months: Sequence[Month]) -> Markup | None:
    if len(months) < 2 or not any(month.drift for month in months):
        return None
    nothing = DriftCell(psi=None, major=False)
    cells = [
        (
            column,
            [
                DriftCell(psi=found.psi, major=found.verdict == "major")
                if (found := month.drift.get(column))
                else nothing
                for month in months
            ],
        )
        for column in moved_columns(months)
    ]
    step = -(-len(months) // 12)
    return drift_chart(
        cells,
        [(place, months[place].name) for place in range(0, len(months), step)],
        said="Drift by column and month",
        moderate=spec.drift.moderate,
        major=spec.drift.major,
    )


def _total(cells: Sequence[DriftCell]) -> float:
    return sum(cell.psi or 0.0 for cell in cells)


def _score_chart(spec: PipelineSpec, found: Sequence[WindowReading]) -> Markup | None:
    score, (low, high) = spec.prediction, spec.prediction.bounds
    quantiles: list[tuple[float, ...] | None] = []
    for each in found:
        bins = each.sketches.subjects.get(score.column) if each.sketches else None
        quantiles.append(
            quantiles_of(bins, PERCENTILES, low=low, high=high)
            if isinstance(bins, NumericBins)
            else None
        )
    if not any(quantiles):
        return None
    return score_chart(quantiles, [each.window for each in found], score.column)


def _label_chart(found: Sequence[WindowReading]) -> Markup | None:
    shares = [each.reading.labelled.share if each.reading.labelled else None for each in found]
    known = any(share is not None for share in shares)
    return label_chart(shares, [each.window for each in found]) if known else None


def _known_metrics(months: Sequence[Month], spec: PipelineSpec) -> list[str]:
    headline = spec.prediction.of.headline
    return [name for name in headline if any(name in month.realised for month in months)]
