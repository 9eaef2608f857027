"""The tables of what two sides differ in, alike for two revisions and for two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from batchinf_assets.console import one_line, print_table
from batchinf_assets.spec.evaluation import Metric

if TYPE_CHECKING:
    from batchinf_assets.evaluation.comparison.deltas import LargestDelta, ScoreDeltas
    from batchinf_assets.evaluation.drift.distances import Difference
    from batchinf_assets.evaluation.metrics.flips import Flips
    from batchinf_assets.promotion.comparison.models import ModelComparison
    from batchinf_assets.promotion.comparison.quality import (
        ComparedQuality,
        MetricDifference,
        SegmentComparison,
    )
    from batchinf_assets.promotion.comparison.revisions import RevisionComparison
    from batchinf_assets.promotion.comparison.segment_times import SegmentTime

SEGMENT_COLUMNS = ("segment", "rows", "mean difference", "mean |difference|", "flips", "labelled")

NO_FLIPS = "none"
"""What stands for label flips where rows fall into no classes."""

QUANTILES = ("p01", "p05", "p25", "p50", "p75", "p95", "p99")

SHOWN = 10
"""So many segments, columns and rows a table shows; JSON has all."""


def tell_differences(found: RevisionComparison | ModelComparison, metric: Metric) -> None:
    """Show what differs, of segments one metric, and in one sentence that nothing does."""
    deltas = found.deltas
    if deltas.rows and not deltas.changed:
        click.echo(f"The scores of all {deltas.rows:,} rows are the same.")
    else:
        _tell_scores(deltas, found.flips, found.decision)
    _tell_quality(found.quality)
    if deltas.changed:
        _tell_segments(found.segments, metric)
    _tell_drift(found.drift)


def _tell_scores(deltas: ScoreDeltas, flips: Flips | None, decision: float | None) -> None:
    title = (
        f"Scores: {deltas.changed:,} of {deltas.rows:,} rows differ; {_flipped(flips, decision)}"
    )
    columns = ["mean A", "mean B", "mean difference", "mean |difference|", *QUANTILES]
    if deltas.by_class:
        by_class = deltas.by_class.items()
        print_table(title, ["class", *columns], [[name, *_spread(each)] for name, each in by_class])
    else:
        print_table(title, columns, [_spread(deltas)])
    if flips is not None and flips.from_to:
        print_table(
            "From A (lines) to B",
            ["from", *flips.from_to],
            [[name, *map("{:,}".format, to.values())] for name, to in flips.from_to.items()],
        )
    if deltas.largest:
        print_table(
            "Most changed rows",
            ["A", "B", "moved" if deltas.by_class else "difference", "key"],
            [_changed_row(row) for row in deltas.largest],
        )


def _flipped(flips: Flips | None, decision: float | None) -> str:
    if flips is None:
        return "numbers have no labels to flip"
    if decision is None:
        return f"{flips.count:,} rows change their class"
    return f"{flips.count:,} labels flip at {decision:g} ({flips.up:,} up, {flips.down:,} down)"


def _spread(deltas: ScoreDeltas) -> list[object]:
    return [
        *map(plain, (deltas.mean_a, deltas.mean_b)),
        signed(deltas.mean),
        plain(deltas.mean_absolute),
        *map(signed, deltas.quantiles.values()),
    ]


def _changed_row(row: LargestDelta) -> list[object]:
    if row.class_a is None:
        return [plain(row.a), plain(row.b), signed(row.b - row.a), row.key]
    return [f"{row.class_a} {row.a:.4f}", f"{row.class_b} {row.b:.4f}", plain(row.moved), row.key]


def _tell_quality(quality: ComparedQuality) -> None:
    if quality.problem:
        click.echo(f"Outcomes: {one_line(quality.problem)}")
    if quality.state != "measured":
        click.echo(f"Quality: {quality.state}.")
        return
    known = quality.positives
    positives = "" if known is None else f", {known:,} of them positive"
    print_table(
        f"Quality on {quality.labelled:,} labelled rows{positives}",
        ["metric", "A", "B", "difference", "95 % interval"],
        [
            [name, plain(each.a), plain(each.b), signed(each.difference), _interval(each)]
            for name, each in quality.metrics.items()
        ],
    )


def _tell_segments(segments: Sequence[SegmentComparison], metric: Metric) -> None:
    if not segments:
        return
    print_table(
        f"Most changed segments, {min(SHOWN, len(segments))} of {len(segments)}",
        [*SEGMENT_COLUMNS, f"{metric} A", f"{metric} B", "difference"],
        [_segment_cells(segment, metric) for segment in segments[:SHOWN]],
    )


def tell_times(times: Sequence[SegmentTime]) -> None:
    """Show what the rows of each segment took two models, the slowest first."""
    if not times:
        return
    print_table(
        f"Slowest segments, {min(SHOWN, len(times))} of {len(times)}: microseconds per row, "
        "scored here and now by one scorer after the other",
        ["segment", "rows", "A", "B"],
        [
            [f"{each.column}={each.value}", f"{each.rows:,}", micro(each.a), micro(each.b)]
            for each in times[:SHOWN]
        ],
    )


def _segment_cells(segment: SegmentComparison, metric: Metric) -> Sequence[object]:
    found = segment.quality.metrics.get(metric)
    return [
        f"{segment.column}={segment.value}",
        f"{segment.rows:,}",
        signed(segment.mean),
        plain(segment.mean_absolute),
        segment.flips.count if segment.flips else NO_FLIPS,
        segment.quality.labelled,
        *((plain(found.a), plain(found.b), signed(found.difference)) if found else (None,) * 3),
    ]


def _tell_drift(drift: Sequence[Difference]) -> None:
    if not drift:
        return
    print_table(
        f"Distributions of B held against A, {min(SHOWN, len(drift))} of {len(drift)}",
        ["column", "PSI", "Jensen-Shannon", "Kolmogorov-Smirnov", "Wasserstein", "missing in B"],
        [
            [
                each.subject,
                *map(plain, (each.psi, each.jensen_shannon)),
                *map(plain, (each.kolmogorov_smirnov, each.wasserstein)),
                share(each.missing),
            ]
            for each in drift[:SHOWN]
        ],
    )


def _interval(found: MetricDifference) -> str | None:
    if found.low is None or found.high is None:
        return None
    return f"{found.low:+.4f} to {found.high:+.4f}"


def plain(value: float | None) -> str | None:
    """Return a figure with four digits; None where it is not known."""
    return None if value is None else f"{value:.4f}"


def signed(value: float | None) -> str | None:
    """Return a difference with its sign; None where it is not known."""
    return None if value is None else f"{value:+.4f}"


def share(value: float | None) -> str | None:
    """Return a share in per cent; None where it is not known."""
    return None if value is None else f"{value:.1%}"


def micro(seconds: float | None) -> str | None:
    """Return seconds as microseconds; None where they are not known."""
    return None if seconds is None else f"{seconds * 1e6:.2f}"
